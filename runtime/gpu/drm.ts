// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { Observer } from '../observer.ts';
import type { Link } from './edits.ts';

/** Where the nodes of the direct rendering manager lie: cardN for displays and old clients, renderDN for computing and rendering. */
const nodesDir = '/dev/dri';

/** A PCI device's name in sysfs: `0000:65:00.0`; domains may have more digits. */
export const busIdPattern = /^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/;

/**
 * The card and render nodes of a PCI device, as paths below /dev/dri, cards first; none when no driver of that kind has the device.
 * busId as in sysfs, in letters of either case. Source: Documentation/gpu/drm-uapi.rst and drm_sysfs.c of the kernel.
 */
export function findDrm(observer: Observer, busId: Bytes): Bytes[] {
  return listDrm(observer, `/sys/bus/pci/devices/${busId.toLowerCase()}`);
}

/** The same of any device of sysfs, by its directory there. */
export function listDrm(observer: Observer, device: Bytes): Bytes[] {
  return sortNodes(observer.list(`${device}/drm`));
}

/** The minor number in the name of a render node; null for other nodes. */
export function renderMinorOf(node: Bytes): number | null {
  const [, minor] = /\/renderD(\d+)$/.exec(node) ?? [];
  return minor === undefined ? null : Number(minor);
}

/**
 * The names by which udev makes a PCI device's nodes known (systemd's 60-drm.rules): relative links, as there.
 * nodes: paths as findDrm gives them.
 */
export function byPathLinks(busId: Bytes, nodes: readonly Bytes[]): Link[] {
  return nodes.map((node) => ({
    path: `${nodesDir}/by-path/pci-${busId.toLowerCase()}-${renderMinorOf(node) === null ? 'card' : 'render'}`,
    target: `../${node.slice(nodesDir.length + 1)}`,
  }));
}

/** `card0` and `renderD128` among the names, by kind and number; connectors (`card0-DP-1`) and `controlD64` are no nodes of interest. */
function sortNodes(names: readonly Bytes[]): Bytes[] {
  return names
    .flatMap((name) => {
      const [, kind, number] = /^(card|renderD)(\d+)$/.exec(name) ?? [];
      return number === undefined ? [] : [{ name, isRender: kind === 'renderD', number: Number(number) }];
    })
    .sort((one, other) => Number(one.isRender) - Number(other.isRender) || one.number - other.number)
    .map(({ name }) => `${nodesDir}/${name}`);
}
