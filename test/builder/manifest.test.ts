// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { decodeManifest } from '../../src/bundle/manifest.ts';
import { FormatError } from '../../src/format/format-error.ts';
import type { RootfsFacts } from '../../src/format/manifest.ts';
import { sampleManifest } from './support.ts';

const changedRootfs = (change: Readonly<Record<string, unknown>>): Buffer =>
  changed((manifest) => void Object.assign(manifest.rootfs as object, change));
const changedLoader = (change: Readonly<Record<string, unknown>>): Buffer =>
  changedRootfs({ loader: { ...sampleManifest.rootfs?.loader, ...change } });

const changed = (change: (manifest: Record<string, unknown>) => void): Buffer => {
  const copy = structuredClone(sampleManifest) as unknown as Record<string, unknown>;
  change(copy);
  return Buffer.from(JSON.stringify(copy));
};

describe('the manifest', () => {
  test('is read as it was written', () => {
    expect(decodeManifest(Buffer.from(JSON.stringify(sampleManifest)))).toEqual(sampleManifest);
  });

  test('may lack what only a payload has, and hold keys of a later version', () => {
    const bytes = changed((manifest) => {
      for (const key of ['image', 'rootfs', 'config', 'configuration']) delete manifest[key];
      manifest.later = 1;
    });
    const { image, rootfs, config, configuration, ...rest } = sampleManifest;
    expect(image && rootfs && config && configuration).toBeDefined();
    expect(decodeManifest(bytes)).toEqual(rest);
  });

  test('of an older version has fewer facts about the root filesystem', () => {
    const older = { homes: undefined, skeleton: undefined, loader: undefined };
    const { homes, skeleton, loader, ...rest } = sampleManifest.rootfs as RootfsFacts;
    expect(homes && skeleton && loader).toBeDefined();
    expect(decodeManifest(changedRootfs(older)).rootfs).toEqual(rest);
    expect(decodeManifest(changedLoader({ later: 1 }))).toEqual(sampleManifest);
  });

  test.each<[string, Buffer, RegExp]>([
    ['not JSON', Buffer.from('{'), /not JSON/],
    ['not UTF-8', Buffer.from([0x22, 0xff, 0x22]), /not JSON/],
    ['a list', Buffer.from('[]'), /content/],
    ['of another version', changed((m) => void Object.assign(m, { manifestVersion: 2 })), /manifestVersion/],
    ['without a name', changed((m) => void Object.assign(m, { name: undefined })), /name/],
    ['with a number for a text', changed((m) => void Object.assign(m, { description: 1 })), /description/],
    [
      'with a negative time',
      changed((m) => void Object.assign(m.provenance as object, { createdSeconds: -1 })),
      /createdSeconds/,
    ],
    [
      'with a digest that is none',
      changed((m) => void Object.assign(m.image as object, { digest: 'x' })),
      /image\.digest/,
    ],
    [
      'with a configuration of nobody',
      changed((m) => void Object.assign(m, { configuration: { settings: {}, files: [{ from: 'me' }] } })),
      /configuration\.files/,
    ],
    ['with a home that is a number', changedRootfs({ homes: [1] }), /rootfs\.homes/],
    ['with a skeleton without modes', changedRootfs({ skeleton: [{ path: 'x', content: '' }] }), /rootfs\.skeleton/],
    ["with a text for the loader's facts", changedRootfs({ loader: 'glibc' }), /rootfs\.loader/],
    ['with null for them', changedRootfs({ loader: null }), /rootfs\.loader/],
    ['with a C library that nobody knows', changedLoader({ libc: 'bionic' }), /loader\.libc/],
    ['with a number for a version', changedLoader({ glibcVersion: 2.36 }), /loader\.glibcVersion/],
    ['without a cache', changedLoader({ cache: undefined }), /loader\.cache/],
    ['with one text for directories', changedLoader({ directories: '/lib' }), /loader\.directories/],
    ['with null among the libraries', changedLoader({ compat: [null] }), /loader\.compat/],
    ['without options', changed((m) => void Object.assign(m, { options: undefined })), /options/],
  ])('is refused when it is %s', (_title, bytes, message) => {
    expect(() => decodeManifest(bytes)).toThrow(FormatError);
    expect(() => decodeManifest(bytes)).toThrow(message);
  });
});
