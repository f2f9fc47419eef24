// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromBuffer, fromText } from '../../src/format/bytes.ts';
import { writeLdCache } from '../../src/format/ld-cache.ts';
import { readLdCacheText } from '../../src/format/ld-cache-text.ts';
import type { LoaderFacts } from '../../src/format/manifest.ts';
import type { Fact } from '../../src/format/wire.ts';
import { loaderQuestion, readLoaderFacts } from '../../src/image/loader-facts.ts';

const isFile = (path: string): Fact => [`type.${path}`, 'file 0755 120000'];
const isDirectory = (path: string): Fact => [`type.${path}`, 'dir 0755'];
const glibc = isFile('/lib64/ld-linux-x86-64.so.2');
const musl = isFile('/lib/ld-musl-x86_64.so.1');
const libcWith = (...versions: string[]): Fact => [
  'content./lib/x86_64-linux-gnu/libc.so.6',
  `\x7fELF\0${versions.map((version) => `GLIBC_${version}\0`).join('')}rest`,
];

const nothing: LoaderFacts = {
  libc: '',
  glibcVersion: '',
  cache: '',
  muslPath: '',
  directories: [],
  cuda: '',
  compat: [],
};

test('of an image without libraries there is nothing to say', () => {
  expect(readLoaderFacts([])).toEqual(nothing);
  const looks: Fact[] = loaderQuestion.looks.map((path) => [`type.${path}`, 'none']);
  expect(readLoaderFacts([...looks, [`type.${loaderQuestion.heads[0]}`, 'none']])).toEqual(nothing);
});

describe('the C library', () => {
  test.each<[LoaderFacts['libc'], string, Fact[]]>([
    ['glibc', 'its loader is there', [glibc]],
    ['glibc', 'its loader for aarch64 is there', [isFile('/lib/ld-linux-aarch64.so.1')]],
    ['musl', 'its loader is there', [musl]],
    ['musl', 'its loader for aarch64 is there', [isFile('/lib/ld-musl-aarch64.so.1')]],
    ['musl', 'gcompat has put a loader of the other name beside it', [glibc, musl]],
    ['musl', 'libc.so.6 is a symlink to it', [glibc, musl, ['content./lib/libc.so.6', '\x7fELF\0printf\0GLIBC_\0']]],
    ['glibc', 'musl is installed beside it', [glibc, musl, libcWith('2.2.5', '2.36')]],
    ['', 'a loader is a symlink that leads nowhere', [['type./lib64/ld-linux-x86-64.so.2', 'link /gone']]],
    ['', 'a loader is a directory', [isDirectory('/lib/ld-musl-x86_64.so.1')]],
    ['', 'there is a libc.so.6 without a loader', [libcWith('2.36')]],
  ])('is "%s" when %s', (libc, _when, answer) => {
    expect(readLoaderFacts(answer).libc).toBe(libc);
  });

  const versionOf = (...facts: Fact[]): string => readLoaderFacts([glibc, ...facts]).glibcVersion;

  test.each([
    ['2.36', ['2.2.5', '2.36', '2.4', '2.10', '2.3.4']],
    ['2.10', ['2.9', '2.10', '2.2.99']],
    ['2.2.6', ['2.2', '2.2.6', '2.2.5']],
    ['2.3', ['2.3', '2.2.6']],
  ])('is of version %s where it defines %j', (newest, versions) => {
    expect(versionOf(libcWith(...versions))).toBe(newest);
    expect(versionOf(libcWith(...versions.reverse()))).toBe(newest);
  });

  test('is as new as the newest version, however many there are', () => {
    const number = fc.integer({ min: 0, max: 150 });
    const version = fc.tuple(number, fc.option(number, { nil: undefined }));
    fc.assert(
      fc.property(fc.array(version, { minLength: 1 }), (versions) => {
        const texts = versions.map((parts) => ['2', ...parts.filter((part) => part !== undefined)].join('.'));
        const rank = (text: string) =>
          text.split('.').reduce((sum, part, at) => sum + (Number(part) + 1) * 1000 ** (2 - at), 0);
        const newest = texts.reduce((one, other) => (rank(other) > rank(one) ? other : one));
        expect(versionOf(libcWith(...texts))).toBe(newest);
      }),
    );
  });

  test('is of an unknown version where no symbol version is told', () => {
    expect(versionOf(libcWith('PRIVATE', 'ABI_DT_RELR', '2.', '3.1', '2.1.2.3'))).toBe('');
    expect(versionOf(['content./lib64/libc.so.6', 'GNU C Library (GLIBC 2.36) GLIBC_2.36'])).toBe('');
  });

  test('is looked for in every directory of a 64-bit loader, and in no other', () => {
    for (const directory of ['/usr/lib/x86_64-linux-gnu', '/lib/aarch64-linux-gnu', '/lib64', '/usr/lib'])
      expect(loaderQuestion.heads).toContain(`${directory}/libc.so.6`);
    expect(loaderQuestion.heads.filter((path) => /i386|32|nvidia/.test(path))).toEqual([]);
    expect(versionOf(['content./usr/lib64/libc.so.6', 'GLIBC_2.34\0'])).toBe('2.34');
  });
});

describe("the loader's cache", () => {
  const cacheOf = (bytes: string) => readLoaderFacts([['content./etc/ld.so.cache', bytes]]).cache;

  test('is told as text, from which the same entries can be read', () => {
    const kind = { flags: 0x303, osVersion: 0, hwcap: 0n, hwcapName: '' };
    const name = fc.stringMatching(/^[a-zA-Z+_.0-9-]{1,12}$/);
    const path = fc.tuple(fc.constantFrom('/lib', '/usr/lib64', '/opt/a b'), name).map((parts) => parts.join('/'));
    const flags = fc.constantFrom(0x303, 3, 0xa03);
    const entry = fc.record({ name, path, flags }).map((own) => ({ ...kind, ...own }));
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 20 }), (entries) => {
        const text = cacheOf(fromBuffer(writeLdCache(entries, 'x')));
        expect(readLdCacheText(fromText(text))).toEqual(entries);
      }),
    );
  });

  test('of another format is told apart from none', () => {
    expect(cacheOf('')).toBe('');
    expect(readLdCacheText(cacheOf('ld.so-1.7.0'))).toBeNull();
  });
});

test("musl's search path is that of the loader that is there", () => {
  const paths: Fact[] = [
    ['content./etc/ld-musl-x86_64.path', '/lib:/usr/l\xc3\xb6cal/lib\n'],
    ['content./etc/ld-musl-aarch64.path', '/other\n'],
  ];
  expect(readLoaderFacts([...paths, musl]).muslPath).toBe('/lib:/usr/löcal/lib\n');
  expect(readLoaderFacts([...paths, isFile('/lib/ld-musl-aarch64.so.1')]).muslPath).toBe('/other\n');
  expect(readLoaderFacts([...paths, glibc]).muslPath).toBe('');
});

test('the usual directories are those that are there, in an order that does not depend on the answer', () => {
  const answer: Fact[] = ['/lib', '/usr/local/nvidia', '/usr/lib/x86_64-linux-gnu', '/opt/lib'].map(isDirectory);
  const { directories } = readLoaderFacts([...answer, isFile('/lib32'), ['type./lib64', 'link usr/lib64']]);
  expect(directories).toEqual(['/usr/lib/x86_64-linux-gnu', '/lib', '/usr/local/nvidia']);
});

test("CUDA is told by the library that tells most, not by the walk's first", () => {
  const stub: Fact = ['found.libcuda.so', '/usr/local/cuda/lib64/stubs/libcuda.so'];
  const runtime: Fact[] = [
    ['found.libcudart.so', '/opt/\xc3\xa4/libcudart.so.12'],
    ['found.libcudart.so', '/usr/lib/libcudart.so'],
  ];
  expect(readLoaderFacts([stub]).cuda).toBe('/usr/local/cuda/lib64/stubs/libcuda.so');
  expect(readLoaderFacts([stub, ...runtime]).cuda).toBe('/opt/ä/libcudart.so.12');
  expect(readLoaderFacts([['found.libc', '/lib/libc.so.6']]).cuda).toBe('');
});

test('of the compatibility directory only libraries are named', () => {
  const names = ['libcuda.so', 'libcuda.so.550.54.15', 'README', 'libcuda.sofa', 'lib.so', 'xlibcuda.so.1'];
  const answer = names.map((name): Fact => ['name./usr/local/cuda/compat', name]);
  expect(readLoaderFacts([...answer, ['name./home', 'libann.so']]).compat).toEqual(names.slice(0, 2));
});
