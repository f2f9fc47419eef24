// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { DriverLibrary, NamedLibrary } from '../../runtime/gpu/edits.ts';
import { isVendorNeutral, type LoaderImage, type LoaderPlan, planLibraries } from '../../runtime/gpu/loader.ts';
import { toBuffer } from '../../src/format/bytes.ts';
import { type LdCacheEntry, ldCacheFlags, readLdCache } from '../../src/format/ld-cache.ts';
import { writeLdCacheText } from '../../src/format/ld-cache-text.ts';
import type { LoaderFacts } from '../../src/format/manifest.ts';

const version = '580.95.05';

function library(stem: string, more: Partial<DriverLibrary> = {}): DriverLibrary {
  const source = `/usr/lib/host/lib${stem}.so.${version}`;
  return { source, soname: `lib${stem}.so.1`, links: [], abi: '64', subdir: '', needsGlibc: '2.17', ...more };
}

const cuda = library('cuda', { links: ['libcuda.so'] });
const cuda32 = { ...cuda, source: `/usr/lib32/libcuda.so.${version}`, abi: '32' } as const;

const packCache = (entries: readonly LdCacheEntry[]) => writeLdCacheText(entries);
const entry = (name: string, path: string, flags: number = ldCacheFlags.x86_64): LdCacheEntry => {
  return { name, path, flags, osVersion: 0, hwcap: 0n, hwcapName: '' };
};

function image(facts: Partial<LoaderFacts> = {}, debian = false): LoaderImage {
  const none = { muslPath: '', directories: [], cuda: '', compat: [], cache: '', glibcVersion: '2.36' };
  return { debian, loader: { libc: 'glibc', ...none, ...facts } };
}

const glibc = image({ directories: ['/usr/lib64'] });

interface Given {
  readonly libraries?: readonly DriverLibrary[];
  readonly named?: readonly NamedLibrary[];
  readonly extraDirs?: readonly string[];
  readonly image?: LoaderImage | undefined;
  readonly machine?: string;
  readonly place?: 'root' | 'private';
}

function plan(given: Given = {}): LoaderPlan {
  const all = { libraries: [cuda], named: [], extraDirs: [], image: glibc, machine: 'x86_64', place: 'root', ...given };
  return planLibraries(all.libraries, all.named, all.extraDirs, all.image, all.machine, all.place as 'root');
}

/** The cache that a plan writes, as NAME (FLAGS) => PATH. */
function cacheOf({ files }: LoaderPlan): string[] | undefined {
  const file = files.find(({ path }) => path === '/etc/ld.so.cache');
  if (file === undefined) return undefined;
  expect(file.mode).toBe(0o644);
  const cache = readLdCache(toBuffer(file.data));
  return cache?.entries.map(({ name, flags, path }) => `${name} ${flags.toString(16)} ${path}`);
}

const fileAt = ({ files }: LoaderPlan, path: string) => files.find((file) => file.path === path)?.data;
const dropIn = '/etc/ld.so.conf.d/00-bundler-gpu.conf';

test('a library stands at the name of its file, with links of its soname and its further names, and is in the cache', () => {
  const planned = plan();
  expect(planned).toEqual({
    directory: '/usr/lib64',
    binds: [{ source: cuda.source, target: `/usr/lib64/libcuda.so.${version}`, kind: 'file' }],
    links: [
      { path: '/usr/lib64/libcuda.so.1', target: `libcuda.so.${version}` },
      { path: '/usr/lib64/libcuda.so', target: `libcuda.so.${version}` },
    ],
    files: [{ path: '/etc/ld.so.cache', mode: 0o644, data: expect.any(String) }],
    warnings: [],
    env: [],
  });
  expect(cacheOf(planned)).toEqual([
    'libcuda.so.1 303 /usr/lib64/libcuda.so.1',
    'libcuda.so 303 /usr/lib64/libcuda.so',
  ]);
});

test.each<[string, LoaderImage | undefined, string, string]>([
  ['a Debian', image({ directories: ['/usr/lib64'] }, true), '/usr/lib/x86_64-linux-gnu', '/usr/lib/i386-linux-gnu'],
  [
    'one with the directories of a Debian',
    image({ directories: ['/usr/lib64', '/usr/lib/i386-linux-gnu', '/usr/lib/x86_64-linux-gnu'] }),
    '/usr/lib/x86_64-linux-gnu',
    '/usr/lib/i386-linux-gnu',
  ],
  ['one with /usr/lib64', glibc, '/usr/lib64', '/usr/lib'],
  ['one with /lib64 and /usr/lib32', image({ directories: ['/lib64', '/usr/lib32'] }), '/usr/lib64', '/usr/lib32'],
  ['one with neither', image({ directories: ['/lib'] }), '/usr/lib', '/usr/lib'],
  ['musl', image({ libc: 'musl', directories: ['/usr/lib64'] }), '/usr/local/nvidia/lib64', '/usr/local/nvidia/lib'],
  ['an older Debian bundle', { debian: true }, '/usr/lib/x86_64-linux-gnu', '/usr/lib/i386-linux-gnu'],
  ['an older bundle', { debian: false }, '/usr/lib64', '/usr/lib'],
  ['an unknown one', undefined, '/usr/lib64', '/usr/lib'],
])('in %s, libraries go where its loader looks', (_, given, directory, directory32) => {
  const planned = plan({ image: given, libraries: [cuda, cuda32] });
  expect(planned.directory).toBe(directory);
  expect(planned.binds.map(({ target }) => target)).toEqual([
    ...new Set([`${directory}/libcuda.so.${version}`, `${directory32}/libcuda.so.${version}`]),
  ]);
});

test('on AArch64 the directories and flags are of that machine, and there are no 32-bit libraries', () => {
  const planned = plan({ image: image({}, true), machine: 'aarch64', libraries: [cuda, cuda32] });
  const at = '/usr/lib/aarch64-linux-gnu';
  expect(planned.binds).toHaveLength(1);
  expect(cacheOf(planned)).toEqual([`libcuda.so.1 a03 ${at}/libcuda.so.1`, `libcuda.so a03 ${at}/libcuda.so`]);
});

test('the cache keeps what the image has, but for libraries of the same name and architecture', () => {
  const cache = packCache([
    entry('libz.so.1', '/lib/libz.so.1'),
    entry('libcuda.so.1', '/usr/local/cuda/compat/libcuda.so.1'),
    entry('libcuda.so.1', '/usr/lib32/libcuda.so.1', ldCacheFlags.i386),
    entry('libc.so.6', '/lib64/libc.so.6'),
  ]);
  const planned = plan({ image: image({ directories: ['/usr/lib64'], cache }) });
  expect(cacheOf(planned)).toEqual([
    'libz.so.1 303 /lib/libz.so.1',
    'libcuda.so.1 303 /usr/lib64/libcuda.so.1',
    'libcuda.so.1 3 /usr/lib32/libcuda.so.1',
    'libcuda.so 303 /usr/lib64/libcuda.so',
    'libc.so.6 303 /lib64/libc.so.6',
  ]);
  expect(fileAt(planned, '/etc/ld.so.cache')).toContain('bundler');
});

test.each([
  ['could not be read by make', 'unreadable\n'],
  ['is cut', packCache([entry('libc.so.6', '/lib/libc.so.6')]).slice(0, -1)],
  ['is of another kind', '=zz 0 0 \n'],
])("an image's cache that %s stays, and the reader is told", (_, cache) => {
  const damaged = image({ directories: ['/usr/lib64'], cache });
  const planned = plan({ image: damaged });
  expect(planned.files).toEqual([]);
  expect(planned.warnings).toEqual([
    expect.stringMatching(/^the image's \/etc\/ld\.so\.cache cannot be read.*ldconfig/),
  ]);
  expect(planned.env).toEqual([]);
  expect(plan({ image: damaged, place: 'private' }).env).toEqual(['LD_LIBRARY_PATH=/usr/local/nvidia/lib64']);
});

describe('a private place', () => {
  test("is in the cache, and in ldconfig's configuration before what images bring", () => {
    const planned = plan({ place: 'private', libraries: [cuda, cuda32], extraDirs: ['/usr/lib/wsl/lib'] });
    expect(cacheOf(planned)?.slice(0, 2)).toEqual([
      'libcuda.so.1 303 /usr/local/nvidia/lib64/libcuda.so.1',
      'libcuda.so.1 3 /usr/local/nvidia/lib/libcuda.so.1',
    ]);
    const dirs = ['/usr/lib/wsl/lib', '/usr/local/nvidia/lib64', '/usr/local/nvidia/lib'];
    expect(fileAt(planned, dropIn)).toBe(`${dirs.join('\n')}\n`);
    expect(planned.env).toEqual([]);
  });

  test('is in the environment where nothing is known of the loader', () => {
    for (const given of [undefined, { debian: true }, image({ libc: '' })]) {
      const planned = plan({ image: given, place: 'private', extraDirs: ['/extra'] });
      expect(planned.env).toEqual(['LD_LIBRARY_PATH=/extra:/usr/local/nvidia/lib64']);
      expect([cacheOf(planned), planned.warnings]).toEqual([undefined, []]);
    }
  });
});

test('an older bundle gets neither a cache nor a warning', () => {
  for (const given of [undefined, { debian: true }, { debian: false }]) {
    expect(plan({ image: given })).toMatchObject({ files: [], warnings: [], env: [] });
  }
});

describe('musl', () => {
  test.each([
    ['', '/lib\n/usr/local/lib\n/usr/lib\n/usr/local/nvidia/lib64\n'],
    ['/lib:/opt/lib\n/usr/local/nvidia/lib64', '/lib\n/opt/lib\n/usr/local/nvidia/lib64\n'],
  ])('gets a path file with its own directories (%j) first, and one warning', (muslPath, expected) => {
    const old = image({ libc: 'musl', muslPath, glibcVersion: '' });
    const planned = plan({ image: old, libraries: [cuda, cuda32] });
    expect(planned.files).toEqual([{ path: '/etc/ld-musl-x86_64.path', mode: 0o644, data: expected }]);
    expect(planned.warnings).toEqual([expect.stringContaining('gcompat')]);
    expect(planned.env).toEqual([]);
  });
});

describe('a library that needs a newer glibc than the image has', () => {
  test('is placed, and named in one warning with both versions', () => {
    const libraries = [cuda, library('new', { needsGlibc: '2.34' }), library('newer', { needsGlibc: '2.35' })];
    const planned = plan({ libraries, image: image({ glibcVersion: '2.9' }) });
    expect(planned.binds).toHaveLength(3);
    expect(planned.warnings).toEqual([
      expect.stringMatching(/libcuda\.so\.580.*libnew\.so.*glibc 2\.35,.* has 2\.9: .*use/),
    ]);
    expect(plan({ libraries, image: image({ glibcVersion: '2.34' }) }).warnings[0]).not.toContain('libnew.so');
    expect(plan({ libraries, image: image({ glibcVersion: '2.35' }) }).warnings).toEqual([]);
    expect(plan({ libraries, image: image({ glibcVersion: '' }) }).warnings).toEqual([]);
  });

  test('is not named among many', () => {
    const libraries = Array.from({ length: 40 }, (_, i) => library(`number${i}`, { needsGlibc: '2.40' }));
    expect(plan({ libraries }).warnings).toEqual([
      expect.stringMatching(/libnumber5\.so\.\S+ and 34 more need glibc 2\.40/),
    ]);
  });
});

describe('libraries that have their place already', () => {
  const named = [
    { soname: 'libcuda.so.1', path: '/usr/local/cuda/compat/libcuda.so.1', abi: '64' },
    { soname: 'libdxcore.so', path: '/usr/lib/wsl/lib/libdxcore.so', abi: '64' },
    { soname: 'libdxcore.so', path: '/usr/lib/wsl/drivers/libdxcore.so', abi: '64' },
    { soname: 'libc.so.6', path: '/usr/lib/wsl/lib/libc.so.6', abi: '64' },
  ] as const;

  test('are in the cache, before the placed ones of their names, and the first of several', () => {
    expect(cacheOf(plan({ named }))).toEqual([
      'libdxcore.so 303 /usr/lib/wsl/lib/libdxcore.so',
      'libcuda.so.1 303 /usr/local/cuda/compat/libcuda.so.1',
      'libcuda.so 303 /usr/lib64/libcuda.so',
    ]);
  });

  test('are bound by others, and their directories are in the configuration', () => {
    const planned = plan({ libraries: [], named, extraDirs: ['/usr/lib/wsl/lib'] });
    expect([planned.binds, planned.links, fileAt(planned, dropIn)]).toEqual([[], [], '/usr/lib/wsl/lib\n']);
    expect(cacheOf(planned)).toHaveLength(2);
  });
});

test('without libraries there is nothing to do', () => {
  for (const given of [glibc, image({ libc: 'musl' }), image({ cache: 'damaged' }), undefined]) {
    const planned = plan({ libraries: [], image: given, place: 'private' });
    const nothing = { binds: [], links: [], files: [], warnings: [], env: [] };
    expect(planned).toEqual({ ...nothing, directory: '/usr/local/nvidia/lib64' });
  }
});

test('a library of a subdirectory has its links there and is not in the cache', () => {
  const planned = plan({ libraries: [library('vdpau_nvidia', { subdir: 'vdpau' })] });
  expect(planned.links.map(({ path }) => path)).toEqual(['/usr/lib64/vdpau/libvdpau_nvidia.so.1']);
  expect(planned.binds.map(({ target }) => target)).toEqual([`/usr/lib64/vdpau/libvdpau_nvidia.so.${version}`]);
  expect(cacheOf(planned)).toEqual([]);
});

test('a library without a soname is found by the name of its file', () => {
  const planned = plan({ libraries: [library('own', { soname: '' })] });
  expect(planned.links).toEqual([]);
  expect(cacheOf(planned)).toEqual([`libown.so.${version} 303 /usr/lib64/libown.so.${version}`]);
});

test('of two files of one name the first is placed, and no name leads to it that is of the other', () => {
  const libraries = ['a', 'b'].map((dir) => ({ ...library(dir), source: `/${dir}/libcuda.so.1` }));
  const planned = plan({ libraries });
  expect(planned.binds.map(({ source }) => source)).toEqual(['/a/libcuda.so.1']);
  expect(planned.links.map(({ path }) => path)).toEqual(['/usr/lib64/liba.so.1']);
  expect(cacheOf(planned)).toEqual(['liba.so.1 303 /usr/lib64/liba.so.1']);
});

const anyName = fc.constantFrom('a.so', 'liba.so', 'liba.so.1', 'libGL.so.1', '..', '', 'x/liba.so', 'libb.so.1');
const anyLibrary = fc.record({
  source: fc.tuple(
    fc.constantFrom('/a/', '/b/'),
    anyName.filter((name) => /^[^/.]/.test(name) && !name.includes('/')),
  ),
  soname: anyName,
  links: fc.array(anyName, { maxLength: 3 }),
  abi: fc.constantFrom('64' as const, '32' as const),
  subdir: fc.constantFrom('', 'vdpau'),
  needsGlibc: fc.constant(''),
});

test('no path is used twice, every link leads to a file beside it, and no vendor-neutral name is placed', () => {
  fc.assert(
    fc.property(fc.array(anyLibrary), fc.constantFrom('root' as const, 'private' as const), (given, place) => {
      const libraries = given.map((one) => ({ ...one, source: one.source.join('') }));
      const { binds, links } = plan({ libraries, place });
      const paths = [...binds.map(({ target }) => target), ...links.map(({ path }) => path)];
      expect(new Set(paths).size).toBe(paths.length);
      for (const path of paths) {
        expect(path).toMatch(/^\/usr\/(lib64|lib|local\/nvidia\/lib64|local\/nvidia\/lib)\/(vdpau\/)?[^/]*\.so[^/]*$/);
        expect(path).not.toContain('libGL');
      }
      for (const { path, target } of links) {
        expect(binds.map((bind) => bind.target)).toContain(path.replace(/[^/]*$/, target));
      }
    }),
  );
});

test('libraries that programs of any vendor share are told from those of a driver', () => {
  const shared = ['libGL.so.1', 'libEGL.so.1.1.0', 'libstdc++.so.6', 'libc.so.6', 'ld-linux.so.2', 'libgbm.so.1'];
  const driver = ['libGLX_nvidia.so.0', 'libcuda.so.1', 'libnvidia-opencl.so.1', 'libcudart.so', 'libstdcxx.so.6'];
  expect(shared.filter((name) => !isVendorNeutral(name))).toEqual([]);
  expect(driver.filter(isVendorNeutral)).toEqual([]);
});
