// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import { listGiven, ofCaller } from '../device-gate.ts';
import type { Lookup } from '../expand.ts';
import { Failure } from '../failure.ts';
import type { LaunchInput } from '../launch-input.ts';
import { type NvidiaRequest, readNvidiaRequest } from './nvidia-request.ts';
import { collectRequirements } from './nvidia-require.ts';

/** Which devices a launch asks for. */
export interface Asked {
  /** --gpus as given; null without. */
  readonly gpus: Bytes | null;
  readonly nvidia: NvidiaRequest;
  /** What the image says of itself and cannot be understood; null when all is clear. */
  readonly trouble: Failure | null;
  /** The user himself asked (by --gpus, --env or his environment), not only the image: then what cannot be had is an error. */
  readonly insists: boolean;
  /** AMD_VISIBLE_DEVICES and MELLANOX_VISIBLE_DEVICES; '' where nothing is said. */
  readonly amd: Bytes;
  readonly mellanox: Bytes;
  /** CUDA_VISIBLE_DEVICES of the caller; '' where the container has its own. */
  readonly cudaVisible: Bytes;
  /** What the image requires of driver and GPU, by variable; empty with NVIDIA_DISABLE_REQUIRE. */
  readonly requirements: ReadonlyMap<string, Bytes>;
}

/** Variables of the caller, of --env or of the configuration alone: by them an image could have any directory of the host shown. */
const ofUsers = ['CUDA_MPS_PIPE_DIRECTORY'];
/** Variables of the container alone: on the host they are about the host (`module load cuda`). */
const ofContainers = ['CUDA_VERSION'];

/**
 * Reads --gpus and the variables by which images and users ask for devices. A variable of --env wins over the caller's own, that over one of
 * the configuration, that over the container's (the image's, and what hooks wrote): enroot's order, but for --env. environ: the container's environment.
 * Throws Failure for what cannot be understood, if a user said it; what an image says of itself is kept in `trouble`.
 */
export function readAsked(input: LaunchInput, environ: ReadonlyMap<string, Bytes>): Asked {
  const { options, settings, request, manifest } = input;
  const hooks = new Set(settings.hooks);
  const given = listGiven(input);
  const variable: Lookup = (name) => {
    const said = given.get(name);
    if (said !== undefined && !ofContainers.includes(name)) return said;
    if (ofContainers.includes(name)) return environ.get(name);
    return (
      ofCaller(input, name) ?? settings.configured[name] ?? (ofUsers.includes(name) ? undefined : environ.get(name))
    );
  };
  const isUsers = given.has('NVIDIA_VISIBLE_DEVICES') || ofCaller(input, 'NVIDIA_VISIBLE_DEVICES') !== undefined;
  const nvidiaIsOn = hooks.has('98-nvidia');
  const read = (env: Lookup, imageHasCuda: boolean) => readNvidiaRequest({ gpus: options.gpus, env, imageHasCuda });
  let nvidia: NvidiaRequest;
  let trouble: Failure | null = null;
  try {
    const env = nvidiaIsOn || options.gpus !== null ? variable : () => undefined;
    nvidia = read(env, nvidiaIsOn && Boolean(manifest.rootfs?.loader?.cuda));
  } catch (error) {
    if (!(error instanceof Failure) || options.gpus !== null || isUsers) throw error;
    trouble = error;
    nvidia = read(() => undefined, false);
  }
  const names = new Set([...Object.keys(request.env), ...Object.keys(settings.configured), ...environ.keys()]);
  // No others are read: a launch that is printed shows every variable that was looked at.
  const ofRequirements = [...names].filter((name) =>
    /^(NVIDIA_REQUIRE_|NVIDIA_DISABLE_REQUIRE$|CUDA_VERSION$)/.test(name),
  );
  const requirements = ofRequirements.sort().flatMap((name): [string, Bytes][] => {
    const value = variable(name);
    return value === undefined ? [] : [[name, value]];
  });
  return {
    gpus: options.gpus,
    nvidia,
    trouble,
    insists: options.gpus !== null || (nvidia.asked === 'variable' && isUsers),
    amd: variable('AMD_VISIBLE_DEVICES') ?? '',
    mellanox: hooks.has('99-mellanox') ? (variable('MELLANOX_VISIBLE_DEVICES') ?? '') : '',
    cudaVisible: environ.has('CUDA_VISIBLE_DEVICES') ? '' : (request.env.CUDA_VISIBLE_DEVICES ?? ''),
    requirements: collectRequirements(new Map(requirements)),
  };
}

/** Does a launch ask for any device at all? */
export function asksForDevices({ gpus, nvidia, amd, mellanox, trouble }: Asked): boolean {
  return (
    gpus !== null ||
    trouble !== null ||
    nvidia.devices !== 'void' ||
    nvidia.cdi.length > 0 ||
    ![amd, mellanox].every((value) => value === '' || value === 'void')
  );
}
