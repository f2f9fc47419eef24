// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import { collectEnvironment } from '../environment.ts';
import { Failure } from '../failure.ts';
import type { LaunchInput } from '../launch-input.ts';
import type { Rung } from '../rungs.ts';
import { asksForDevices, readAsked } from './asked.ts';
import { cudaOfDriver } from './cuda-versions.ts';
import type { Asking } from './device-plan.ts';
import type { Edits, Missing } from './edits.ts';
import { askSmi, readAnswers } from './nvidia-launch.ts';
import { planDevices } from './plan-devices.ts';

/** What --verify and --gpu-plan tell of GPUs and HCAs. docs/verify.md describes it as JSON. */
export interface DeviceReport {
  /** What the launch asks for, in words. */
  readonly asked: Bytes;
  /** Nothing is asked for: what follows is what `--gpus all` would give. */
  readonly wouldBe: boolean;
  readonly drivers: readonly DriverReport[];
  readonly gpus: readonly GpuReport[];
  /** Where the libraries are put in the container; '' for none. */
  readonly libraryDir: Bytes;
  /** Files, directories and sockets of the host, with their place in the container. */
  readonly injected: readonly { readonly kind: string; readonly source: Bytes; readonly target: Bytes }[];
  readonly devices: readonly Bytes[];
  /** Nodes of /dev that the container does not have. */
  readonly hidden: readonly Bytes[];
  /** Files that are made, and links. */
  readonly files: readonly Bytes[];
  readonly links: readonly { readonly path: Bytes; readonly target: Bytes }[];
  readonly env: readonly Bytes[];
  readonly missing: readonly Missing[];
  readonly warnings: readonly Bytes[];
  /** Why it cannot be had; '' when it can. */
  readonly problem: Bytes;
  readonly cure: Bytes;
}

export interface DriverReport {
  readonly vendor: 'NVIDIA' | 'NVIDIA on WSL' | 'NVIDIA Jetson' | 'AMD' | 'Intel' | 'InfiniBand';
  readonly version: string;
  /** The newest CUDA that the driver supports; '' unknown. */
  readonly cuda: string;
}

export interface GpuReport {
  readonly index: number;
  readonly vendor: string;
  readonly model: Bytes;
  readonly uuid: string;
  readonly busId: string;
  readonly nodes: readonly Bytes[];
  /** The container has it. */
  readonly shown: boolean;
}

export type DeviceReporter = (given: LaunchInput, rung: Rung) => DeviceReport | Asking | null;

/** Plans the devices of a launch for a report, or asks first. null: the host has none, and none are asked for. */
export function reportDevices(given: LaunchInput, rung: Rung): DeviceReport | Asking | null {
  const { devices: facts } = given.host;
  if (facts === null) return null;
  const unclear = attempt(given);
  if (unclear instanceof Failure) {
    return {
      asked: '',
      wouldBe: false,
      drivers: listDrivers(given),
      gpus: listGpus(given, null),
      ...nothing,
      problem: unclear.message,
      cure: unclear.hint,
    };
  }
  const asked = unclear;
  const wouldBe = !asksForDevices(asked);
  const drivers = listDrivers(given);
  if (wouldBe && drivers.length === 0) return null;
  // nvidia-smi is right where the driver hides UUIDs, and about CUDA.
  const asking = facts.nvidia === null ? null : askSmi(facts.nvidia, given.host.answers);
  if (asking !== null) return asking;
  const input = wouldBe ? { ...given, options: { ...given.options, gpus: 'all' } } : given;
  const words = wouldBe ? 'nothing' : describeAsked(readAsked(input, collectEnvironment(input)));
  const empty = { asked: words, wouldBe, drivers, gpus: listGpus(given, null), ...nothing };
  try {
    const plan = planDevices(input, collectEnvironment(input), given.options.keep ? 'kept' : 'served', rung);
    if ('ask' in plan) return plan;
    if (plan.edits === null) return empty;
    const { asked: edits, applied } = plan.edits;
    return {
      ...empty,
      gpus: listGpus(given, edits),
      libraryDir: edits.libraries.length > 0 ? applied.libraryDir : '',
      injected: applied.binds,
      devices: edits.devices,
      hidden: edits.hidden,
      files: applied.files.map(({ path }) => path),
      links: applied.links,
      env: plan.environ,
      missing: edits.missing,
      warnings: applied.warnings,
    };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { ...empty, problem: error.message, cure: error.hint };
  }
}

function attempt(given: LaunchInput): ReturnType<typeof readAsked> | Failure {
  try {
    return readAsked(given, collectEnvironment(given));
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

const nothing = {
  libraryDir: '',
  injected: [],
  devices: [],
  hidden: [],
  files: [],
  links: [],
  env: [],
  missing: [],
  warnings: [],
  problem: '',
  cure: '',
};

function describeAsked({ gpus, nvidia, amd, mellanox }: ReturnType<typeof readAsked>): Bytes {
  const { asked, devices, cdi } = nvidia;
  const by = { option: '--gpus', variable: 'NVIDIA_VISIBLE_DEVICES', 'image-library': 'a CUDA library in the image' };
  const list = [...(devices === 'void' ? [] : [devices].flat()), ...cdi].join(',');
  const words = [
    ...(asked === null || list === '' ? [] : [`${list} (${by[asked]})`]),
    ...(gpus !== null || amd === '' ? [] : [`${amd} (AMD_VISIBLE_DEVICES)`]),
    ...(mellanox === '' ? [] : [`${mellanox} (MELLANOX_VISIBLE_DEVICES)`]),
  ];
  return words.join(', ');
}

function listDrivers({ host: { devices, answers } }: LaunchInput): DriverReport[] {
  if (devices === null) return [];
  const { nvidia, wsl, tegra, amd, intel, infiniband } = devices;
  const drivers: DriverReport[] = [];
  const add = (vendor: DriverReport['vendor'], version = '', cuda = '') => drivers.push({ vendor, version, cuda });
  if (wsl !== null) add('NVIDIA on WSL');
  if (tegra !== null) add('NVIDIA Jetson');
  if (nvidia !== null) {
    const version = nvidia.moduleVersion;
    add('NVIDIA', version, readAnswers(nvidia, answers)?.cuda || (cudaOfDriver(version) ?? ''));
  }
  if (amd !== null) add('AMD');
  if (intel !== null) add('Intel');
  if (infiniband !== null) add('InfiniBand');
  return drivers;
}

function listGpus({ host: { devices, answers } }: LaunchInput, edits: Edits | null): GpuReport[] {
  if (devices === null) return [];
  const isShown = (nodes: readonly Bytes[]) => nodes.some((path) => edits?.devices.includes(path));
  const smi = devices.nvidia === null ? null : readAnswers(devices.nvidia, answers);
  const nvidia = (devices.nvidia?.gpus ?? []).map(({ busId, minor, uuid, model, drm }, index): GpuReport => {
    const nodes = [`/dev/nvidia${minor}`, ...drm];
    const told = smi?.gpus.find((gpu) => gpu.busId === busId)?.uuid ?? '';
    return { index, vendor: 'NVIDIA', model, uuid: uuid || told, busId, nodes, shown: isShown(nodes) };
  });
  const others = (['amd', 'intel'] as const).flatMap((name) =>
    (devices[name]?.gpus ?? []).map(({ busId, uniqueId, nodes: known }, index): GpuReport => {
      const nodes = known.map(({ path }) => path);
      const vendor = name === 'amd' ? 'AMD' : 'Intel';
      return { index, vendor, model: '', uuid: uniqueId, busId, nodes, shown: isShown(nodes) };
    }),
  );
  return [...nvidia, ...others];
}
