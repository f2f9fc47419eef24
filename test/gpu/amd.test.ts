// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import { type AmdFacts, planAmd, readAmd } from '../../runtime/gpu/amd.ts';
import { noEdits } from '../../runtime/gpu/edits.ts';
import type { Access } from '../../runtime/observer.ts';
import { type HostFiles, makeHost } from './host-tree.ts';

const topology = '/sys/class/kfd/kfd/topology/nodes';

/** A PCI device with the driver amdgpu and its DRM nodes; connectors of displays lie beside those. */
function makeGpu(busId: string, card: number, render: number): HostFiles {
  const device = `/sys/devices/pci0000:00/${busId}`;
  return {
    [`/sys/bus/pci/devices/${busId}`]: { link: `../../../devices/pci0000:00/${busId}` },
    [`/sys/module/amdgpu/drivers/pci:amdgpu/${busId}`]: { link: `../../../../devices/pci0000:00/${busId}` },
    [`${device}/drm/card${card}/card${card}-DP-1`]: { dir: true },
    [`${device}/drm/renderD${render}`]: { dir: true },
    [`/dev/dri/card${card}`]: { node: true },
    [`/dev/dri/renderD${render}`]: { node: true },
  };
}

/** A node of the kernel's driver for computing, with the lines that matter. */
function makeNode(index: number, render: number, uniqueId: bigint, busId: string): HostFiles {
  const [domain = '', bus = '', device = ''] = busId.split(/[:.]/);
  const location = (Number.parseInt(bus, 16) << 8) | (Number.parseInt(device, 16) << 3);
  const lines = ['simd_count 304', `location_id ${location}`, `domain ${Number.parseInt(domain, 16)}`];
  return {
    [`${topology}/${index}/properties`]: `${lines.join('\n')}\ndrm_render_minor ${render}\nunique_id ${uniqueId}\n`,
  };
}

/** Two GPUs whose nodes are counted against the order of the bus, and between them one that cannot compute. */
const files: HostFiles = {
  ...makeGpu('0000:03:00.0', 1, 129),
  ...makeGpu('0000:43:00.0', 0, 128),
  ...makeGpu('0001:c3:00.0', 2, 130),
  '/sys/module/amdgpu/drivers/pci:amdgpu/bind': '',
  '/sys/module/amdgpu/drivers/pci:amdgpu/module': { link: '../../../../module/amdgpu' },
  [`${topology}/0/properties`]: 'cpu_cores_count 64\ndrm_render_minor 0\nunique_id 0\n',
  ...makeNode(2, 129, 0xef2c1799a1f3e2edn, '0000:03:00.0'),
  ...makeNode(1, 130, 0x0a5n, '0001:c3:00.0'),
  '/dev/kfd': { node: true },
};
const facts = read(files);

function read(of: HostFiles): AmdFacts {
  const found = readAmd(makeHost(of));
  if (found === null) throw new Error('no GPU was found');
  return found;
}

/** The facts with other answers to whether nodes may be opened. */
function withAccess(changes: Readonly<Record<string, Access>>): AmdFacts {
  const change = (path: string, access: Access) => changes[path] ?? access;
  return {
    kfd: change('/dev/kfd', facts.kfd),
    gpus: facts.gpus.map((gpu) => ({
      ...gpu,
      nodes: gpu.nodes.map(({ path, access }) => ({ path, access: change(path, access) })),
    })),
  };
}

describe('AMD’s GPUs', () => {
  test('cost one look-up where there are none', () => {
    const host = makeHost({ '/dev/dri/card0': { node: true } });
    expect(readAmd(host)).toBeNull();
    expect(host.paths.size).toBe(1);
  });

  test('are counted as AMD’s tools do, by bus among those that can compute, then the rest', () => {
    expect(facts.kfd).toBe('ok');
    expect(facts.gpus.map(({ busId, uniqueId }) => [busId, uniqueId])).toEqual([
      ['0000:03:00.0', 'ef2c1799a1f3e2ed'],
      ['0001:c3:00.0', 'a5'],
      ['0000:43:00.0', ''],
    ]);
    expect(facts.gpus[0]?.nodes).toEqual([
      { path: '/dev/dri/card1', access: 'ok' },
      { path: '/dev/dri/renderD129', access: 'ok' },
    ]);
  });

  test('that are divided have their partitions beside them, in the order of their nodes', () => {
    const partition = (index: number, render: number): HostFiles => ({
      [`/sys/devices/platform/amdgpu_xcp_${index}/drm/renderD${render}`]: { dir: true },
      [`/dev/dri/renderD${render}`]: { node: true },
    });
    const { gpus } = read({
      ...files,
      ...partition(10, 140),
      ...partition(9, 139),
      '/sys/devices/platform/serial8250/drm/card9': { dir: true },
      ...makeNode(3, 139, 7n, '0000:03:00.0'),
      ...makeNode(4, 140, 8n, '0000:03:00.0'),
    });
    expect(gpus.map(({ busId, uniqueId }) => [busId, uniqueId])).toEqual([
      ['0000:03:00.0', 'ef2c1799a1f3e2ed'],
      ['', '7'],
      ['', '8'],
      ['0001:c3:00.0', 'a5'],
      ['0000:43:00.0', ''],
    ]);
    expect(planAmd(['1'], { kfd: 'ok', gpus })).toMatchObject({
      devices: ['/dev/kfd', '/dev/dri/renderD139'],
      links: [],
    });
  });

  test('are told apart by their slots on a bus', () => {
    const { gpus } = read({
      ...makeGpu('0000:03:00.0', 0, 129),
      ...makeGpu('0000:03:01.0', 1, 128),
      ...makeNode(1, 129, 1n, '0000:03:00.0'),
      ...makeNode(2, 128, 2n, '0000:03:01.0'),
    });
    expect(gpus.map(({ uniqueId }) => uniqueId)).toEqual(['1', '2']);
  });

  test('that have no nodes, or nonsense for properties, stop nothing', () => {
    const odd = read({
      ...makeGpu('0000:03:00.0', 1, 129),
      '/sys/module/amdgpu/drivers/pci:amdgpu/0000:04:00.0': { link: '../../../../devices/gone' },
      [`${topology}/1/properties`]: 'drm_render_minor 99999999999999999999\nunique_id x\n\xff\n',
      [`${topology}/2/properties`]: { link: 'nowhere' },
    });
    expect(odd.kfd).toBe('missing');
    expect(odd.gpus.map(({ busId, uniqueId }) => [busId, uniqueId])).toEqual([['0000:03:00.0', '']]);
  });
});

describe('a request for AMD’s GPUs', () => {
  const all = [
    '/dev/dri/card1',
    '/dev/dri/renderD129',
    '/dev/dri/card2',
    '/dev/dri/renderD130',
    '/dev/dri/card0',
    '/dev/dri/renderD128',
  ];

  test('for all shows every node and hides none', () => {
    const plan = planAmd('all', facts);
    expect(plan).toEqual({ ...noEdits, devices: ['/dev/kfd', ...all], links: plan.links });
    expect(plan.links.slice(0, 2)).toEqual([
      { path: '/dev/dri/by-path/pci-0000:03:00.0-card', target: '../card1' },
      { path: '/dev/dri/by-path/pci-0000:03:00.0-render', target: '../renderD129' },
    ]);
  });

  test('for none hides every node, that for computing, too', () => {
    expect(planAmd('none', facts)).toEqual({ ...noEdits, hidden: [...all, '/dev/kfd'] });
    expect(planAmd('none', withAccess({ '/dev/kfd': 'missing' })).hidden).toEqual(all);
  });

  test.each<[string, string[], number[]]>([
    ['an index', ['1'], [1]],
    ['indexes in any order, twice', ['2', '0', '2'], [0, 2]],
    ['a range', ['0-1'], [0, 1]],
    ['a unique id', ['0xef2c1799a1f3e2ed'], [0]],
    ['a unique id in capitals without 0x', ['EF2C1799A1F3E2ED'], [0]],
    ['a unique id with zeros', ['0x00a5'], [1]],
    ['a bus id', ['0001:C3:00.0'], [1]],
    ['a bus id of one that cannot compute, and an index', ['0000:43:00.0', '1'], [1, 2]],
  ])('for %s shows those and hides the others', (_title, request, indexes) => {
    const plan = planAmd(request, facts);
    const nodesOf = (index: number) => facts.gpus[index]?.nodes.map(({ path }) => path) ?? [];
    expect(plan.devices).toEqual(['/dev/kfd', ...indexes.flatMap(nodesOf)]);
    expect(plan.hidden).toEqual([0, 1, 2].filter((index) => !indexes.includes(index)).flatMap(nodesOf));
  });

  test.each(['3', '1-3', '1-0', '-1', '0x', 'a', '', '0000:99:00.0', '12345'])(
    'for %j, which there is not, names those that there are',
    (element) => {
      expect(() => planAmd(['0', element], facts)).toThrow(
        expect.objectContaining({
          message: `there is no AMD GPU ${element}`,
          hint: 'choose among 0 (0000:03:00.0, 0xef2c1799a1f3e2ed), 1 (0001:c3:00.0, 0xa5), 2 (0000:43:00.0), or all',
        }),
      );
    },
  );

  test('on a host without them is an error only for a certain one', () => {
    expect(planAmd('all', null)).toEqual(noEdits);
    expect(planAmd('none', null)).toEqual(noEdits);
    expect(() => planAmd(['0'], null)).toThrow(Failure);
  });
});

describe('nodes of AMD’s GPUs that cannot be opened', () => {
  test('by the control group are left out of all, and are an error for who names them', () => {
    const refused = withAccess({ '/dev/dri/renderD129': 'refused', '/dev/dri/card2': 'refused' });
    const plan = planAmd('all', refused);
    expect(plan.devices).toEqual([
      '/dev/kfd',
      '/dev/dri/card2',
      '/dev/dri/renderD130',
      '/dev/dri/card0',
      '/dev/dri/renderD128',
    ]);
    expect(plan.hidden).toEqual(['/dev/dri/card1', '/dev/dri/renderD129']);
    expect(plan.warnings).toEqual([]);
    expect(() => planAmd(['0'], refused)).toThrow(
      'AMD GPU 0 cannot be opened: the device control group refuses /dev/dri/renderD129',
    );
    expect(() => planAmd(['1'], refused)).not.toThrow();
  });

  test('by the control group, all of them, are told of', () => {
    const paths = facts.gpus.flatMap(({ nodes }) => nodes.map(({ path }): [string, Access] => [path, 'refused']));
    const plan = planAmd('all', withAccess(Object.fromEntries(paths)));
    expect(plan).toMatchObject({ devices: [], warnings: ['AMD GPU: the device control group refuses all of them'] });
    expect(plan.hidden).toContain('/dev/kfd');
    expect(planAmd('none', withAccess(Object.fromEntries(paths))).warnings).toEqual([]);
  });

  test('for want of permission are shown, with a warning that has the cure; cards do not matter', () => {
    const plan = planAmd(
      'all',
      withAccess({ '/dev/kfd': 'denied', '/dev/dri/renderD130': 'denied', '/dev/dri/card1': 'denied' }),
    );
    expect(plan.devices).toEqual(['/dev/kfd', ...facts.gpus.flatMap(({ nodes }) => nodes.map(({ path }) => path))]);
    expect(plan.warnings).toEqual([
      expect.stringContaining('AMD GPU: no permission to open /dev/dri/renderD130; '),
      expect.stringContaining('AMD GPU: no permission to open /dev/kfd; '),
    ]);
    expect(plan.warnings[0]).toContain('sudo usermod -aG render USER');
  });

  test('because they are not there are reported as missing', () => {
    const plan = planAmd(
      ['0'],
      withAccess({ '/dev/kfd': 'missing', '/dev/dri/card1': 'missing', '/dev/dri/card2': 'missing' }),
    );
    expect(plan.devices).toEqual(['/dev/dri/renderD129']);
    expect(plan.hidden).not.toContain('/dev/dri/card2');
    expect(plan.missing.map(({ what }) => what)).toEqual(['/dev/dri/card1', '/dev/kfd']);
    expect(plan.links.map(({ path }) => path)).toEqual(['/dev/dri/by-path/pci-0000:03:00.0-render']);
  });
});
