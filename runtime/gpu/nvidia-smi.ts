// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';

/** What only the driver's own nvidia-smi knows. Text is '' where it does not tell. */
export interface SmiFacts {
  /** The newest CUDA version that the driver supports: `13.0`. */
  readonly cuda: string;
  /** In the order of their indexes. */
  readonly gpus: readonly SmiGpu[];
}

export interface SmiGpu {
  /** NVML's, by which users name a GPU. */
  readonly index: number;
  /** As /proc/driver/nvidia has it: `0000:65:00.0`. */
  readonly busId: string;
  readonly uuid: string;
  readonly name: Bytes;
  /** `9.0`; drivers up to R470 do not tell. */
  readonly computeCapability: string;
  /** Product brand: `GeForce`, `NVIDIA RTX`. */
  readonly brand: Bytes;
  readonly migEnabled: boolean;
  readonly migs: readonly SmiMig[];
}

export interface SmiMig {
  /** Within its GPU. */
  readonly index: number;
  readonly uuid: string;
  /** The ids of its GPU instance and its compute instance, which /proc/driver/nvidia/capabilities names. */
  readonly gi: number;
  readonly ci: number;
}

/**
 * The arguments of the nvidia-smi commands that are asked (nvidia-smi(1)). `gpus`: indexes, bus ids, UUIDs, names, compute capability and
 * MIG mode; drivers up to R470 refuse it as a whole. `list`: the UUIDs of MIG devices. `log`: the CUDA version, brands, the instance ids of
 * MIG devices and again all of `gpus` but the compute capability.
 */
export const smiQuestions = {
  gpus: ['--query-gpu=index,pci.bus_id,uuid,name,compute_cap,mig.mode.current', '--format=csv,noheader'],
  list: ['-L'],
  log: ['-q', '-x'],
} as const satisfies Record<string, readonly string[]>;

export type SmiQuestion = keyof typeof smiQuestions;

/** Reads what the commands printed, null for one that failed. What it does not understand it leaves out, and it never throws. */
export function readSmi(answers: Readonly<Partial<Record<SmiQuestion, Bytes | null>>>): SmiFacts {
  const log = answers.log ?? '';
  const list = readList(answers.list ?? '');
  const rows = readRows(answers.gpus ?? '');
  const known = new Map<number, Partial<SmiGpu>>(list.map(({ index, uuid, name }) => [index, { uuid, name }]));
  const merge = (index: number, more: Partial<SmiGpu>) => {
    const told = Object.entries(more).filter(([, value]) => value !== '');
    known.set(index, { ...known.get(index), ...Object.fromEntries(told) });
  };
  readLog(log).forEach((gpu, position) => {
    merge(rows.find(({ busId }) => busId === gpu.busId)?.index ?? position, gpu);
  });
  for (const row of rows) merge(row.index, row);
  const gpus = [...known].map(([index, facts]): SmiGpu => {
    const uuids = list.find((gpu) => gpu.index === index)?.migs ?? [];
    return { ...silent, ...facts, index, migs: nameMigs(facts.migs ?? [], uuids) };
  });
  return {
    // The second name is that of drivers before R610.
    cuda: versionOf(elementOf(log, 'cuda_umd_version')) || versionOf(elementOf(log, 'cuda_version')),
    gpus: gpus.sort((one, other) => one.index - other.index),
  };
}

const silent = { busId: '', uuid: '', name: '', computeCapability: '', brand: '', migEnabled: false, migs: [] };

/**
 * A PCI bus id as /proc/driver/nvidia has it (`0000:65:00.0`), from that or from NVML's form with eight digits and capitals
 * (`00000000:65:00.0`), or from lspci's without a domain (`65:00.0`). null for anything else.
 */
export function normalizeBusId(text: Bytes): string | null {
  const [, domain = '0', rest] = /^(?:([0-9a-f]{1,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])$/i.exec(text) ?? [];
  if (rest === undefined) return null;
  return `${Number.parseInt(domain, 16).toString(16).padStart(4, '0')}:${rest.toLowerCase()}`;
}

/** `0, 00000000:17:00.0, GPU-.., NVIDIA H100 PCIe, 9.0, Disabled` */
function readRows(text: Bytes): Omit<SmiGpu, 'migs' | 'brand'>[] {
  return text.split('\n').flatMap((line) => {
    const fields = line.split(',').map((field) => field.trim());
    const [index = '', bus = '', uuid = '', ...rest] = fields;
    const busId = normalizeBusId(bus);
    if (!/^\d{1,6}$/.test(index) || busId === null || rest.length < 3) return [];
    const [computeCapability = '', mig = ''] = rest.slice(-2);
    return [
      {
        index: Number(index),
        busId,
        uuid: uuidOf(uuid),
        name: tellingOf(rest.slice(0, -2).join(', ')),
        computeCapability: versionOf(computeCapability),
        migEnabled: mig === 'Enabled',
      },
    ];
  });
}

interface Listed {
  readonly index: number;
  readonly name: Bytes;
  readonly uuid: string;
  readonly migs: { readonly index: number; readonly uuid: string }[];
}

/** `GPU 0: NVIDIA H200 (UUID: GPU-..)`, each followed by lines such as `  MIG 1g.18gb  Device  0: (UUID: MIG-..)`. */
function readList(text: Bytes): Listed[] {
  const gpus: Listed[] = [];
  for (const line of text.split('\n')) {
    const [, index, name = '', uuid = ''] = /^GPU (\d{1,6}): (.*) \(UUID: ([^()]*)\)\s*$/.exec(line) ?? [];
    const [, device, migUuid = ''] = /^\s+MIG .*Device +(\d{1,6}): \(UUID: (MIG-[^()]*)\)\s*$/.exec(line) ?? [];
    if (index !== undefined) gpus.push({ index: Number(index), name: tellingOf(name), uuid: uuidOf(uuid), migs: [] });
    else if (device !== undefined) gpus.at(-1)?.migs.push({ index: Number(device), uuid: migUuid });
  }
  return gpus;
}

/** The <gpu> elements in their order, which is that of the indexes. */
function readLog(text: Bytes): Partial<SmiGpu>[] {
  return elementsOf(text, 'gpu id="').map((gpu) => {
    const [bus = ''] = gpu.split('"', 1);
    const [, mode = ''] = gpu.split('<mig_mode>', 2);
    const [before = '', devices = ''] = gpu.split('<mig_devices>', 2);
    const [migs = '', after = ''] = devices.split('</mig_devices>', 2);
    // Parts of a GPU have elements of the same names as the whole.
    const own = before + after;
    return {
      busId: normalizeBusId(bus) ?? '',
      uuid: uuidOf(elementOf(own, 'uuid')),
      name: tellingOf(elementOf(own, 'product_name')),
      brand: tellingOf(elementOf(own, 'product_brand')),
      migEnabled: elementOf(mode, 'current_mig') === 'Enabled',
      migs: elementsOf(migs, 'mig_device>').flatMap((mig): SmiMig[] => {
        const [index, gi, ci] = ['index', 'gpu_instance_id', 'compute_instance_id'].map((tag) => elementOf(mig, tag));
        if (![index, gi, ci].every((id) => /^\d{1,6}$/.test(id ?? ''))) return [];
        return [{ index: Number(index), uuid: '', gi: Number(gi), ci: Number(ci) }];
      }),
    };
  });
}

/** Gives MIG devices of the log their UUIDs of the list: by their indexes, or by their order where the log repeats an index. */
function nameMigs(migs: readonly SmiMig[], uuids: Listed['migs']): SmiMig[] {
  const isDistinct = new Set(migs.map(({ index }) => index)).size === migs.length;
  return migs.map((mig, position) => {
    const index = isDistinct ? mig.index : position;
    return { ...mig, index, uuid: uuids.find((one) => one.index === index)?.uuid ?? '' };
  });
}

/** The contents of all elements whose tag begins so; an element without an end is left out. */
function elementsOf(xml: Bytes, tag: string): Bytes[] {
  const end = `</${/^\w+/.exec(tag)?.[0]}>`;
  return xml
    .split(`<${tag}`)
    .slice(1)
    .flatMap((part) => (part.includes(end) ? [part.slice(0, part.indexOf(end))] : []));
}

/** The text of the first element of this name; '' without one. */
function elementOf(xml: Bytes, tag: string): Bytes {
  const [content = ''] = elementsOf(xml, `${tag}>`);
  return decodeEntities(content.trim());
}

function decodeEntities(text: Bytes): Bytes {
  const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
  return text.replace(/&(amp|lt|gt|quot|apos);/g, (_all, name: string) => entities[name] ?? '');
}

/** What stands for a fact that the driver does not tell, by itself or in brackets. */
const untold =
  /^\[?(n\/a|not supported|not found|unknown error|insufficient permissions|gpu is lost|gpu requires reset|requested functionality has been deprecated|err!)\]?$/i;

function tellingOf(text: Bytes): Bytes {
  return untold.test(text) ? '' : text;
}

function versionOf(text: Bytes): string {
  return /^\d+(\.\d+)+$/.test(text) ? text : '';
}

function uuidOf(text: Bytes): string {
  return /^GPU-[0-9a-f-]+$/i.test(text) ? text : '';
}
