// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { decodeManifest } from '../../src/bundle/manifest.ts';
import { FormatError } from '../../src/format/format-error.ts';
import { sampleManifest } from './support.ts';

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
    ['without options', changed((m) => void Object.assign(m, { options: undefined })), /options/],
  ])('is refused when it is %s', (_title, bytes, message) => {
    expect(() => decodeManifest(bytes)).toThrow(FormatError);
    expect(() => decodeManifest(bytes)).toThrow(message);
  });
});
