// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { byPathLinks, findDrm, renderMinorOf } from '../../runtime/gpu/drm.ts';
import { noEdits } from '../../runtime/gpu/edits.ts';
import { planIntel, readIntel } from '../../runtime/gpu/intel.ts';
import { type HostFiles, makeHost } from './host-tree.ts';

/** A PCI device with a driver, and its DRM nodes. */
function makeGpu(
  driver: string,
  busId: string,
  nodes: readonly string[],
  vendor = '0x8086',
  kind = '0x030000',
): HostFiles {
  const device = `/sys/devices/pci0000:00/${busId}`;
  return {
    [`/sys/bus/pci/drivers/${driver}/${busId}`]: { link: `../../../../devices/pci0000:00/${busId}` },
    [`/sys/bus/pci/devices/${busId}`]: { link: `../../../devices/pci0000:00/${busId}` },
    [`${device}/vendor`]: `${vendor}\n`,
    [`${device}/class`]: `${kind}\n`,
    ...Object.fromEntries(nodes.map((node) => [`${device}/drm/${node}`, { dir: true } as const])),
    ...Object.fromEntries(nodes.map((node) => [`/dev/dri/${node}`, { node: true } as const])),
  };
}

/** A processor's graphics and a card of its own, with different drivers. */
const files: HostFiles = {
  ...makeGpu('xe', '0000:00:02.0', ['card1', 'renderD128']),
  ...makeGpu('i915', '0000:03:00.0', ['card0', 'renderD129'], '0x8086', '0x038000'),
  '/sys/bus/pci/drivers/i915/new_id': '',
};

describe('Intel’s GPUs', () => {
  test('cost two look-ups where there are none', () => {
    const host = makeHost({ '/dev/dri/card0': { node: true }, '/sys/bus/pci/devices/0000:00:02.0/vendor': '0x1002\n' });
    expect(readIntel(host)).toBeNull();
    expect([...host.paths]).toEqual(['/sys/bus/pci/drivers/i915', '/sys/bus/pci/drivers/xe']);
  });

  test('are those of both drivers by bus; what is no display, not Intel’s or without nodes is none', () => {
    const host = makeHost({
      ...files,
      ...makeGpu('i915', '0000:00:00.0', ['card7'], '0x8086', '0x060000'),
      ...makeGpu('xe', '0000:01:00.0', ['card8'], '0x10de'),
      ...makeGpu('xe', '0000:02:00.0', []),
    });
    expect(readIntel(host)?.gpus).toEqual([
      {
        busId: '0000:00:02.0',
        uniqueId: '',
        nodes: [
          { path: '/dev/dri/card1', access: 'ok' },
          { path: '/dev/dri/renderD128', access: 'ok' },
        ],
      },
      {
        busId: '0000:03:00.0',
        uniqueId: '',
        nodes: [
          { path: '/dev/dri/card0', access: 'ok' },
          { path: '/dev/dri/renderD129', access: 'ok' },
        ],
      },
    ]);
  });

  test('are shown by index or bus id, and the others hidden', () => {
    const facts = readIntel(makeHost(files));
    const second = {
      ...noEdits,
      devices: ['/dev/dri/card0', '/dev/dri/renderD129'],
      hidden: ['/dev/dri/card1', '/dev/dri/renderD128'],
      links: [
        { path: '/dev/dri/by-path/pci-0000:03:00.0-card', target: '../card0' },
        { path: '/dev/dri/by-path/pci-0000:03:00.0-render', target: '../renderD129' },
      ],
    };
    expect(planIntel(['1'], facts)).toEqual(second);
    expect(planIntel(['0000:03:00.0'], facts)).toEqual(second);
    expect(planIntel('all', facts)).toMatchObject({ devices: { length: 4 }, hidden: [] });
    expect(planIntel('none', facts)).toMatchObject({ devices: [], hidden: { length: 4 }, links: [] });
    expect(() => planIntel(['2'], facts)).toThrow(
      expect.objectContaining({
        message: 'there is no Intel GPU 2',
        hint: 'choose among 0 (0000:00:02.0), 1 (0000:03:00.0), or all',
      }),
    );
  });

  test('are no error where there are none, unless one is named', () => {
    expect(planIntel('all', null)).toEqual(noEdits);
    expect(planIntel('none', null)).toEqual(noEdits);
    expect(() => planIntel(['0'], null)).toThrow('there is no Intel GPU 0');
  });
});

describe('DRM nodes', () => {
  test('of a device are found by its bus id in either case, cards first, by number', () => {
    const names = ['renderD128', 'card130', 'card2', 'card2-DP-1', 'controlD64', 'version'];
    const host = makeHost(makeGpu('nvidia', '0000:ca:00.0', names));
    const nodes = ['/dev/dri/card2', '/dev/dri/card130', '/dev/dri/renderD128'];
    expect(findDrm(host, '0000:ca:00.0')).toEqual(nodes);
    expect(findDrm(host, '0000:CA:00.0')).toEqual(nodes);
    expect(findDrm(host, '0000:cb:00.0')).toEqual([]);
  });

  test('have the names by path that udev gives them', () => {
    expect(byPathLinks('0000:CA:00.0', ['/dev/dri/card2', '/dev/dri/renderD128'])).toEqual([
      { path: '/dev/dri/by-path/pci-0000:ca:00.0-card', target: '../card2' },
      { path: '/dev/dri/by-path/pci-0000:ca:00.0-render', target: '../renderD128' },
    ]);
    expect(renderMinorOf('/dev/dri/renderD128')).toBe(128);
    expect(renderMinorOf('/dev/dri/card2')).toBeNull();
  });
});
