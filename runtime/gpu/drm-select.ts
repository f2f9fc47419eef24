// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import { Failure } from '../failure.ts';
import type { Access, Observer } from '../observer.ts';
import { printable } from '../options.ts';
import { busIdPattern, byPathLinks, renderMinorOf } from './drm.ts';
import { type Edits, noEdits } from './edits.ts';

/** A GPU that is used through its DRM nodes alone, as AMD's and Intel's are: nothing of the host's but nodes comes into the container. */
export interface DrmGpu {
  /** `0000:c3:00.0`; '' for a partition, which is no PCI device. */
  readonly busId: Bytes;
  /** In hexadecimal, lower case, without 0x and leading zeros; '' where there is none. */
  readonly uniqueId: Bytes;
  /** Cards first. */
  readonly nodes: readonly DrmNode[];
}

export interface DrmNode {
  readonly path: Bytes;
  readonly access: Access;
}

/** Elements are indexes (`0`), ranges of them (`0-3`), PCI bus ids, or unique ids in hexadecimal, with or without 0x. */
export type DrmRequest = 'all' | 'none' | readonly Bytes[];

/** Asks for each node whether the caller may open it. */
export function readNodes(observer: Observer, paths: readonly Bytes[]): DrmNode[] {
  return paths.map((path) => ({ path, access: observer.access(path) }));
}

/**
 * The GPUs that a request names, in their own order. `all` leaves out those that the device control group refuses, as a batch system has
 * given them to somebody else. vendor: for messages. Throws Failure for an element that is no GPU, with those that there are, and for a
 * refused one.
 */
export function chooseGpus(vendor: string, request: DrmRequest, gpus: readonly DrmGpu[]): DrmGpu[] {
  if (request === 'none') return [];
  if (request === 'all') return gpus.filter((gpu) => accessOf(gpu) !== 'refused');
  const chosen = new Set(request.flatMap((element) => findGpus(vendor, element, gpus)));
  for (const gpu of chosen) {
    if (accessOf(gpu) !== 'refused') continue;
    throw new Failure(
      `${vendor} GPU ${gpus.indexOf(gpu)} cannot be opened: the device control group refuses ${deciding(gpu)?.path}`,
      'choose one that the batch system gave to this job, or all',
    );
  }
  return gpus.filter((gpu) => chosen.has(gpu));
}

/** Shows the nodes of the chosen GPUs with their names by path, and hides those of the others. */
export function planNodes(
  vendor: string,
  request: DrmRequest,
  chosen: readonly DrmGpu[],
  gpus: readonly DrmGpu[],
): Edits {
  const there = ({ nodes }: DrmGpu) => nodes.filter(({ access }) => access !== 'missing').map(({ path }) => path);
  const denied = chosen.filter((gpu) => accessOf(gpu) === 'denied').flatMap((gpu) => deciding(gpu)?.path ?? []);
  return {
    ...noEdits,
    devices: chosen.flatMap(there),
    hidden: gpus.filter((gpu) => !chosen.includes(gpu)).flatMap(there),
    links: chosen.flatMap((gpu) => (gpu.busId === '' ? [] : byPathLinks(gpu.busId, there(gpu)))),
    missing: chosen.flatMap(({ nodes }) =>
      nodes
        .filter(({ access }) => access === 'missing')
        .map(({ path }) => ({ what: path, follows: `programs cannot use this ${vendor} GPU through it` })),
    ),
    warnings: [
      ...(denied.length === 0 ? [] : [describeDenied(vendor, denied)]),
      ...(request === 'all' && chosen.length === 0
        ? [`${vendor} GPU: the device control group refuses all of them`]
        : []),
    ],
  };
}

/** A warning for nodes that the caller's permissions do not allow to open. */
export function describeDenied(vendor: string, paths: readonly Bytes[]): Bytes {
  const cure = 'join the group that owns them, mostly render: sudo usermod -aG render USER';
  return `${vendor} GPU: no permission to open ${paths.join(', ')}; ${cure}`;
}

function findGpus(vendor: string, element: Bytes, gpus: readonly DrmGpu[]): DrmGpu[] {
  const found = matchElement(element.toLowerCase(), gpus);
  if (found.length > 0) return found;
  const names = gpus.map(({ busId, uniqueId }, index) => {
    const others = [busId, uniqueId === '' ? '' : `0x${uniqueId}`].filter((name) => name !== '');
    return others.length === 0 ? `${index}` : `${index} (${others.join(', ')})`;
  });
  throw new Failure(
    `there is no ${vendor} GPU ${printable(element)}`,
    names.length === 0 ? 'load its driver, or choose none' : `choose among ${names.join(', ')}, or all`,
  );
}

function matchElement(element: Bytes, gpus: readonly DrmGpu[]): DrmGpu[] {
  const [, first, last = first] = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(element) ?? [];
  if (first !== undefined) {
    const [from, to] = [Number(first), Number(last)];
    return to < gpus.length ? gpus.slice(from, to + 1) : [];
  }
  if (busIdPattern.test(element)) return gpus.filter(({ busId }) => busId === element);
  const id = element.replace(/^0x/, '').replace(/^0+/, '');
  return gpus.filter(({ uniqueId }) => uniqueId !== '' && uniqueId === id);
}

/** Who may open the render node may compute; nodes of cards belong to who sits in front of the screen. */
function deciding({ nodes }: DrmGpu): DrmNode | undefined {
  return nodes.find(({ path }) => renderMinorOf(path) !== null) ?? nodes[0];
}

function accessOf(gpu: DrmGpu): Access {
  return deciding(gpu)?.access ?? 'missing';
}
