// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import { noEdits } from '../../runtime/gpu/edits.ts';
import { parseCsv, planTegra, readTegra, type TegraFacts } from '../../runtime/gpu/tegra.ts';
import { type HostFiles, makeHost } from './host-tree.ts';

const lists = '/etc/nvidia-container-runtime/host-files-for-container.d';
const lib = '/usr/lib/aarch64-linux-gnu';

/** A shared library that is no more than its soname: ELF header, PT_LOAD of the file, PT_DYNAMIC, strings (elf(5)). */
function makeLibrary(soname: string): Uint8Array {
  const [dynamicAt, stringsAt] = [176, 240];
  const strings = `\0${soname}\0`;
  const file = Buffer.alloc(stringsAt + strings.length);
  file.write('\x7fELF\x02\x01\x01', 'latin1');
  file.writeUInt16LE(3, 16); // ET_DYN
  file.writeUInt16LE(183, 18); // AArch64
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(2, 56);
  const words = (at: number, values: readonly number[]) => {
    for (const [index, value] of values.entries()) file.writeBigUInt64LE(BigInt(value), at + 8 * index);
  };
  words(64, [1, 0, 0, 0, file.length, file.length, 4096]);
  words(120, [2, dynamicAt, dynamicAt, 0, 64, 64, 8]);
  words(dynamicAt, [5, stringsAt, 10, strings.length, 14, 1, 0, 0]);
  file.write(strings, stringsAt, 'latin1');
  return file;
}

const host: HostFiles = {
  '/etc/nv_tegra_release': '# R36 (release), REVISION: 4.3\n',
  [`${lists}/devices.csv`]: 'dev, /dev/nvmap\ndev, /dev/nvgpu/igpu0/as\ndev, /dev/nvidiactl\n',
  [`${lists}/drivers.csv`]: [
    `lib, ${lib}/nvidia/libcuda.so.1.1`,
    `sym, ${lib}/nvidia/libcuda.so.1`,
    `sym, ${lib}/libcuda.so`,
    `lib, ${lib}/nvidia/libnvos.so`,
    `lib, ${lib}/nvidia/libnvidia-ptxjitcompiler.so.540.4.0`,
    `sym, ${lib}/libgone.so`,
    `lib, ${lib}/nvidia/libgone.so.36.4`,
    'dir, /lib/firmware/tegra23x',
    'lib, /etc/vulkan/icd.d/nvidia_icd.json',
    `lib, ${lib}/libv4l/plugins/nv/libv4l2_nvvideocodec.so`,
    '',
  ].join('\n'),
  [`${lists}/README.txt`]: 'dev, /dev/ignored\n',
  '/dev/nvmap': { node: true },
  '/dev/nvgpu/igpu0/as': { node: true },
  '/dev/ignored': { node: true },
  [`${lib}/nvidia/libcuda.so.1.1`]: makeLibrary('libcuda.so.1'),
  [`${lib}/nvidia/libnvos.so`]: 'not looked into',
  [`${lib}/nvidia/libnvidia-ptxjitcompiler.so.540.4.0`]: makeLibrary('libnvidia-ptxjitcompiler.so.1'),
  [`${lib}/nvidia/libcuda.so.1`]: { link: 'libcuda.so.1.1' },
  [`${lib}/libcuda.so`]: { link: 'nvidia/libcuda.so.1' },
  [`${lib}/libv4l/plugins/nv/libv4l2_nvvideocodec.so`]: { link: '../../../nvidia/libcuda.so.1.1' },
  '/lib/firmware/tegra23x': { dir: true },
  '/etc/vulkan/icd.d/nvidia_icd.json': '{}',
};
const read = (files: HostFiles = host): TegraFacts => {
  const facts = readTegra(makeHost(files));
  if (facts === null) throw new Error('this host is a Jetson');
  return facts;
};
const release = { source: '/etc/nv_tegra_release', target: '/etc/nv_tegra_release', kind: 'file' };

describe('a Jetson', () => {
  test('is looked for with two lookups, which any other host ends', () => {
    const observer = makeHost({
      '/sys/devices/soc0/family': 'Snapdragon\n',
      [`${lists}/l4t.csv`]: 'dev, /dev/nvmap\n',
    });
    expect(readTegra(observer)).toBeNull();
    expect([...observer.paths]).toEqual(['/etc/nv_tegra_release', '/sys/devices/soc0/family']);
  });

  test('is known by its release or by the family of its processor', () => {
    expect(read({ '/etc/nv_tegra_release': '' })).toEqual({ hasRelease: true, lists: [] });
    expect(read({ '/sys/devices/soc0/family': 'Tegra\n' })).toEqual({ hasRelease: false, lists: [] });
  });

  test('has each path of its lists looked at once, with the system’s lists before others', () => {
    const facts = read({
      ...host,
      [`${lists}/cuda.csv`]: 'dev, /dev/nvmap\ndir, /usr/local/cuda-10.2\n',
      '/usr/local/cuda-10.2': { dir: true },
    });
    expect(facts.lists.map((list) => [list.path.slice(lists.length + 1), list.isBase, list.entries.length])).toEqual([
      ['devices.csv', true, 3],
      ['drivers.csv', true, 10],
      ['cuda.csv', false, 1],
    ]);
    expect(facts.lists[0]?.entries[0]).toEqual({ type: 'dev', path: '/dev/nvmap', access: 'ok' });
  });
});

describe('a list', () => {
  test('has lines of a type and a path, with comments and blanks', () => {
    expect(parseCsv('# devices\n\ndev ,/dev/nvmap\r\n  lib,\t/usr/lib/a,b.so \nsym, /x\xc3\xa0\n')).toEqual({
      lines: [
        { type: 'dev', path: '/dev/nvmap' },
        { type: 'lib', path: '/usr/lib/a,b.so' },
        { type: 'sym', path: '/x\xc3\xa0' },
      ],
      unclear: [],
    });
  });

  test.each([
    [','],
    ['dev,'],
    ['dev, nvmap'],
    ['dev, /etc/passwd'],
    ['dev, /dev/../etc/passwd'],
    ['dir, /'],
    ['lib, /usr/../etc/shadow'],
    ['mnt, /usr/lib/x'],
    ['lib /usr/lib/x'],
  ])('has no line %j, and tells its number', (line) => {
    expect(parseCsv(`dir, /a\n${line}\n`)).toEqual({ lines: [{ type: 'dir', path: '/a' }], unclear: [2] });
  });

  test('gives back every line that was written to it', () => {
    const type = fc.constantFrom('dir', 'lib', 'sym', 'dev');
    const name = fc.string({ unit: fc.constantFrom('a', '.', ',', ' ', '#', '\xa0', 'é'), minLength: 1 });
    const line = fc.record({ type, name }).map((made) => ({ type: made.type, path: `/dev/x${made.name}x` }));
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        const text = lines.map((each) => `${each.type},${each.path}\n`).join('');
        expect(parseCsv(text)).toEqual({ lines, unclear: [] });
      }),
    );
  });
});

describe('a container on a Jetson', () => {
  test('gets what the lists name and the host has', () => {
    expect(planTegra('all', read(), true)).toEqual({
      ...noEdits,
      devices: ['/dev/nvmap', '/dev/nvgpu/igpu0/as'],
      binds: [
        release,
        ...[
          [`${lib}/nvidia/libcuda.so.1.1`, 'file'],
          [`${lib}/nvidia/libnvos.so`, 'file'],
          [`${lib}/nvidia/libnvidia-ptxjitcompiler.so.540.4.0`, 'file'],
          ['/lib/firmware/tegra23x', 'dir'],
          ['/etc/vulkan/icd.d/nvidia_icd.json', 'file'],
          [`${lib}/libv4l/plugins/nv/libv4l2_nvvideocodec.so`, 'file'],
        ].map(([path, kind]) => ({ source: path, target: path, kind })),
      ],
      named: [
        ['libcuda.so.1', `${lib}/nvidia/libcuda.so.1.1`],
        ['libnvos.so', `${lib}/nvidia/libnvos.so`],
        ['libnvidia-ptxjitcompiler.so.1', `${lib}/nvidia/libnvidia-ptxjitcompiler.so.540.4.0`],
        ['libv4l2_nvvideocodec.so', `${lib}/libv4l/plugins/nv/libv4l2_nvvideocodec.so`],
        ['libcuda.so', `${lib}/libcuda.so`],
      ].map(([soname, path]) => ({ soname, path, abi: '64' })),
      libraryDirs: [`${lib}/nvidia`, `${lib}/libv4l/plugins/nv`],
      links: [
        { path: `${lib}/nvidia/libcuda.so.1`, target: 'libcuda.so.1.1' },
        { path: `${lib}/libcuda.so`, target: 'nvidia/libcuda.so.1' },
        { path: `${lib}/nvidia/libnvidia-ptxjitcompiler.so.1`, target: 'libnvidia-ptxjitcompiler.so.540.4.0' },
      ],
      missing: ['/dev/nvidiactl', `${lib}/libgone.so`, `${lib}/nvidia/libgone.so.36.4`].map((what) => ({
        what,
        follows: expect.stringContaining('programs that need it'),
      })),
    });
  });

  test('is the same with the GPU’s index, and has no other GPU', () => {
    expect(planTegra(['0'], read(), false)).toEqual(planTegra('all', read(), false));
    expect(() => planTegra(['0', '1'], read(), true)).toThrow(
      new Failure('cannot choose the GPU 1: a Jetson has one, with index 0', 'ask for all or 0'),
    );
  });

  test('with none has the files, but not the devices', () => {
    const { devices, hidden, binds, warnings } = planTegra('none', read(), true);
    expect({ devices, hidden, warnings }).toEqual({
      devices: [],
      hidden: ['/dev/nvmap', '/dev/nvgpu'],
      warnings: [],
    });
    expect(binds).toEqual(planTegra('all', read(), true).binds);
  });

  test('gets the host’s CUDA only where the image asks for all lists', () => {
    const facts = read({ ...host, [`${lists}/cuda.csv`]: 'dir, /usr/local/cuda\n', '/usr/local/cuda': { dir: true } });
    const targets = (allLists?: boolean) => planTegra('all', facts, true, allLists).binds.map(({ target }) => target);
    expect(targets()).not.toContain('/usr/local/cuda');
    expect(targets(true)).toEqual([...targets(), '/usr/local/cuda']);
  });

  test('without lists has nothing, and fails where the caller asked for the GPU', () => {
    const facts = read({ '/etc/nv_tegra_release': '' });
    expect(planTegra('all', facts, false)).toEqual({
      ...noEdits,
      missing: [{ what: `${lists}/*.csv`, follows: 'the GPU is not shown' }],
    });
    try {
      planTegra('all', facts, true);
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({
        message: expect.stringContaining(lists),
        hint: expect.stringMatching(/apt.*l4t-init/),
      });
      expect(error).toBeInstanceOf(Failure);
    }
  });

  test('is told of lines that are not understood and of a missing release', () => {
    const files = { '/sys/devices/soc0/family': 'Tegra\n', [`${lists}/l4t.csv`]: '# none\nglob, /dev/nv*\n' };
    const edits = planTegra('all', read(files), true);
    expect(edits.missing.map(({ what }) => what)).toEqual(['/etc/nv_tegra_release', `${lists}/l4t.csv:2`]);
    expect(edits.binds).toEqual([]);
  });

  test.each(['denied', 'refused'] as const)('is warned where the GPU’s memory is %s, which it still sees', (access) => {
    const entries = [{ type: 'dev', path: '/dev/nvmap', access } as const];
    const facts = { hasRelease: true, lists: [{ path: 'l4t.csv', isBase: true, entries, unclear: [] }] };
    const { devices, warnings } = planTegra('all', facts, false);
    expect(devices).toEqual(['/dev/nvmap']);
    expect(warnings).toEqual([expect.stringContaining('no permission to open /dev/nvmap')]);
    expect(planTegra('none', facts, false).warnings).toEqual([]);
  });
});
