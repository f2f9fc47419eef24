// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import { Failure } from '../failure.ts';
import type { Access, Observer } from '../observer.ts';
import { type Edits, type Missing, noEdits } from './edits.ts';

/** The host's RDMA devices; plain data. */
export interface InfinibandFacts {
  /** Mellanox' devices; the index here is the id in MELLANOX_VISIBLE_DEVICES. */
  readonly devices: readonly InfinibandDevice[];
  /** Those directories of /sys/class that are there. */
  readonly classes: readonly RdmaClass[];
  /** The nodes in /dev/infiniband, of all makers, and whether the caller may use them. */
  readonly nodes: Readonly<Record<Bytes, Access>>;
}

export interface InfinibandDevice {
  /** uverbs0, the node for programs. */
  readonly verbs: SysfsEntry;
  /** mlx5_0, the name for people. */
  readonly interface: SysfsEntry;
  /** umad0 and issm0 of each port, for management of the fabric. */
  readonly management: readonly SysfsEntry[];
}

export interface SysfsEntry {
  readonly name: Bytes;
  /** The directory in /sys/devices; '' when there is none, as for an interface without a name. */
  readonly path: Bytes;
}

export interface RdmaClass {
  /** In /sys/class. */
  readonly name: Bytes;
  readonly hasAbiVersion: boolean;
}

const classRoot = '/sys/class';
const nodeRoot = '/dev/infiniband';
const connectionManager = `${nodeRoot}/rdma_cm`;
const classNames = ['infiniband', 'infiniband_verbs', 'infiniband_cm', 'infiniband_mad'];

/**
 * Looks for RDMA devices; null, after one lookup, on a host without. Ids are enroot's (conf/hooks/99-mellanox.sh): the order of paths
 * /sys/bus/pci/drivers/mlx?_core/FUNCTION/infiniband_verbs/NAME, so mlx4 comes before mlx5 and then the bus address decides. To which
 * interface a node belongs its file `ibdev` tells (the kernel's drivers/infiniband/core, uverbs_main.c and user_mad.c).
 */
export function readInfiniband(observer: Observer): InfinibandFacts | null {
  if (observer.list(`${classRoot}/infiniband`).length === 0) return null;
  const classes = classNames.map((name) => ({ name, names: observer.list(`${classRoot}/${name}`) }));
  const nodes = observer.listKinds(nodeRoot).filter(({ kind }) => kind === 'node');
  return {
    devices: ['mlx4_core', 'mlx5_core'].flatMap((driver) => readDriver(observer, `/sys/bus/pci/drivers/${driver}`)),
    classes: classes
      .filter(({ name }) => observer.lookAt(`${classRoot}/${name}`) === 'dir')
      .map(({ name, names }) => ({ name, hasAbiVersion: names.includes('abi_version') })),
    nodes: Object.fromEntries(nodes.map(({ name }) => [`${nodeRoot}/${name}`, observer.access(`${nodeRoot}/${name}`)])),
  };
}

function readDriver(observer: Observer, driver: Bytes): InfinibandDevice[] {
  const functions = observer.list(driver).filter((name) => /^[0-9a-f]+:[0-9a-f]+:[0-9a-f]+\.[0-9a-f]+$/.test(name));
  return functions.flatMap((name) => readFunction(observer, `${driver}/${name}`));
}

/** The devices of one PCI function: most often one. */
function readFunction(observer: Observer, dir: Bytes): InfinibandDevice[] {
  const entryOf = (className: Bytes, name: Bytes): SysfsEntry => ({
    name,
    path: (name !== '' && observer.realPath(`${classRoot}/${className}/${name}`)) || '',
  });
  const ownerOf = (className: Bytes, name: Bytes) => observer.readFile(`${dir}/${className}/${name}/ibdev`)?.trim();
  const verbs = observer.list(`${dir}/infiniband_verbs`);
  if (verbs.length === 0) return [];
  const interfaces = observer.list(`${dir}/infiniband`);
  const management = observer
    .list(`${dir}/infiniband_mad`)
    .map((name) => ({ name, owner: ownerOf('infiniband_mad', name) ?? interfaces[0] }));
  return verbs.map((name, index) => {
    const owner = ownerOf('infiniband_verbs', name) ?? interfaces[index] ?? '';
    return {
      verbs: entryOf('infiniband_verbs', name),
      interface: entryOf('infiniband', owner),
      management: management
        .filter((entry) => entry.owner === owner)
        .map((entry) => entryOf('infiniband_mad', entry.name)),
    };
  });
}

/**
 * Shows only the RDMA devices that MELLANOX_VISIBLE_DEVICES names, as enroot 4.1 does: their nodes and the connection manager's, their
 * entries in /sys/class, and of other devices neither. '', `void` and `none` change nothing; `all` stands for every device of Mellanox,
 * which may be none; otherwise ids, with commas between. The libraries of RDMA are the image's. Other than enroot, nodes for management
 * come along whenever the caller may use them. facts: null for a host without RDMA.
 *
 * @throws Failure for an id that is not there, and for a node that is missing although its device was asked for by id.
 */
export function planInfiniband(value: Bytes, facts: InfinibandFacts | null): Edits {
  if (value === '' || value === 'void' || value === 'none') return noEdits;
  const isAll = value === 'all';
  const wanted = isAll ? (facts?.devices ?? []) : chooseDevices(value, facts?.devices ?? []);
  if (facts === null) {
    return { ...noEdits, missing: isAll ? [{ what: `${classRoot}/infiniband`, follows: 'there is no RDMA' }] : [] };
  }
  const isThere = (path: Bytes) => facts.nodes[path] !== undefined;
  const absent = [...wanted.map(nodeOf), connectionManager].filter((path) => !isThere(path));
  if (!isAll && wanted.length > 0 && absent.length > 0) throw explainAbsent(absent);
  const chosen = wanted.filter((device) => isThere(nodeOf(device)));
  const management = chosen
    .flatMap((device) => device.management)
    .filter(({ name }) => facts.nodes[`${nodeRoot}/${name}`] === 'ok');
  const devices = [
    ...[connectionManager].filter(isThere),
    ...chosen.map(nodeOf),
    ...management.map(({ name }) => `${nodeRoot}/${name}`),
  ];
  const denied = devices.filter((path) => facts.nodes[path] !== 'ok');
  return {
    ...noEdits,
    devices,
    hidden: Object.keys(facts.nodes).filter((path) => !devices.includes(path)),
    masks: facts.classes.map(({ name }) => `${classRoot}/${name}`),
    binds: facts.classes
      .filter(({ hasAbiVersion }) => hasAbiVersion)
      .map(({ name }) => `${classRoot}/${name}/abi_version`)
      .map((path) => ({ source: path, target: path, kind: 'proc' })),
    links: [
      ...linksIn(
        'infiniband',
        chosen.map((device) => device.interface),
      ),
      ...linksIn(
        'infiniband_verbs',
        chosen.map((device) => device.verbs),
      ),
      ...linksIn('infiniband_mad', management),
    ],
    missing: absent.map((what): Missing => ({ what, follows: followsOf(what) })),
    warnings: denied.map((path) => `no permission to open ${path}: RDMA programs fail`),
  };
}

/** The nodes that NVIDIA_MOFED=enabled adds: those for programs, of all devices (nvidia-container-toolkit, internal/discover/mofed.go). */
export function infinibandDevices(facts: InfinibandFacts | null): Bytes[] {
  return Object.keys(facts?.nodes ?? {}).filter(
    (path) => path === connectionManager || /^uverbs\d+$/.test(path.slice(nodeRoot.length + 1)),
  );
}

function chooseDevices(value: Bytes, devices: readonly InfinibandDevice[]): InfinibandDevice[] {
  const ids = value.split(/[,\s]+/).filter((id) => id !== '');
  const chosen = ids.map((id) => {
    const device = /^\d+$/.test(id) ? devices[Number(id)] : undefined;
    if (device !== undefined) return device;
    const known = devices.map((each, index) => `${index} (${each.interface.name})`);
    throw new Failure(
      `Unknown MELLANOX device id: ${id}`,
      known.length > 0
        ? `set MELLANOX_VISIBLE_DEVICES to all, none or ids out of ${known.join(', ')}`
        : 'this host has no Mellanox device: leave MELLANOX_VISIBLE_DEVICES unset',
    );
  });
  return [...new Set(chosen)];
}

function nodeOf(device: InfinibandDevice): Bytes {
  return `${nodeRoot}/${device.verbs.name}`;
}

function linksIn(className: Bytes, entries: readonly SysfsEntry[]) {
  return entries
    .filter(({ path }) => path !== '')
    .map(({ name, path }) => ({ path: `${classRoot}/${className}/${name}`, target: path }));
}

function followsOf(node: Bytes): string {
  return node === connectionManager ? 'programs that connect by librdmacm fail' : 'the device cannot be used';
}

function explainAbsent(absent: readonly Bytes[]): Failure {
  const modules = new Set(absent.map((path) => (path === connectionManager ? 'rdma_ucm' : 'ib_uverbs')));
  return new Failure(
    `${absent.join(', ')} of MELLANOX_VISIBLE_DEVICES ${absent.length > 1 ? 'do' : 'does'} not exist on this host`,
    `sudo modprobe -a ${[...modules].join(' ')}; where bundler itself runs in a container, give that one the devices`,
  );
}
