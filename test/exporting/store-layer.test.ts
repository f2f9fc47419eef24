// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { gzipInBlocks } from '../../src/exporting/gzip-blocks.ts';
import { type LayerCompression, storeLayer } from '../../src/exporting/store-layer.ts';
import { streamOf } from './support.ts';

/** Text and noise, of more than a few blocks and no round size. */
const content = Buffer.concat([
  ...Array.from({ length: 30 }, (_, i) => Buffer.from(`line ${i} of the text\n`.repeat(3000))),
  randomBytes(700_001),
]);
const sha256 = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const store = async (bytes: Buffer, compression: LayerCompression, pieceBytes?: number) => {
  const chunks: Buffer[] = [];
  const layer = await storeLayer(streamOf(bytes, pieceBytes), (chunk) => void chunks.push(chunk), { compression });
  return { layer, stored: Buffer.concat(chunks) };
};
const unpack = { gzip: gunzipSync, zstd: zstdDecompressSync, none: (bytes: Buffer) => bytes };

describe.each(['gzip', 'zstd', 'none'] as const)('a layer stored with %s', (compression) => {
  test('is what its descriptor says', async () => {
    const { layer, stored } = await store(content, compression);
    const suffix = { gzip: '+gzip', zstd: '+zstd', none: '' }[compression];
    expect(layer).toEqual({
      mediaType: `application/vnd.oci.image.layer.v1.tar${suffix}`,
      digest: sha256(stored),
      sizeBytes: stored.length,
      diffId: sha256(content),
    });
    expect(unpack[compression](stored).equals(content)).toBe(true);
    if (compression !== 'none') execFileSync(compression, ['-t'], { input: stored });
  });

  test('is the same however it comes in pieces', async () => {
    const { layer } = await store(content, compression);
    for (const pieceBytes of [4096, 65_536, 512 << 10, 1 << 30])
      expect((await store(content, compression, pieceBytes)).layer).toEqual(layer);
  });

  test('may be empty', async () => {
    const { stored } = await store(Buffer.alloc(0), compression);
    expect(unpack[compression](stored)).toHaveLength(0);
  });

  test('fails as its tar or its place fails, and lets go of the tar', async () => {
    const broken = new Readable({
      read() {
        this.push(content.subarray(0, 600_000));
        this.destroy(new Error('the layer is damaged'));
      },
    });
    await expect(storeLayer(broken, () => {}, { compression })).rejects.toThrow('the layer is damaged');
    const endless = new Readable({
      read() {
        this.push(content);
      },
    });
    const full = () => {
      throw new Error('the disk is full');
    };
    await expect(storeLayer(endless, full, { compression })).rejects.toThrow('the disk is full');
    expect(endless.destroyed).toBe(true);
  });
});

test('gzip of exactly one block or several is whole', async () => {
  for (const sizeBytes of [1, (512 << 10) - 1, 512 << 10, (512 << 10) + 1, 1 << 20]) {
    const chunks: Buffer[] = [];
    for await (const chunk of gzipInBlocks(Readable.from([content.subarray(0, sizeBytes)]))) chunks.push(chunk);
    expect(gunzipSync(Buffer.concat(chunks)).equals(content.subarray(0, sizeBytes))).toBe(true);
  }
});
