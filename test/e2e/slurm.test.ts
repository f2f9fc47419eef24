// SPDX-License-Identifier: Apache-2.0
import { afterAll, describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { testNeeding } from '../support/features.ts';
import { Cluster } from '../support/slurm.ts';

const needing = testNeeding('root', 'bundler', 'userns', 'fuse', 'slurm');
let cluster: Cluster | undefined;

async function slurm(): Promise<Cluster> {
  if (cluster === undefined) {
    cluster = new Cluster();
    await cluster.start();
  }
  return cluster;
}

afterAll(() => cluster?.stop());

describe('a step of a real Slurm', () => {
  needing('lets its tasks talk to the process manager (PMI-2), over the descriptor that srun gave them', async () => {
    const script = [
      "printf 'cmd=init pmi_version=2 pmi_subversion=0\\n' >&$PMI_FD",
      'read -r answer <&$PMI_FD',
      'echo "$PMI_RANK of $PMI_SIZE, task $SLURM_PROCID: $answer"',
    ];
    const command = [makeBundle('busybox'), 'sh', '-c', script.join('\n')];
    const ran = await (await slurm()).srun(['--mpi=pmi2', ...command]);
    const answer = 'cmd=response_to_init rc=0 pmi_version=2 pmi_subversion=0';
    const lines = [0, 1].map((rank) => `${rank} of 2, task ${rank}: ${answer}`);
    expect({ ...ran, stdout: ran.stdout.trim().split('\n').sort() }).toMatchObject({ status: 0, stdout: lines });
  });

  needing('is as good without MPI, and with the hook turned off', async () => {
    const command = [makeBundle('busybox'), 'sh', '-c', 'echo "<$SLURM_NTASKS$PMI_FD>"'];
    const sees = async (env: Record<string, string>) => {
      const ran = await (await slurm()).srun(['--mpi=none', ...command], env);
      return { status: ran.status, stderr: ran.stderr, lines: ran.stdout.trim().split('\n') };
    };
    expect(await sees({})).toEqual({ status: 0, stderr: '', lines: ['<2>', '<2>'] });
    expect(await sees({ BUNDLER_HOOKS: '-slurm-pmi' })).toEqual({ status: 0, stderr: '', lines: ['<>', '<>'] });
  });

  needing('gets the exit status of its tasks', async () => {
    const ran = await (await slurm()).srun(['--mpi=none', makeBundle('busybox'), 'sh', '-c', 'exit 9']);
    expect(ran.status).toBe(9);
  });
});
