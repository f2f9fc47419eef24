// SPDX-License-Identifier: Apache-2.0
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { readLayer } from '../../src/layer/read-layer.ts';
import { digestOf, verifying } from '../../src/source/digest.ts';
import type { Layer } from '../../src/source/image.ts';
import { makeRawTar } from '../support/raw-tar.ts';

const wrong = `sha256:${'0'.repeat(64)}`;
const visitor = { entry: () => false, data() {}, hole() {}, end() {} };

/** A layer of these bytes; counts how often it is opened. */
function makeLayer(bytes: Buffer, digest: string): Layer & { opened: number } {
  const layer = {
    digest,
    sizeBytes: bytes.length,
    opened: 0,
    async open() {
      layer.opened += 1;
      return verifying(Readable.from([bytes]), { digest, sizeBytes: bytes.length }, 'the layer');
    },
  };
  return layer;
}

test('a layer that is refused before its end is read to it, as its digest tells more', async () => {
  for (const bytes of [Buffer.alloc(2048, 'x'), gzipSync(Buffer.alloc(2048, 'x'))]) {
    const layer = makeLayer(bytes, wrong);
    await expect(readLayer(layer, visitor, async () => {})).rejects.toThrow('does not match its digest');
    expect(layer.opened).toBe(2);
  }
});

test('a layer is not read again when it was the reader that failed', async () => {
  const tar = makeRawTar([{ name: 'x' }]);
  const layer = makeLayer(tar, digestOf(tar));
  const full = () => Promise.reject(new Error('no space left'));
  await expect(readLayer(layer, visitor, full)).rejects.toThrow('no space left');
  expect(layer.opened).toBe(1);
});
