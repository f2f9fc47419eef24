// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { Access, Observer } from '../observer.ts';
import { busIdPattern, findDrm, listDrm, renderMinorOf } from './drm.ts';
import { chooseGpus, type DrmGpu, type DrmRequest, describeDenied, planNodes, readNodes } from './drm-select.ts';
import { type Edits, noEdits } from './edits.ts';

const vendor = 'AMD';
/** The node of the kernel's driver for computing, one for all GPUs. */
const kfdNode = '/dev/kfd';

/** AMD's GPUs, in the order by which AMD's container toolkit counts them. */
export interface AmdFacts {
  readonly kfd: Access;
  readonly gpus: readonly DrmGpu[];
}

/**
 * Looks for GPUs of the driver amdgpu, and for partitions of them, which are platform devices amdgpu_xcp_N; null without one, after one
 * lookup. Sources: the kernel's kfd_topology.c, which prints the properties of a node line by line, and amdgpu_xcp_drv.c; the order and
 * the unique ids as AMD's container toolkit has them (amdgpu.go): GPUs that can compute, by bus, partitions beside their GPU; then the rest.
 */
export function readAmd(observer: Observer): AmdFacts | null {
  const busIds = observer.list('/sys/module/amdgpu/drivers/pci:amdgpu').filter((name) => busIdPattern.test(name));
  if (busIds.length === 0) return null;
  const partitions = observer.list('/sys/devices/platform').filter((name) => /^amdgpu_xcp_\d+$/.test(name));
  const topology = readTopology(observer);
  const found = [
    ...busIds.map((busId) => ({ busId, paths: findDrm(observer, busId) })),
    ...partitions.map((name) => ({ busId: '', paths: listDrm(observer, `/sys/devices/platform/${name}`) })),
  ].filter(({ paths }) => paths.length > 0);

  const counted = found.map(({ busId, paths }) => {
    const minor = paths.map(renderMinorOf).find((number) => number !== null) ?? -1;
    const node = topology.get(minor);
    const gpu: DrmGpu = { busId, uniqueId: node?.uniqueId ?? '', nodes: readNodes(observer, paths) };
    return { gpu, minor, rank: node === undefined ? busIds.length : rankOf(node.parent, busId, busIds) };
  });
  // A sort is stable: GPUs that cannot compute keep the order of the bus.
  counted.sort((one, other) => one.rank - other.rank || (one.rank < busIds.length ? one.minor - other.minor : 0));
  return { kfd: observer.access(kfdNode), gpus: counted.map(({ gpu }) => gpu) };
}

/**
 * /dev/kfd, and the card and render nodes of the chosen GPUs; the others' are hidden. Elements are as DrmRequest says. Libraries (ROCm)
 * come with the image. facts: null where there is no such GPU, in which case only an element is an error. Throws Failure as chooseGpus does.
 */
export function planAmd(request: DrmRequest, facts: AmdFacts | null): Edits {
  const gpus = facts?.gpus ?? [];
  const chosen = chooseGpus(vendor, request, gpus);
  if (facts === null || gpus.length === 0) return noEdits;
  const edits = planNodes(vendor, request, chosen, gpus);
  if (chosen.length === 0)
    return { ...edits, hidden: [...edits.hidden, ...(facts.kfd === 'missing' ? [] : [kfdNode])] };
  if (facts.kfd === 'missing') {
    const missing = {
      what: kfdNode,
      follows: 'ROCm finds no GPU; the kernel has no driver for computing (CONFIG_HSA_AMD)',
    };
    return { ...edits, missing: [...edits.missing, missing] };
  }
  const warnings = facts.kfd === 'ok' ? [] : [describeDenied(vendor, [kfdNode])];
  return { ...edits, devices: [kfdNode, ...edits.devices], warnings: [...edits.warnings, ...warnings] };
}

/** A partition's place is that of the GPU which it is part of. */
function rankOf(parent: Bytes, busId: Bytes, busIds: readonly Bytes[]): number {
  const rank = busIds.findIndex((id) => id.startsWith(parent));
  return rank >= 0 ? rank : busIds.indexOf(busId);
}

interface TopologyNode {
  /** Of the GPU's PCI device, without its function: `0000:c3:00.`. */
  readonly parent: Bytes;
  readonly uniqueId: Bytes;
}

/** The nodes of the KFD by the minor number of their render node. Of GPUs that the control group refuses, nothing can be read. */
function readTopology(observer: Observer): ReadonlyMap<number, TopologyNode> {
  const dir = '/sys/class/kfd/kfd/topology/nodes';
  const nodes = new Map<number, TopologyNode>();
  for (const name of observer.list(dir)) {
    const properties = readProperties(observer.readFile(`${dir}/${name}/properties`) ?? '');
    const minor = Number(properties.get('drm_render_minor') ?? 0n);
    const location = Number(properties.get('location_id') ?? 0n);
    const bus = (location >> 8) & 0xff;
    const hex = (number: number, digits: number) => number.toString(16).padStart(digits, '0');
    const domain = hex(Number(properties.get('domain') ?? 0n), 4);
    const uniqueId = properties.get('unique_id') ?? 0n;
    nodes.set(minor, {
      parent: `${domain}:${hex(bus, 2)}:${hex((location >> 3) & 0x1f, 2)}.`,
      uniqueId: uniqueId === 0n ? '' : uniqueId.toString(16),
    });
  }
  return nodes;
}

/** Lines `NAME NUMBER`; numbers of 64 bits. */
function readProperties(text: Bytes): ReadonlyMap<string, bigint> {
  return new Map(
    text.split('\n').flatMap((line): [string, bigint][] => {
      const [, name, value] = /^(\w+) (\d{1,20})$/.exec(line) ?? [];
      return name === undefined || value === undefined ? [] : [[name, BigInt(value)]];
    }),
  );
}
