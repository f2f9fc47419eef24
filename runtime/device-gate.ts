// SPDX-License-Identifier: Apache-2.0
import { collectEnvironment } from './environment.ts';
import type { DevicePlan, DevicePlanner } from './gpu/device-plan.ts';
import type { LaunchInput } from './launch-input.ts';

/** Variables that can ask for devices; the container's CUDA_VERSION does in images of before NVIDIA_VISIBLE_DEVICES. */
const variables = ['NVIDIA_VISIBLE_DEVICES', 'AMD_VISIBLE_DEVICES', 'MELLANOX_VISIBLE_DEVICES'];

/** May a launch ask for GPUs or HCAs? Then what supports them is loaded, and decides. Any other start must not pay for it. environ: of the container. */
export function mayAskForDevices(input: LaunchInput, environ = collectEnvironment(input)): boolean {
  const { options, manifest, request, settings } = input;
  if (options.gpus !== null || manifest.rootfs?.loader?.cuda) return true;
  const isSet = (name: string) => Boolean(environ.get(name) || request.env[name] || settings.configured[name]);
  return variables.some(isSet) || environ.has('CUDA_VERSION');
}

/** Is it settled which GPUs are asked for, whatever hooks of the host will write? Then they are there before the hooks run. */
export function isSettled({ options, request }: LaunchInput): boolean {
  return options.gpus !== null || request.env.NVIDIA_VISIBLE_DEVICES !== undefined || options.env.some(isVisible);
}

function isVisible(item: string): boolean {
  return item === 'NVIDIA_VISIBLE_DEVICES' || item.startsWith('NVIDIA_VISIBLE_DEVICES=');
}

export const noDevices: DevicePlan = {
  shown: [],
  ops: [],
  environ: [],
  edits: null,
};

/** Stands for what was not loaded, because nobody asks for devices. */
export const planNoDevices: DevicePlanner = () => noDevices;
