// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { Lookup } from '../expand.ts';
import { Failure } from '../failure.ts';
import { printable } from '../options.ts';
import { normalizeBusId } from './nvidia-smi.ts';
import { type Capability, capabilities as known } from './nvidia-tables.ts';

/** What is asked for of NVIDIA's GPUs. */
export interface NvidiaRequest {
  /** --gpus, NVIDIA_VISIBLE_DEVICES, or the mere look of the image, which nobody said; null when nothing is asked for. */
  readonly asked: 'option' | 'variable' | 'image-library' | null;
  /** `void`: nothing of NVIDIA at all; `none`: the driver without a GPU; or elements that selectGpus understands. */
  readonly devices: 'void' | 'none' | 'all' | readonly Bytes[];
  /** Qualified names of the Container Device Interface, `vendor/class=name`; they may be asked for besides `devices`, or alone. */
  readonly cdi: readonly Bytes[];
  readonly capabilities: ReadonlySet<Capability>;
  /** Channels of the IMEX domain, each once. */
  readonly imexChannels: readonly number[];
  readonly flags: {
    readonly gdrcopy: boolean;
    readonly gds: boolean;
    readonly mofed: boolean;
    readonly nvswitch: boolean;
  };
  readonly migConfig: boolean;
  readonly migMonitor: boolean;
  /** The directory of the CUDA Multi-Process Service's pipes. */
  readonly mpsPipe: Bytes;
}

const variable = 'NVIDIA_VISIBLE_DEVICES';
const possible =
  'use all, none, void, or a list of indexes (0,1), UUIDs (GPU-.., MIG-..), GPU and MIG indexes (0:1), PCI bus ids (0000:65:00.0) or CDI names (vendor/class=name)';
/** nvidia-container-toolkit, lib-imex.go. */
const lastImexChannel = 2 ** 20 - 1;

/**
 * Reads the option --gpus (null when it was not given; it is stronger than the variable) and the NVIDIA_* variables, of which the caller
 * decided which one wins where image, host and options set the same. Values and defaults are those of nvidia-container-toolkit
 * (cuda_image.go, devices.go); unset capabilities are `compute,utility`. An image made before NVIDIA_REQUIRE_CUDA (only CUDA_VERSION is
 * set) asks for everything. imageHasCuda: it holds a library of CUDA, which asks for all GPUs when the variable is unset.
 * When nothing is asked for, the other variables are not looked at. Throws Failure for what cannot be understood.
 */
export function readNvidiaRequest(input: {
  readonly gpus: Bytes | null;
  readonly env: Lookup;
  readonly imageHasCuda: boolean;
}): NvidiaRequest {
  const { env } = input;
  const isLegacy = isSet(env, 'CUDA_VERSION') && !isSet(env, 'NVIDIA_REQUIRE_CUDA');
  const { asked, devices, cdi } = readDevices(input, isLegacy);
  if (asked === null) return nothing;
  return {
    asked,
    devices,
    cdi,
    capabilities: readCapabilities(env('NVIDIA_DRIVER_CAPABILITIES') ?? (isLegacy ? 'all' : '')),
    imexChannels: readImexChannels(env('NVIDIA_IMEX_CHANNELS') ?? ''),
    flags: {
      gdrcopy: env('NVIDIA_GDRCOPY') === 'enabled',
      gds: env('NVIDIA_GDS') === 'enabled',
      mofed: env('NVIDIA_MOFED') === 'enabled',
      nvswitch: env('NVIDIA_NVSWITCH') === 'enabled',
    },
    migConfig: readMigAdmin(env, 'NVIDIA_MIG_CONFIG_DEVICES'),
    migMonitor: readMigAdmin(env, 'NVIDIA_MIG_MONITOR_DEVICES'),
    mpsPipe: readDirectory(env('CUDA_MPS_PIPE_DIRECTORY') ?? '') ?? nothing.mpsPipe,
  };
}

/** An absolute path without dots; null for any other text. */
function readDirectory(given: Bytes): Bytes | null {
  const text = given.replace(/\/+/g, '/').replace(/\/$/, '');
  return /^(\/[^/\n]+)+$/.test(text) && !/\/\.\.?(\/|$)/.test(text) ? text : null;
}

const defaultCapabilities: readonly Capability[] = ['compute', 'utility'];

/** Where the MPS daemon is unless somebody says otherwise. */
export const usualMpsPipe = '/tmp/nvidia-mps';

const nothing: NvidiaRequest = {
  asked: null,
  devices: 'void',
  cdi: [],
  capabilities: new Set(defaultCapabilities),
  imexChannels: [],
  flags: { gdrcopy: false, gds: false, mofed: false, nvswitch: false },
  migConfig: false,
  migMonitor: false,
  mpsPipe: usualMpsPipe,
};

type Devices = Pick<NvidiaRequest, 'asked' | 'devices' | 'cdi'>;

function readDevices({ gpus, env, imageHasCuda }: Parameters<typeof readNvidiaRequest>[0], isLegacy: boolean): Devices {
  const text = env(variable);
  if (gpus === null && text === undefined) {
    return imageHasCuda || isLegacy ? { asked: 'image-library', devices: 'all', cdi: [] } : nothing;
  }
  const where = gpus === null ? `${variable}=${printable(text ?? '')}` : `--gpus ${printable(gpus)}`;
  const elements = gpus === null ? splitList(text ?? '') : readOption(gpus, where);
  const listed = elements.map((element) => readElement(element, where));
  const names = listed.flatMap(({ device }) => device ?? []);
  const cdi = [...new Set(listed.flatMap((element) => element.cdi ?? []))];
  const isEmpty = names.length === 0 && cdi.length === 0;
  if (isEmpty || names.includes('void')) return nothing;
  const asked = gpus === null ? 'variable' : 'option';
  if (names.length === 0) return { asked, devices: 'void', cdi };
  const special = (['none', 'all'] as const).find((word) => names.includes(word));
  return { asked, devices: special ?? [...new Set(names)], cdi };
}

/** docker's `"device=0,1"`, its quotes included, is a list as any other. Of docker's other keys none is understood. */
function readOption(text: Bytes, where: string): Bytes[] {
  const elements = splitList(text.replaceAll('"', '').replace(/(^|,)\s*device=/g, '$1'));
  const key = elements.find((element) => /^[a-z]+=/.test(element))?.split('=', 1)[0];
  if (key === 'capabilities') {
    throw new Failure(
      `${where}: capabilities are not named here`,
      `set the variable: --env NVIDIA_DRIVER_CAPABILITIES=${defaultCapabilities.join(',')}`,
    );
  }
  if (key !== undefined) throw new Failure(`${where}: ${key}= is not understood`, possible);
  if (elements.length === 0) throw new Failure(`${where}: this names no GPU`, possible);
  return elements;
}

function readElement(element: Bytes, where: string): { readonly device?: Bytes; readonly cdi?: Bytes } {
  // The toolkit calls devices so that it looks for itself, as is done here, and that no file describes.
  const native = element.replace(/^runtime\.nvidia\.com\/gpu=/, '');
  if (['void', 'none', 'all'].includes(native) || isDevice(native)) return { device: native };
  if (isQualifiedName(element)) return { cdi: element };
  throw new Failure(`${where}: ${printable(element)} is not the name of a GPU`, possible);
}

function isDevice(element: Bytes): boolean {
  const patterns = [/^\d+$/, /^\d+:\d+$/, /^GPU-[0-9a-f-]+$/i, /^MIG-[0-9a-f-]+$/i, /^MIG-GPU-[0-9a-f-]+\/\d+\/\d+$/i];
  return patterns.some((pattern) => pattern.test(element)) || normalizeBusId(element) !== null;
}

/** `vendor/class=name` (CDI's SPEC.md). */
function isQualifiedName(element: Bytes): boolean {
  const [, vendor = '', kind = '', name = ''] = /^([\w.-]+)\/([\w-]+)=([\w.:-]+)$/.exec(element) ?? [];
  const isWord = (text: Bytes) => /^[a-z0-9]$|^[a-z0-9].*[a-z0-9]$/i.test(text);
  return /^[a-z]/i.test(vendor) && /^[a-z]/i.test(kind) && [vendor, kind, name].every(isWord);
}

function readCapabilities(text: Bytes): ReadonlySet<Capability> {
  const wanted = splitList(text);
  if (wanted.length === 0) return nothing.capabilities;
  const unknown = wanted.find((name) => name !== 'all' && !known.some((one) => one === name));
  if (unknown !== undefined) {
    throw new Failure(
      `NVIDIA_DRIVER_CAPABILITIES=${printable(text)}: there is no capability ${printable(unknown)}`,
      `use all, or a list of ${known.join(', ')}`,
    );
  }
  return new Set(wanted.includes('all') ? known : known.filter((name) => wanted.includes(name)));
}

/** `all` is passed over, as nvidia-container-toolkit does. */
function readImexChannels(text: Bytes): number[] {
  const channels = splitList(text).filter((channel) => channel !== 'all');
  const wrong = channels.find((channel) => !/^\d{1,7}$/.test(channel) || Number(channel) > lastImexChannel);
  if (wrong !== undefined) {
    throw new Failure(
      `NVIDIA_IMEX_CHANNELS=${printable(text)}: ${printable(wrong)} is not a channel`,
      `use a list of numbers from 0 to ${lastImexChannel}`,
    );
  }
  return [...new Set(channels.map(Number))];
}

function readMigAdmin(env: Lookup, name: string): boolean {
  const elements = splitList(env(name) ?? '');
  if (elements.every((element) => element === 'all')) return elements.length > 0;
  throw new Failure(
    `${name}=${printable(env(name) ?? '')}: only all can be asked for`,
    `set ${name}=all, or leave it unset`,
  );
}

function isSet(env: Lookup, name: string): boolean {
  return (env(name) ?? '') !== '';
}

function splitList(text: Bytes): Bytes[] {
  return text
    .split(',')
    .map((element) => element.trim())
    .filter((element) => element !== '');
}
