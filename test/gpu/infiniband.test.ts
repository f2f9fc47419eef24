// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import { noEdits } from '../../runtime/gpu/edits.ts';
import {
  type InfinibandFacts,
  infinibandDevices,
  planInfiniband,
  readInfiniband,
} from '../../runtime/gpu/infiniband.ts';
import { type HostFiles, makeHost } from './host-tree.ts';

interface Card {
  readonly driver: string;
  readonly bus: string;
  readonly verbs: string;
  readonly name: string;
  readonly management: readonly string[];
}

/** sysfs of one PCI function with RDMA: its directory in /sys/devices, and the links of its driver and of the classes to it. */
function card({ driver, bus, verbs, name, management }: Card): HostFiles {
  const dir = `devices/pci0000:00/${bus}`;
  const entries = [
    ['infiniband', name],
    ['infiniband_verbs', verbs],
    ...management.map((entry) => ['infiniband_mad', entry]),
  ];
  return {
    [`/sys/bus/pci/drivers/${driver}/${bus}`]: { link: `../../../../${dir}` },
    ...Object.fromEntries(
      entries.flatMap(([kind, entry]) => [
        [`/sys/${dir}/${kind}/${entry}/${kind === 'infiniband' ? 'node_type' : 'ibdev'}`, `${name}\n`],
        [`/sys/class/${kind}/${entry}`, { link: `../../${dir}/${kind}/${entry}` }],
      ]),
    ),
  };
}

const node = (name: string) => `/dev/infiniband/${name}`;
const nodes = (...names: string[]): HostFiles => Object.fromEntries(names.map((name) => [node(name), { node: true }]));
/** Two cards with mlx5, of which the second on the bus has the first node; one older card with two ports; one of another maker. */
const host: HostFiles = {
  ...card({
    driver: 'mlx5_core',
    bus: '0000:3b:00.0',
    verbs: 'uverbs1',
    name: 'mlx5_0',
    management: ['issm1', 'umad1'],
  }),
  ...card({
    driver: 'mlx5_core',
    bus: '0000:86:00.0',
    verbs: 'uverbs0',
    name: 'ibp134s0',
    management: ['issm0', 'umad0'],
  }),
  ...card({
    driver: 'mlx4_core',
    bus: '0000:af:00.0',
    verbs: 'uverbs2',
    name: 'mlx4_0',
    management: ['issm2', 'issm3', 'umad2', 'umad3'],
  }),
  ...card({ driver: 'irdma', bus: '0000:d8:00.0', verbs: 'uverbs3', name: 'irdma0', management: [] }),
  '/sys/bus/pci/drivers/mlx5_core/module': { link: '../../../../module/mlx5_core' },
  '/sys/bus/pci/drivers/mlx5_core/bind': '',
  '/sys/class/infiniband_verbs/abi_version': '6\n',
  '/sys/class/infiniband_mad/abi_version': '5\n',
  ...nodes('rdma_cm', 'uverbs0', 'uverbs1', 'uverbs2', 'uverbs3', 'umad0', 'umad1', 'umad2', 'umad3', 'issm1'),
  '/dev/infiniband/alias': { link: 'uverbs0' },
  '/dev/infiniband/by-ibdev/uverbs-mlx5_0': { link: '../uverbs1' },
};
const read = (files: HostFiles = host): InfinibandFacts => {
  const facts = readInfiniband(makeHost(files));
  if (facts === null) throw new Error('this host has RDMA');
  return facts;
};
const without = (...paths: string[]) =>
  Object.fromEntries(Object.entries(host).filter(([path]) => !paths.includes(path)));
const sysfs = (bus: string, kind: string, name: string) => `/sys/devices/pci0000:00/${bus}/${kind}/${name}`;

describe('RDMA devices', () => {
  test.each<HostFiles>([{}, { '/sys/class/infiniband': { dir: true } }])(
    'are looked for with one lookup, which a host without ends (%j)',
    (files) => {
      const observer = makeHost({ ...files, ...nodes('rdma_cm') });
      expect(readInfiniband(observer)).toBeNull();
      expect([...observer.paths]).toEqual(['/sys/class/infiniband']);
    },
  );

  test('are counted by driver and bus address, whatever their nodes and names are', () => {
    const { devices } = read();
    expect(devices.map((device) => `${device.verbs.name} ${device.interface.name}`)).toEqual([
      'uverbs2 mlx4_0',
      'uverbs1 mlx5_0',
      'uverbs0 ibp134s0',
    ]);
    expect(devices[0]?.management.map(({ name }) => name)).toEqual(['issm2', 'issm3', 'umad2', 'umad3']);
    expect(devices[1]?.verbs.path).toBe(sysfs('0000:3b:00.0', 'infiniband_verbs', 'uverbs1'));
  });

  test('of one function are told apart by the interface that their nodes name', () => {
    const bus = '0000:3b:00.0';
    const one = { driver: 'mlx5_core', bus, verbs: 'uverbs0', name: 'mlx5_9', management: ['umad0'] };
    const files = { ...card(one), ...card({ ...one, verbs: 'uverbs1', name: 'mlx5_1', management: ['umad1'] }) };
    expect(read(files).devices).toMatchObject([
      { verbs: { name: 'uverbs0' }, interface: { name: 'mlx5_9' }, management: [{ name: 'umad0' }] },
      { verbs: { name: 'uverbs1' }, interface: { name: 'mlx5_1' }, management: [{ name: 'umad1' }] },
    ]);
  });

  test('of an old kernel, whose nodes name none, have the interface of their function', () => {
    const isOwner = (path: string) => path.endsWith('/ibdev');
    const files = Object.fromEntries(Object.entries(host).filter(([path]) => !isOwner(path)));
    const uevents = Object.keys(host)
      .filter(isOwner)
      .map((path) => [path.replace(/ibdev$/, 'uevent'), '']);
    expect(read({ ...files, ...Object.fromEntries(uevents) })).toEqual(read());
  });

  test('without an interface get no link to one', () => {
    const names = ['/infiniband/mlx5_0/', '/infiniband_verbs/uverbs1/ibdev', '/class/infiniband/mlx5_0'];
    const files = Object.fromEntries(
      Object.entries(host).filter(([path]) => !names.some((part) => path.includes(part))),
    );
    const facts = read({ ...files, [`${sysfs('0000:3b:00.0', 'infiniband_verbs', 'uverbs1')}/dev`]: '231:193\n' });
    expect(facts.devices[1]).toMatchObject({ verbs: { name: 'uverbs1' }, interface: { name: '', path: '' } });
    expect(planInfiniband('1', facts).links.map(({ path }) => path)).toEqual(['/sys/class/infiniband_verbs/uverbs1']);
  });

  test('have those classes that the kernel has', () => {
    expect(read({ ...host, '/sys/class/infiniband_cm': { dir: true } }).classes).toEqual([
      { name: 'infiniband', hasAbiVersion: false },
      { name: 'infiniband_verbs', hasAbiVersion: true },
      { name: 'infiniband_cm', hasAbiVersion: false },
      { name: 'infiniband_mad', hasAbiVersion: true },
    ]);
    expect(read().classes.map(({ name }) => name)).not.toContain('infiniband_cm');
  });

  test('have all nodes for programs listed for NVIDIA_MOFED, of all makers', () => {
    expect(infinibandDevices(read())).toEqual(['rdma_cm', 'uverbs0', 'uverbs1', 'uverbs2', 'uverbs3'].map(node));
    expect(infinibandDevices(null)).toEqual([]);
  });
});

describe('a container with MELLANOX_VISIBLE_DEVICES', () => {
  test.each(['', 'void', 'none'])('%j is left alone', (value) => {
    expect(planInfiniband(value, read())).toEqual(noEdits);
    expect(planInfiniband(value, null)).toEqual(noEdits);
  });

  test('has the chosen device in /dev and /sys, and no other', () => {
    expect(planInfiniband('1', read())).toEqual({
      ...noEdits,
      devices: ['rdma_cm', 'uverbs1', 'issm1', 'umad1'].map(node),
      hidden: ['umad0', 'umad2', 'umad3', 'uverbs0', 'uverbs2', 'uverbs3'].map(node),
      masks: ['infiniband', 'infiniband_verbs', 'infiniband_mad'].map((name) => `/sys/class/${name}`),
      binds: ['infiniband_verbs', 'infiniband_mad']
        .map((name) => `/sys/class/${name}/abi_version`)
        .map((path) => ({ source: path, target: path, kind: 'proc' })),
      links: [
        ['infiniband', 'mlx5_0'],
        ['infiniband_verbs', 'uverbs1'],
        ['infiniband_mad', 'issm1'],
        ['infiniband_mad', 'umad1'],
      ].map(([kind = '', name = '']) => ({
        path: `/sys/class/${kind}/${name}`,
        target: sysfs('0000:3b:00.0', kind, name),
      })),
    });
  });

  test.each([
    ['0,2', ['uverbs2', 'uverbs0']],
    ['2, 0 2', ['uverbs0', 'uverbs2']],
    ['all', ['uverbs2', 'uverbs1', 'uverbs0']],
    [',', []],
  ])('%j chooses by index', (value, names) => {
    const { devices, hidden } = planInfiniband(value, read());
    expect(devices.filter((path) => path.includes('uverbs'))).toEqual(names.map(node));
    expect(hidden).toContain(node('uverbs3'));
  });

  test.each(['3', '0,-1', 'mlx5_0', 'all,0', '1e0', '99999999999999999999'])('%j is refused', (value) => {
    const unknown = value.split(',').find((id) => id !== '0');
    try {
      planInfiniband(value, read());
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(Failure);
      const { message, hint } = error as Failure;
      expect(message).toBe(`Unknown MELLANOX device id: ${unknown}`);
      expect(hint).toContain('0 (mlx4_0), 1 (mlx5_0), 2 (ibp134s0)');
    }
  });

  test('is refused an id on a host without RDMA, and gets all of none', () => {
    expect(() => planInfiniband('0', null)).toThrow('Unknown MELLANOX device id: 0');
    expect(planInfiniband('all', null)).toEqual({
      ...noEdits,
      missing: [{ what: '/sys/class/infiniband', follows: 'there is no RDMA' }],
    });
  });

  test.each([
    ['uverbs1', 'ib_uverbs'],
    ['rdma_cm', 'rdma_ucm'],
  ])('fails without the node %s by id and goes on with all', (name, module) => {
    const facts = read(without(node(name)));
    try {
      planInfiniband('1', facts);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(Failure);
      expect((error as Failure).message).toContain(`${node(name)} of MELLANOX_VISIBLE_DEVICES does not exist`);
      expect((error as Failure).hint).toContain(`modprobe -a ${module};`);
    }
    const edits = planInfiniband('all', facts);
    expect(edits.missing.map(({ what }) => what)).toEqual([node(name)]);
    expect(edits.devices).not.toContain(node(name));
    expect(edits.links.map(({ path }) => path).includes('/sys/class/infiniband/mlx5_0')).toBe(name === 'rdma_cm');
  });

  test.each(['denied', 'refused'] as const)(
    'has no management that is %s, and is warned of other such nodes',
    (access) => {
      const facts = read();
      const changed = { ...facts, nodes: { ...facts.nodes, [node('umad1')]: access, [node('uverbs1')]: access } };
      const edits = planInfiniband('1', changed);
      expect(edits.devices).toEqual(['rdma_cm', 'uverbs1', 'issm1'].map(node));
      expect(edits.hidden).toContain(node('umad1'));
      expect(edits.links.map(({ path }) => path)).not.toContain('/sys/class/infiniband_mad/umad1');
      expect(edits.warnings).toEqual([expect.stringContaining(`no permission to open ${node('uverbs1')}`)]);
    },
  );

  test('has every node of the host either given or hidden, whichever devices it chooses', () => {
    const facts = read();
    fc.assert(
      fc.property(fc.array(fc.nat(2), { minLength: 1 }), (ids) => {
        const { devices, hidden, links } = planInfiniband(ids.join(','), facts);
        expect([...devices, ...hidden].sort()).toEqual(Object.keys(facts.nodes).sort());
        expect(links.filter(({ path }) => path.startsWith('/sys/class/infiniband/'))).toHaveLength(new Set(ids).size);
      }),
    );
  });
});
