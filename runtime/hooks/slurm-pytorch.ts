// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { BuiltInHook } from './hook.ts';

/**
 * In a job of Slurm, for images with PyTorch (PYTORCH_VERSION is set): what torch.distributed reads from the environment, as
 * torchrun would set it. A variable that is there already stays.
 */
export const slurmPytorch: BuiltInHook = {
  name: '50-slurm-pytorch',
  byDefault: true,
  text: 'in a job of Slurm, sets `MASTER_ADDR`, `WORLD_SIZE`, `RANK` and their like for images with PyTorch',
  add: ({ input: { request }, environ }) => {
    const { env } = request;
    if (!environ.has('PYTORCH_VERSION')) return {};
    const added: Bytes[] = [];
    const set = (name: string, value: Bytes | undefined) => {
      if (value && !environ.has(name)) added.push(`${name}=${value}`);
    };
    set('MASTER_ADDR', firstHost(env.SLURM_STEP_NODELIST ?? ''));
    set('MASTER_PORT', choosePort(env.SLURM_JOB_ID ?? ''));
    set('WORLD_SIZE', env.SLURM_NTASKS);
    set('RANK', env.SLURM_PROCID);
    set('LOCAL_RANK', env.SLURM_LOCALID);
    // torchrun does so with more than one process a node: each would start a thread for every core.
    if (count(env.SLURM_STEP_NUM_TASKS) > count(env.SLURM_STEP_NUM_NODES)) set('OMP_NUM_THREADS', '1');
    return { environ: added };
  },
};

/**
 * The first host of a list as Slurm writes it (`gpu[08-11,20],login`), which `scontrol show hostname` would print first:
 * of each bracket the first number; they come with their zeros.
 */
export function firstHost(list: Bytes): Bytes {
  const [first = ''] = /^(?:[^,[\]]|\[[^\]]*\])+/.exec(list) ?? [];
  return first.replace(/\[([^\],-]*)[^\]]*\]/g, '$1');
}

/** A port that all tasks of a job agree on, beyond those that Linux gives away. */
function choosePort(job: Bytes): Bytes {
  return /^\d{1,15}$/.test(job) ? String((Number(job) % 4536) + 61000) : '';
}

function count(text: Bytes | undefined): number {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : 1;
}
