// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { Lookup } from '../expand.ts';
import type { LaunchInput } from '../launch-input.ts';
import { type NvidiaRequest, readNvidiaRequest } from './nvidia-request.ts';
import { collectRequirements } from './nvidia-require.ts';

/** Which devices a launch asks for. */
export interface Asked {
  /** --gpus as given; null without. */
  readonly gpus: Bytes | null;
  readonly nvidia: NvidiaRequest;
  /** The user himself asked (by --gpus, --env or his environment), not only the image: then what cannot be had is an error. */
  readonly insists: boolean;
  /** AMD_VISIBLE_DEVICES and MELLANOX_VISIBLE_DEVICES; '' where nothing is said. */
  readonly amd: Bytes;
  readonly mellanox: Bytes;
  /** CUDA_VISIBLE_DEVICES and CUDA_MPS_PIPE_DIRECTORY of the caller, `K=V`, where the container has none of its own. */
  readonly passed: readonly Bytes[];
  /** What the image requires of driver and GPU, by variable; empty with NVIDIA_DISABLE_REQUIRE. */
  readonly requirements: ReadonlyMap<string, Bytes>;
}

/**
 * Reads --gpus and the variables by which images and users ask for devices. A variable of --env wins over the caller's own, that over one of
 * the configuration, that over the container's (the image's, and what hooks wrote): enroot's order, but for --env. environ: the container's environment.
 */
export function readAsked(input: LaunchInput, environ: ReadonlyMap<string, Bytes>): Asked {
  const { options, settings, request, host, manifest } = input;
  const hooks = new Set(settings.hooks);
  const given = (name: string) =>
    options.env.some((item) => item === name || item.startsWith(`${name}=`)) ||
    options.envFiles.some((path) => new RegExp(`^[ \\t]*${name}(=|[ \\t]*$)`, 'm').test(host.files[path] ?? ''));
  const variable: Lookup = (name) => {
    if (given(name)) return environ.get(name);
    return request.env[name] ?? settings.configured[name] ?? environ.get(name);
  };
  const isUsers = (name: string) => given(name) || request.env[name] !== undefined;
  const nvidiaIsOn = hooks.has('98-nvidia');
  const nvidia = readNvidiaRequest({
    gpus: options.gpus,
    env: nvidiaIsOn || options.gpus !== null ? variable : () => undefined,
    imageHasCuda: nvidiaIsOn && Boolean(manifest.rootfs?.loader?.cuda),
  });
  const names = new Set([...Object.keys(request.env), ...Object.keys(settings.configured), ...environ.keys()]);
  const known = [...names].sort().flatMap((name): [string, Bytes][] => {
    const value = variable(name);
    return value === undefined ? [] : [[name, value]];
  });
  return {
    gpus: options.gpus,
    nvidia,
    insists: options.gpus !== null || (nvidia.asked === 'variable' && isUsers('NVIDIA_VISIBLE_DEVICES')),
    amd: variable('AMD_VISIBLE_DEVICES') ?? '',
    mellanox: hooks.has('99-mellanox') ? (variable('MELLANOX_VISIBLE_DEVICES') ?? '') : '',
    passed: ['CUDA_VISIBLE_DEVICES', 'CUDA_MPS_PIPE_DIRECTORY'].flatMap((name) => {
      const value = request.env[name];
      return value === undefined || environ.has(name) ? [] : [`${name}=${value}`];
    }),
    requirements: collectRequirements(new Map(known)),
  };
}

/** Does a launch ask for any device at all? */
export function asksForDevices({ gpus, nvidia, amd, mellanox }: Asked): boolean {
  return (
    gpus !== null ||
    nvidia.devices !== 'void' ||
    nvidia.cdi.length > 0 ||
    ![amd, mellanox].every((value) => value === '' || value === 'void')
  );
}
