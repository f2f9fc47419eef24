// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { stepCgroup } from '../../runtime/share.ts';
import type { ImageFacts } from '../../src/format/manifest.ts';
import { type Change, makeInput, pick, planOf } from './launch-fixture.ts';

const keyOf = (change: Change = {}) => pick(planOf(change), 'share')[0]?.key;
const plain = keyOf();
const imageFacts = makeInput().manifest.image as ImageFacts;

describe('planLaunch: sharing', () => {
  test('lets processes of one job meet in the cache directory', () => {
    const [share, ...more] = pick(planOf(), 'share');
    expect(share?.dir).toBe('/home/ann/.cache/bundler');
    expect(more).toEqual([]);
    const names = planOf().map(({ op }) => op);
    expect(names.indexOf('share')).toBe(names.indexOf('serve') - 1);
  });

  test('gives the tasks of a step the same key and the same entries, whatever tells one from the other', () => {
    const task = (n: number): Change => ({
      args: ['--env', `RANK=${n}`, 'python3', `job${n}.py`],
      env: {
        SLURM_JOB_ID: '7',
        SLURM_STEP_ID: '0',
        SLURM_PROCID: String(n),
        SLURM_LOCALID: String(n),
        SHLVL: String(n),
      },
      request: {
        pid: 100 + n,
        cgroup: `0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_${n}\n`,
        cpus: n + 1,
        tty: n === 0 ? '012' : '',
        argv: ['./np.run'],
      },
    });
    expect(keyOf(task(0))).toBe(keyOf(task(63)));
    const looks = (n: number) => planOf(task(n)).filter(({ op }) => ['entry', 'serve', 'userns'].includes(op));
    expect(looks(0)).toEqual(looks(63));
  });

  test.each<[string, Change]>([
    ['image', { manifest: { image: { ...imageFacts, digest: 'cd'.repeat(32) } } }],
    ['group', { request: { gid: 100, egid: 100 } }],
    ['cgroup', { request: { cgroup: '0::/user.slice/user-4242.slice/session-2.scope\n' } }],
    ['container', { request: { namespaces: '1 2' } }],
    ['job of a batch system without cgroups', { env: { PBS_JOBID: '12.server' } }],
    ['step', { env: { SLURM_STEP_ID: '1' } }],
  ])('keeps apart what differs in its %s', (_what, change) => {
    expect(keyOf(change)).not.toBe(plain);
    expect(keyOf(change)).toBeDefined();
  });

  test.each<[string, Change]>([
    ['with --no-share', { args: ['--no-share'] }],
    ['with BUNDLER_SHARE=0', { env: { BUNDLER_SHARE: '0' } }],
    ['with BUNDLER_SHARE=no', { env: { BUNDLER_SHARE: 'no' } }],
    ['without pidfds', { probes: { pidfd: 'open 38' } }],
    ['without a directory of ours', { request: { cacheDir: '' } }],
    ['under a changed user id', { request: { uid: 1 } }],
    ['as nobody', { request: { uid: 65534, euid: 65534 } }],
    ['when the image is unpacked', { args: ['--keep'] }],
  ])('is left out %s', (_when, change) => {
    expect(pick(planOf(change), 'share')).toEqual([]);
  });

  test('stays on when BUNDLER_SHARE is empty or 1', () => {
    for (const BUNDLER_SHARE of ['', '1']) expect(keyOf({ env: { BUNDLER_SHARE } })).toBe(plain);
  });
});

describe('stepCgroup', () => {
  test.each([
    ['0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_3\n', ':/system.slice/slurmstepd.scope/job_7/step_0'],
    [
      '0::/system.slice/slurmstepd.scope/job_7/step_batch/user/task_0\n',
      ':/system.slice/slurmstepd.scope/job_7/step_batch',
    ],
    [
      '9:memory:/slurm/uid_1/job_7/step_1/task_2\n4:cpuset:/slurm/uid_1/job_7/step_1\n1:name=systemd:/s\n0::/s\n',
      ':/s\ncpuset:/slurm/uid_1/job_7/step_1\nmemory:/slurm/uid_1/job_7/step_1\nname=systemd:/s',
    ],
    ['0::/\n', ':/'],
    ['0::/user.slice/session-1.scope\n', ':/user.slice/session-1.scope'],
    ['', ''],
  ])('of %j is %j', (text, step) => {
    expect(stepCgroup(text)).toBe(step);
  });
});
