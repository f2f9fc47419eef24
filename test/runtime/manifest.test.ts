// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import { readManifest } from '../../runtime/manifest.ts';
import { fromText } from '../../src/format/bytes.ts';
import type { LoaderFacts, RootfsFacts } from '../../src/format/manifest.ts';
import { sampleManifest } from '../builder/support.ts';

const loader: LoaderFacts = {
  libc: 'glibc',
  glibcVersion: '2.36',
  cache: 'AwA=',
  muslPath: '/größe\n',
  directories: ['/usr/lib64'],
  cuda: '/opt/größe/libcudart.so.12',
  compat: ['libcuda.so.1'],
};

/** What the reader makes of a manifest whose facts about the root filesystem are changed. */
function read(change: Readonly<Record<string, unknown>>): RootfsFacts | undefined {
  const manifest = { ...sampleManifest, rootfs: { ...sampleManifest.rootfs, ...change } };
  return readManifest(fromText(JSON.stringify(manifest))).rootfs;
}

describe("the loader's facts in a manifest", () => {
  test('are read, with their texts as bytes', () => {
    const text = fromText('/größe\n');
    expect(read({ loader })?.loader).toEqual({ ...loader, muslPath: text, cuda: fromText(loader.cuda) });
  });

  test.each(['', 'musl'])('may name the C library "%s"', (libc) => {
    expect(read({ loader: { ...loader, libc } })?.loader?.libc).toBe(libc);
  });

  test('are missing in files of older versions', () => {
    const older = read({ loader: undefined, homes: undefined, skeleton: undefined });
    expect(older).toMatchObject({ shell: true });
    expect(older).not.toHaveProperty('loader');
  });

  test('may hold keys of a later version', () => {
    expect(read({ loader: { ...loader, later: 1 } })?.loader).toHaveProperty('later', 1);
  });

  test.each<[string, unknown]>([
    ['null', null],
    ['a text', 'glibc'],
    ['a list', []],
    ['without the C library', { ...loader, libc: undefined }],
    ['with another C library', { ...loader, libc: 'bionic' }],
    ['with a number for the version', { ...loader, glibcVersion: 2.36 }],
    ['with null for the cache', { ...loader, cache: null }],
    ["without musl's path", { ...loader, muslPath: undefined }],
    ['with one text for the directories', { ...loader, directories: '/lib' }],
    ['with a number among the directories', { ...loader, directories: ['/lib', 1] }],
    ['with a list for the library of CUDA', { ...loader, cuda: [] }],
    ['without the compatibility libraries', { ...loader, compat: undefined }],
  ])('are refused when they are %s', (_title, value) => {
    expect(() => read({ loader: value })).toThrow(
      new Failure("the manifest's rootfs.loader is not what this version of bundler understands"),
    );
  });
});
