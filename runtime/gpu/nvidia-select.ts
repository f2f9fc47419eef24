// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import { Failure } from '../failure.ts';
import { printable } from '../options.ts';
import type { MigCapability, NvidiaGpu } from './nvidia-facts.ts';
import { normalizeBusId, type SmiFacts, type SmiGpu } from './nvidia-smi.ts';

/** The chosen ones, each once. */
export interface Selection {
  /** Positions in the list of GPUs, ascending. */
  readonly gpus: readonly number[];
  /** Compute instances of GPUs with MIG; the GPUs that they are part of are chosen, too. */
  readonly migs: readonly MigId[];
  /** An element can be resolved only by nvidia-smi, whose answers were not given; it is left out here. */
  readonly needsSmi: boolean;
}

export interface MigId {
  /** Position in the list of GPUs. */
  readonly gpu: number;
  readonly gi: number;
  readonly ci: number;
}

/** A GPU's uuid is '' while the driver hides it. */
export type SelectableGpu = Pick<NvidiaGpu, 'busId' | 'minor' | 'uuid' | 'model'>;

/**
 * Resolves the elements of a request as libnvidia-container does (cli/common.c): indexes, UUIDs in any case, PCI bus ids, MIG UUIDs and
 * `GPU:MIG` indexes; also beginnings of UUIDs that only one has, as CUDA does. gpus: those that the caller may use, in the order of their
 * bus ids, which is that of NVML's indexes unless nvidia-smi says otherwise. `all` is all GPUs with all their MIG devices. A GPU that is
 * named itself brings none of its MIG devices. Throws Failure for an element that is on no account there, or stands for several.
 */
export function selectGpus(
  elements: 'all' | 'none' | readonly Bytes[],
  gpus: readonly SelectableGpu[],
  migCaps: readonly MigCapability[],
  smi: SmiFacts | null,
): Selection {
  if (elements === 'none') return { gpus: [], migs: [], needsSmi: false };
  const host = describeHost(gpus, migCaps, smi);
  const found: (Found | 'ask')[] = elements === 'all' ? host.rows.flatMap(everythingOf) : elements.map(resolveIn(host));
  const resolved = found.filter((one) => one !== 'ask');
  const migs = resolved.flatMap(({ gpu, mig }) => (mig === null ? [] : [{ gpu, ...mig }]));
  const byId = new Map(migs.map((mig) => [`${mig.gpu}/${mig.gi}/${mig.ci}`, mig]));
  return {
    gpus: [...new Set(resolved.map(({ gpu }) => gpu))].sort((one, other) => one - other),
    migs: [...byId.values()].sort((one, other) => one.gpu - other.gpu || one.gi - other.gi || one.ci - other.ci),
    needsSmi: found.includes('ask'),
  };
}

interface Instance {
  readonly gi: number;
  readonly ci: number;
}

interface Found {
  readonly gpu: number;
  readonly mig: Instance | null;
}

/** A GPU with all that is known of it. */
interface Row {
  readonly gpu: number;
  readonly index: number | null;
  readonly busId: string | null;
  /** '' while it is hidden. */
  readonly uuid: string;
  readonly model: Bytes;
  /** Compute instances that /proc shows. */
  readonly instances: readonly Instance[];
  /** MIG devices that nvidia-smi shows. */
  readonly migs: SmiGpu['migs'];
}

interface Host {
  readonly rows: readonly Row[];
  readonly isSmiKnown: boolean;
}

function describeHost(gpus: readonly SelectableGpu[], migCaps: readonly MigCapability[], smi: SmiFacts | null): Host {
  const rows = gpus.map(({ busId, minor, uuid, model }, gpu): Row => {
    const bus = normalizeBusId(busId);
    const shown = uuid.includes('?') ? '' : uuid;
    const told =
      smi?.gpus.find((one) => one.busId !== '' && one.busId === bus) ??
      smi?.gpus.find((one) => one.busId === '' && shown !== '' && sameText(one.uuid, shown));
    return {
      gpu,
      index: smi === null || smi.gpus.length === 0 ? gpu : (told?.index ?? null),
      busId: bus,
      uuid: shown || (told?.uuid ?? ''),
      model,
      instances: migCaps.flatMap((cap) => (cap.gpu === minor && cap.ci !== null ? [{ gi: cap.gi, ci: cap.ci }] : [])),
      migs: told?.migs ?? [],
    };
  });
  return { rows, isSmiKnown: smi !== null };
}

function everythingOf({ gpu, instances }: Row): Found[] {
  return [{ gpu, mig: null }, ...instances.map((mig) => ({ gpu, mig }))];
}

function resolveIn(host: Host): (element: Bytes) => Found | 'ask' {
  const { rows } = host;
  const whole = (row: Row | undefined): Found | null => (row === undefined ? null : { gpu: row.gpu, mig: null });
  return (element) => {
    const [, gpuIndex, migIndex] = /^(\d+):(\d+)$/.exec(element) ?? [];
    const [, parent, gi, ci] = /^MIG-(GPU-[0-9a-f-]+)\/(\d+)\/(\d+)$/i.exec(element) ?? [];
    const bus = normalizeBusId(element);
    let found: Found | 'ask' | null = null;
    if (/^\d+$/.test(element)) found = whole(rows.find(({ index }) => index === Number(element)));
    else if (bus !== null) found = whole(rows.find(({ busId }) => busId === bus));
    else if (gpuIndex !== undefined) found = findByIndexes(host, Number(gpuIndex), Number(migIndex));
    else if (parent !== undefined) found = findByInstance(host, parent, { gi: Number(gi), ci: Number(ci) });
    else if (/^GPU-./i.test(element)) found = findByUuid(host, element);
    else if (/^MIG-./i.test(element)) found = findByMigUuid(host, element);
    if (found !== null) return found;
    throw new Failure(`there is no GPU ${printable(element)} on this host`, listAll(host));
  };
}

function findByUuid({ rows, isSmiKnown }: Host, element: Bytes): Found | 'ask' | null {
  const exact = rows.find(({ uuid }) => sameText(uuid, element));
  if (exact !== undefined) return { gpu: exact.gpu, mig: null };
  // Of a hidden one this may be the beginning, even when it is that of another, too.
  if (!isSmiKnown && rows.some(({ uuid }) => uuid === '')) return 'ask';
  return findUnique(
    element,
    rows.map(({ gpu, uuid }) => ({ uuid, found: { gpu, mig: null } })),
  );
}

function findByMigUuid({ rows, isSmiKnown }: Host, element: Bytes): Found | 'ask' | null {
  if (!isSmiKnown) return rows.some(({ instances }) => instances.length > 0) ? 'ask' : null;
  return findUnique(
    element,
    rows.flatMap(({ gpu, migs }) => migs.map(({ uuid, gi, ci }) => ({ uuid, found: { gpu, mig: { gi, ci } } }))),
  );
}

/** `MIG-GPU-UUID/GI/CI`, as drivers before R470 have it, tells its instances itself. */
function findByInstance(host: Host, parent: Bytes, mig: Instance): Found | 'ask' | null {
  const found = findByUuid(host, parent);
  if (found === null || found === 'ask') return found;
  const instances = host.rows[found.gpu]?.instances ?? [];
  return instances.some(({ gi, ci }) => gi === mig.gi && ci === mig.ci) ? { gpu: found.gpu, mig } : null;
}

function findByIndexes({ rows, isSmiKnown }: Host, gpuIndex: number, migIndex: number): Found | 'ask' | null {
  const row = rows.find(({ index }) => index === gpuIndex);
  if (row === undefined) return null;
  if (!isSmiKnown) return row.instances.length > 0 ? 'ask' : null;
  const mig = row.migs.find(({ index }) => index === migIndex);
  return mig === undefined ? null : { gpu: row.gpu, mig: { gi: mig.gi, ci: mig.ci } };
}

function findUnique(element: Bytes, all: readonly { readonly uuid: string; readonly found: Found }[]): Found | null {
  const matches = all.filter(({ uuid }) => uuid.toLowerCase().startsWith(element.toLowerCase()));
  if (matches.length > 1) {
    throw new Failure(
      `the UUIDs of several GPUs begin with ${printable(element)}`,
      `give more of it: ${matches.map(({ uuid }) => uuid).join(', ')}`,
    );
  }
  return matches[0]?.found ?? null;
}

function sameText(one: Bytes, other: Bytes): boolean {
  return one.toLowerCase() === other.toLowerCase();
}

function listAll({ rows }: Host): string {
  if (rows.length === 0) return 'there is no NVIDIA GPU that could be used; "nvidia-smi -L" lists them';
  const lines = rows.map(({ index, model, uuid, busId, migs, instances }) => {
    const names = migs.map((mig) => `${index}:${mig.index}${mig.uuid === '' ? '' : ` ${mig.uuid}`}`);
    const parts =
      names.length > 0 ? `, MIG devices ${names.join(', ')}` : instances.length > 0 ? ', with MIG devices' : '';
    return `${index ?? busId} (${[model, uuid].filter((text) => text !== '').join(', ')}${parts})`;
  });
  return `there ${rows.length === 1 ? 'is' : 'are'} ${lines.join(', ')}`;
}
