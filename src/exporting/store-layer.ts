// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { PassThrough, pipeline, Readable } from 'node:stream';
import { constants, createZstdCompress } from 'node:zlib';
import type { Descriptor } from '../source/image.ts';
import { mediaTypes } from '../source/manifest.ts';
import { cutIntoBlocks, gzipInBlocks } from './gzip-blocks.ts';

export type LayerCompression = 'gzip' | 'zstd' | 'none';

/** A layer that was written. */
export interface StoredLayer extends Descriptor {
  /** Digest of the uncompressed tar. */
  readonly diffId: string;
}

export interface StoreOptions {
  readonly compression: LayerCompression;
  /** Bytes of the uncompressed tar so far. */
  readonly onProgress?: ((tarBytes: number) => void) | undefined;
}

const zstdLevel = 3;

/**
 * Compresses a layer and hands its bytes on, one piece after the other. The same tar gives the same bytes (with one version of Node's zlib).
 * Errors of the tar and of `write` pass through; the tar is destroyed then.
 */
export async function storeLayer(
  tar: Readable,
  write: (chunk: Buffer) => Promise<void> | void,
  { compression, onProgress }: StoreOptions,
): Promise<StoredLayer> {
  const diffHash = createHash('sha256');
  const hash = createHash('sha256');
  let sizeBytes = 0;
  let tarBytes = 0;
  async function* hashing(): AsyncGenerator<Buffer> {
    for await (const chunk of tar as AsyncIterable<Buffer>) {
      diffHash.update(chunk);
      tarBytes += chunk.length;
      onProgress?.(tarBytes);
      yield chunk;
    }
  }
  try {
    for await (const chunk of compress(hashing(), compression)) {
      hash.update(chunk);
      sizeBytes += chunk.length;
      await write(chunk);
    }
  } finally {
    tar.destroy();
  }
  const suffix = compression === 'none' ? '' : `+${compression}`;
  return {
    mediaType: `${mediaTypes.ociLayer}${suffix}`,
    digest: `sha256:${hash.digest('hex')}`,
    sizeBytes,
    diffId: `sha256:${diffHash.digest('hex')}`,
  };
}

function compress(source: AsyncGenerator<Buffer>, compression: LayerCompression): AsyncIterable<Buffer> {
  if (compression === 'none') return source;
  if (compression === 'gzip') return gzipInBlocks(source);
  const { ZSTD_c_compressionLevel: level, ZSTD_c_checksumFlag: checksum } = constants;
  const packer = createZstdCompress({ params: { [level]: zstdLevel, [checksum]: 1 }, chunkSize: 256 << 10 });
  const result = new PassThrough({ highWaterMark: 1 << 20 });
  // Errors reach the reader through the last stream.
  pipeline(Readable.from(sameBlocks(source), { objectMode: false }), packer, result, () => {});
  return result;
}

/** What zstd makes of bytes depends on how they are cut. */
async function* sameBlocks(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const { block } of cutIntoBlocks(source)) if (block.length > 0) yield block;
}
