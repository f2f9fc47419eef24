// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { BuiltInHook } from './hook.ts';

/**
 * With `srun --network=sharp` and InfiniBand devices in the container: lets NCCL reduce in the switches (SHARP), which must not
 * wait for a lock or for communicators that are never used.
 */
export const sharp: BuiltInHook = {
  name: '50-sharp',
  byDefault: true,
  text: 'with `SLURM_NETWORK=sharp` and InfiniBand devices, lets NCCL use in-network reduction (SHARP)',
  add: ({ input: { request, settings }, environ }) => {
    const { env } = request;
    const layers = [settings.overrides, env, settings.configured, Object.fromEntries(environ)];
    const visible =
      layers.find((layer) => layer.MELLANOX_VISIBLE_DEVICES !== undefined)?.MELLANOX_VISIBLE_DEVICES ?? '';
    if (env.SLURM_NETWORK !== 'sharp' || ['', 'void', 'none'].includes(visible)) return {};
    const added: Bytes[] = [];
    const set = (name: string, value: Bytes) => {
      if (!environ.has(name)) added.push(`${name}=${value}`);
    };
    set('SHARP_COLL_LOCK_ON_COMM_INIT', '1');
    set('SHARP_COLL_NUM_COLL_GROUP_RESOURCE_ALLOC_THRESHOLD', '0');
    set('NCCL_COLLNET_ENABLE', '1');
    const nodes = env.SLURM_STEP_NUM_NODES || env.OMPI_MCA_orte_num_nodes;
    if (nodes) set('NCCL_SHARP_GROUP_SIZE_THRESH', nodes);
    return { environ: added };
  },
};
