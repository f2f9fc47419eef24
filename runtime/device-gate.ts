// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { collectEnvironment, parseEnvFile } from './environment.ts';
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
export function isSettled(input: LaunchInput): boolean {
  const name = 'NVIDIA_VISIBLE_DEVICES';
  return input.options.gpus !== null || listGiven(input).has(name) || ofCaller(input, name) !== undefined;
}

/** The variables of --env-file and --env, with their values; a name alone is the caller's variable, and nothing where he has none. */
export function listGiven({ options, host, request }: LaunchInput): Map<string, Bytes> {
  const items = [...options.envFiles.flatMap((path) => parseEnvFile(host.files[path] ?? '', path)), ...options.env];
  return new Map(
    items.flatMap((item): [string, Bytes][] => {
      const at = item.indexOf('=');
      const value = at < 0 ? request.env[item] : item.slice(at + 1);
      return value === undefined ? [] : [[at < 0 ? item : item.slice(0, at), value]];
    }),
  );
}

/** A variable of the caller's environment. */
export function ofCaller({ request }: LaunchInput, name: string): Bytes | undefined {
  const value = request.env[name];
  // Kubernetes' device plugin tells its containers so that their devices are mounts; they have no others.
  return name === 'NVIDIA_VISIBLE_DEVICES' && value?.startsWith('/') ? undefined : value;
}

export const noDevices: DevicePlan = {
  shown: [],
  ops: [],
  environ: [],
  edits: null,
};

/** Stands for what was not loaded, because nobody asks for devices. */
export const planNoDevices: DevicePlanner = () => noDevices;
