// SPDX-License-Identifier: Apache-2.0
import type { BuiltInHook } from './hook.ts';

/** Those that add devices: runtime/gpu/plan-devices.ts asks which of them are on. */
export const nvidia: BuiltInHook = {
  name: '98-nvidia',
  byDefault: true,
  text: 'gives the container the GPUs that `NVIDIA_VISIBLE_DEVICES` or `--gpus` names, with the driver of the host',
  add: null,
};

export const mellanox: BuiltInHook = {
  name: '99-mellanox',
  byDefault: true,
  text: 'shows the InfiniBand devices that `MELLANOX_VISIBLE_DEVICES` names, and no others',
  add: null,
};

export const migConfig: BuiltInHook = {
  name: '50-mig-config',
  byDefault: false,
  text: 'gives the right to configure MIG along with whole GPUs on which it is enabled (`NVIDIA_MIG_CONFIG_DEVICES=all`)',
  add: null,
};
