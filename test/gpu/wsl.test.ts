// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import { noEdits } from '../../runtime/gpu/edits.ts';
import { planWsl, readWsl, type WslFacts } from '../../runtime/gpu/wsl.ts';
import { type HostFiles, makeHost } from './host-tree.ts';

const lib = '/usr/lib/wsl/lib';
const store = '/usr/lib/wsl/drivers/nv_dispi.inf_amd64_8fe2b1d2a3c4d5e6';
const named = (dir: string, names: readonly string[]) =>
  Object.fromEntries(names.map((name) => [`${dir}/${name}`, '']));
const libNames = ['libcuda.so', 'libcuda.so.1', 'libcuda.so.1.1', 'libdxcore.so', 'libnvidia-ml.so.1', 'nvidia-smi'];
const storeNames = ['libcuda.so.1.1', 'libcuda_loader.so', 'libnvidia-ptxjitcompiler.so.1', 'nvcubins.bin', 'nvml.dll'];
const host: HostFiles = {
  '/dev/dxg': { node: true },
  ...named(lib, [...libNames, 'libd3d12.so']),
  ...named(store, storeNames),
  ...named('/usr/lib/wsl/drivers/u0420529.inf_amd64_94ad5a6c4d1a04e2', ['amdxx64.so']),
  ...named('/usr/lib/wsl/drivers/nvhda.inf_amd64_0123456789abcdef', ['nvhda64v.sys']),
};
const read = (files: HostFiles = host): WslFacts => {
  const facts = readWsl(makeHost(files));
  if (facts === null) throw new Error('this host is WSL');
  return facts;
};
const without = (...paths: string[]) =>
  Object.fromEntries(Object.entries(host).filter(([path]) => !paths.some((part) => path.startsWith(part))));

describe('what WSL shows of the GPUs of Windows', () => {
  test('is looked for with one lookup, which any other host ends', () => {
    const observer = makeHost({ [`${lib}/libdxcore.so`]: '' });
    expect(readWsl(observer)).toBeNull();
    expect([...observer.paths]).toEqual(['/dev/dxg']);
  });

  test('has NVIDIA’s driver in those directories of the store that hold libcuda', () => {
    expect(read()).toMatchObject({ access: 'ok', stores: [store], smi: `${lib}/nvidia-smi`, lacking: [] });
  });

  test('names each library once, from the first directory that has it', () => {
    const { libraries } = read();
    const pathOf = (name: string) => libraries.filter(({ soname }) => soname === name).map(({ path }) => path);
    expect(pathOf('libcuda.so.1')).toEqual([`${lib}/libcuda.so.1`]);
    expect(pathOf('libcuda.so.1.1')).toEqual([`${lib}/libcuda.so.1.1`]);
    expect(pathOf('libd3d12.so')).toEqual([`${lib}/libd3d12.so`]);
    expect(pathOf('libnvidia-ptxjitcompiler.so.1')).toEqual([`${store}/libnvidia-ptxjitcompiler.so.1`]);
    expect(libraries.map(({ soname }) => soname)).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/smi|bin|dll/)]),
    );
    expect(libraries).toHaveLength(8);
  });

  test('offers the driver’s own libcuda under its soname where the small one is not there', () => {
    const facts = read(without(`${lib}/libcuda`));
    const path = `${store}/libcuda.so.1.1`;
    expect(facts.libraries).toContainEqual({ soname: 'libcuda.so.1', path, abi: '64' });
    expect(facts.lacking).toEqual([]);
  });
});

describe('a container on WSL', () => {
  test('gets the device, the directories of Windows at their paths, and nvidia-smi', () => {
    expect(planWsl('all', read())).toEqual({
      ...noEdits,
      devices: ['/dev/dxg'],
      binds: [lib, store].map((dir) => ({ source: dir, target: dir, kind: 'dir' })),
      named: read().libraries,
      libraryDirs: [lib, store],
      links: [{ path: '/usr/bin/nvidia-smi', target: `${lib}/nvidia-smi` }],
    });
  });

  test('gets all stores that an update left, after the directory that chooses among them', () => {
    const other = '/usr/lib/wsl/drivers/nvltwi.inf_amd64_00';
    const edits = planWsl('all', read({ ...host, ...named(other, ['libcuda.so.1.1']) }));
    expect(edits.libraryDirs).toEqual([lib, store, other]);
    expect(edits.binds.map(({ target }) => target)).toEqual([lib, store, other]);
  });

  test('with none has the driver, but not the device, and is not refused where the driver is missing', () => {
    const { devices, hidden, libraryDirs } = planWsl('none', read());
    expect({ devices, hidden, libraryDirs }).toEqual({
      devices: [],
      hidden: ['/dev/dxg'],
      libraryDirs: [lib, store],
    });
    const bare = planWsl('none', read({ '/dev/dxg': { node: true } }));
    expect(bare.missing.map(({ what }) => what)).toEqual([
      `${lib}/libdxcore.so`,
      `${lib}/libcuda.so.1`,
      '/usr/lib/wsl/drivers/nv*/libcuda.so.1.1',
      'nvidia-smi',
    ]);
    expect(bare.links).toEqual([]);
  });

  test.each([[['0']], [['0', '1']], [['GPU-1234']]])('cannot have only %j', (list) => {
    const plan = () => planWsl(list, read());
    expect(plan).toThrow(Failure);
    expect(plan).toThrow(`cannot choose the GPU ${list.join(',')}: WSL has one device, /dev/dxg, for all GPUs`);
  });

  test.each([
    ['libdxcore.so', without(`${lib}/libdxcore.so`)],
    ['libcuda.so.1', without(`${lib}/libcuda`, store)],
  ])('fails without %s and names the cure', (name, files) => {
    try {
      planWsl('all', read(files));
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(Failure);
      const { message, hint } = error as Failure;
      expect(message).toBe(`WSL shows no NVIDIA driver: ${lib}/${name} does not exist`);
      expect(hint).toMatch(/driver in Windows.*wsl --update/);
    }
  });

  test('without the store is planned, and what follows is noted', () => {
    expect(planWsl('all', read(without(store))).missing).toEqual([
      { what: '/usr/lib/wsl/drivers/nv*/libcuda.so.1.1', follows: 'CUDA finds no driver' },
    ]);
  });

  test.each(['denied', 'refused'] as const)('is warned of a device that is %s, unless it gets none', (access) => {
    const facts = { ...read(), access };
    expect(planWsl('all', facts).warnings).toEqual([expect.stringContaining('no permission to open /dev/dxg')]);
    expect(planWsl('none', facts).warnings).toEqual([]);
  });
});
