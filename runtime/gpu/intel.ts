// SPDX-License-Identifier: Apache-2.0
import type { Observer } from '../observer.ts';
import { busIdPattern, findDrm } from './drm.ts';
import { chooseGpus, type DrmGpu, type DrmRequest, planNodes, readNodes } from './drm-select.ts';
import { type Edits, noEdits } from './edits.ts';

const vendor = 'Intel';

/** Intel's GPUs in the order of their bus. */
export interface IntelFacts {
  readonly gpus: readonly DrmGpu[];
}

/**
 * Looks for display devices of Intel's (PCI vendor 0x8086, class 0x03: the PCI code and id assignment specification) with one of the
 * kernel's two drivers for them; null without one, after two lookups.
 */
export function readIntel(observer: Observer): IntelFacts | null {
  const busIds = ['i915', 'xe'].flatMap((driver) => observer.list(`/sys/bus/pci/drivers/${driver}`));
  const gpus = busIds
    .filter((name) => busIdPattern.test(name) && isDisplay(observer, name))
    .sort()
    .map((busId): DrmGpu => ({ busId, uniqueId: '', nodes: readNodes(observer, findDrm(observer, busId)) }))
    .filter(({ nodes }) => nodes.length > 0);
  return gpus.length === 0 ? null : { gpus };
}

/**
 * Card and render nodes of the chosen GPUs, the others' hidden. Elements are indexes or PCI bus ids. Libraries come with the image. facts:
 * null where there is no such GPU, in which case only an element is an error. Throws Failure as chooseGpus does.
 */
export function planIntel(request: DrmRequest, facts: IntelFacts | null): Edits {
  const gpus = facts?.gpus ?? [];
  const chosen = chooseGpus(vendor, request, gpus);
  return gpus.length === 0 ? noEdits : planNodes(vendor, request, chosen, gpus);
}

function isDisplay(observer: Observer, busId: string): boolean {
  const device = `/sys/bus/pci/devices/${busId}`;
  return (
    observer.readFile(`${device}/vendor`)?.trim() === '0x8086' &&
    observer.readFile(`${device}/class`)?.startsWith('0x03') === true
  );
}
