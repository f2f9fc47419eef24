// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { firstHost } from '../../../runtime/hooks/slurm-pytorch.ts';
import { environmentOf, pick, planOf } from '../launch-fixture.ts';

const step = { SLURM_JOB_ID: '7000', SLURM_STEP_ID: '0' };
const pmix = {
  PMIX_RANK: '3',
  PMIX_SERVER_TMPDIR: '/var/spool/slurmd/pmix.7000.0',
  PMIX_PTL_MODULE: 'tcp',
  PMIX_SECURITY_MODE: 'native',
  PMIX_GDS_MODULE: 'hash',
};

describe('in a step of Slurm', () => {
  test('the variables of Slurm and of PMI are passed, others not', () => {
    const env = { ...step, SLURM_PROCID: '3', PMI_RANK: '3', PMI_FD: '11', OTHER: 'x' };
    expect(environmentOf({ env })).toMatchObject({
      SLURM_JOB_ID: '7000',
      SLURM_PROCID: '3',
      PMI_RANK: '3',
      PMI_FD: '11',
    });
    expect(environmentOf({ env })).not.toHaveProperty('OTHER');
  });

  test('outside of one nothing is: a job alone is no step', () => {
    for (const env of [{}, { SLURM_JOB_ID: '7000' }, { ...step, SLURM_STEP_ID: '' }]) {
      const seen = environmentOf({ env: { ...env, ...pmix, PMI_RANK: '3' } });
      expect(Object.keys(seen).filter((name) => /^(SLURM|PMIX?)_/.test(name))).toEqual([]);
    }
  });

  test.each(['', 'pmix', 'pmix_v4'])(
    'PMIx is passed with its modules and its directory (SLURM_MPI_TYPE=%s)',
    (type) => {
      const env = { ...step, ...pmix, SLURM_MPI_TYPE: type };
      expect(environmentOf({ env })).toMatchObject({
        ...pmix,
        PMIX_MCA_ptl: 'tcp',
        PMIX_MCA_psec: 'native',
        PMIX_MCA_gds: 'hash',
      });
      const [server] = pick(planOf({ env }), 'mount').filter(({ source }) => source === pmix.PMIX_SERVER_TMPDIR);
      // nosuid, nodev, noexec, bind with all below; made where missing, and its lack is told but no failure
      expect(server).toMatchObject({ target: pmix.PMIX_SERVER_TMPDIR, msFlags: 14 | 4096 | 16384, options: 1 | 8 });
    },
  );

  test('PMIx is left out with another kind of MPI', () => {
    const env = { ...step, ...pmix, SLURM_MPI_TYPE: 'pmi2' };
    expect(environmentOf({ env })).not.toHaveProperty('PMIX_RANK');
    expect(pick(planOf({ env }), 'mount').map(({ source }) => source)).not.toContain(pmix.PMIX_SERVER_TMPDIR);
  });

  test('a module that the user chose stays, and a directory that is none is passed over', () => {
    const env = { ...step, ...pmix, PMIX_MCA_gds: 'ds21', PMIX_SERVER_TMPDIR: 'relative' };
    expect(environmentOf({ env })).toMatchObject({ PMIX_MCA_gds: 'ds21' });
    expect(pick(planOf({ env }), 'mount').map(({ source }) => source)).not.toContain('relative');
  });

  test('a value with a newline stays one value', () => {
    const env = { ...step, SLURM_X: 'a\nPATH=/evil' };
    expect(environmentOf({ env })).toMatchObject({ SLURM_X: 'a\nPATH=/evil', PATH: '/usr/bin:/bin' });
  });
});

describe('PyTorch in a job of Slurm', () => {
  const job = {
    ...step,
    SLURM_STEP_NODELIST: 'gpu[08-11,20],login',
    SLURM_NTASKS: '16',
    SLURM_PROCID: '3',
    SLURM_LOCALID: '1',
    SLURM_STEP_NUM_TASKS: '16',
    SLURM_STEP_NUM_NODES: '2',
  };
  const args = ['--env', 'PYTORCH_VERSION=2.9'];
  const torch = (env: Record<string, string>, more: string[] = []) => {
    const { MASTER_ADDR, MASTER_PORT, WORLD_SIZE, RANK, LOCAL_RANK, OMP_NUM_THREADS } = environmentOf({
      env,
      args: [...args, ...more],
    });
    return { MASTER_ADDR, MASTER_PORT, WORLD_SIZE, RANK, LOCAL_RANK, OMP_NUM_THREADS };
  };

  test('finds what torchrun would set', () => {
    expect(torch(job)).toEqual({
      MASTER_ADDR: 'gpu08',
      MASTER_PORT: String((7000 % 4536) + 61000),
      WORLD_SIZE: '16',
      RANK: '3',
      LOCAL_RANK: '1',
      OMP_NUM_THREADS: '1',
    });
  });

  test('keeps what is set already, and the number of threads where a node has one task', () => {
    expect(torch({ ...job, SLURM_STEP_NUM_NODES: '16' }, ['--env', 'MASTER_ADDR=me'])).toMatchObject({
      MASTER_ADDR: 'me',
      OMP_NUM_THREADS: undefined,
    });
  });

  test('is left alone in an image without it, and outside of a job', () => {
    expect(environmentOf({ env: job })).not.toHaveProperty('MASTER_ADDR');
    expect(Object.values(torch({})).filter((value) => value !== undefined)).toEqual([]);
  });

  test.each([
    ['', ''],
    ['n1', 'n1'],
    ['n1,n2', 'n1'],
    ['n[1-4]', 'n1'],
    ['n[001,7-9]-ib,m', 'n001-ib'],
    ['r[2-3]n[04-05]', 'r2n04'],
    ['a.b.c[10]', 'a.b.c10'],
  ])('the first host of %j is %j', (list, host) => {
    expect(firstHost(list)).toBe(host);
  });
});

describe('SHARP', () => {
  const env = { SLURM_NETWORK: 'sharp', MELLANOX_VISIBLE_DEVICES: 'all', SLURM_STEP_NUM_NODES: '4' };
  const set = {
    SHARP_COLL_LOCK_ON_COMM_INIT: '1',
    SHARP_COLL_NUM_COLL_GROUP_RESOURCE_ALLOC_THRESHOLD: '0',
    NCCL_COLLNET_ENABLE: '1',
    NCCL_SHARP_GROUP_SIZE_THRESH: '4',
  };

  test('is switched on for a network of that kind with InfiniBand devices', () => {
    expect(environmentOf({ env })).toMatchObject(set);
    const { MELLANOX_VISIBLE_DEVICES, SLURM_STEP_NUM_NODES, ...rest } = env;
    const inside = ['--env', `MELLANOX_VISIBLE_DEVICES=${MELLANOX_VISIBLE_DEVICES}`, '--env', 'NCCL_COLLNET_ENABLE=0'];
    const seen = environmentOf({ env: { ...rest, OMPI_MCA_orte_num_nodes: '2' }, args: inside });
    expect(seen).toMatchObject({ ...set, NCCL_COLLNET_ENABLE: '0', NCCL_SHARP_GROUP_SIZE_THRESH: '2' });
    expect(SLURM_STEP_NUM_NODES).toBe('4');
  });

  test.each([
    { ...env, SLURM_NETWORK: 'ib' },
    { ...env, MELLANOX_VISIBLE_DEVICES: 'none' },
    { ...env, MELLANOX_VISIBLE_DEVICES: 'void' },
    { ...env, MELLANOX_VISIBLE_DEVICES: '' },
  ])('is left off with %j', (other) => {
    expect(environmentOf({ env: other })).not.toHaveProperty('NCCL_COLLNET_ENABLE');
  });
});

describe('lxcfs', () => {
  test('tells of the group only when asked, and without a word where it is missing', () => {
    const sources = (env: Record<string, string>) =>
      pick(planOf({ env }), 'mount').filter(({ source }) => source.startsWith('/var/lib/lxcfs/'));
    expect(sources({})).toEqual([]);
    const mounts = sources({ BUNDLER_HOOKS: 'lxcfs' });
    expect(mounts.map(({ target }) => target)).toContain('/proc/meminfo');
    expect(mounts.every(({ source, target }) => source === `/var/lib/lxcfs${target}`)).toBe(true);
    expect(mounts.every(({ options }) => (options & 24) === 24)).toBe(true);
  });
});

describe('apt under --root', () => {
  test('stays root in images of the Debian family', () => {
    const shown = (change: object) => JSON.stringify(planOf(change)).includes('/etc/apt/apt.conf.d/enroot');
    expect(shown({ args: ['--root'] })).toBe(true);
    expect(shown({ args: ['--user', '0'] })).toBe(true);
    expect(shown({})).toBe(false);
    expect(shown({ args: ['--root'], rootfs: { debian: false } })).toBe(false);
  });
});
