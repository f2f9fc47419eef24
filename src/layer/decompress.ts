// SPDX-License-Identifier: Apache-2.0
import type { Duplex, Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { Failure } from '../failure.ts';

/** With pieces of 16 KiB, Node's default, gunzip takes more than twice as long. */
const pieceBytes = 1 << 20;

export type Compression = 'none' | 'gzip' | 'zstd';

/**
 * What a stream is compressed with, by its first bytes (RFC 1952; RFC 8878, also when it begins with a skippable frame). Throws Failure for
 * compressions that are recognised but cannot be undone.
 */
export function detectCompression(head: Buffer): Compression {
  if (head[0] === 0x1f && head[1] === 0x8b) return 'gzip';
  if (head.length >= 4) {
    const magic = head.readUInt32LE(0);
    if (magic === 0xfd2fb528 || (magic & 0xfffffff0) >>> 0 === 0x184d2a50) return 'zstd';
  }
  const others: [string, string][] = [
    ['xz', '\xfd7zXZ\0'],
    ['bzip2', 'BZh'],
    ['lzip', 'LZIP'],
    ['lz4', '\x04"M\x18'],
  ];
  for (const [name, magic] of others) {
    if (head.toString('latin1', 0, magic.length) === magic) {
      throw new Failure(`it is compressed with ${name}, which bundler cannot read`, {
        hint: 'decompress it first, or build the image with gzip or zstd layers',
      });
    }
  }
  return 'none';
}

/** How many bytes detectCompression needs. */
export const headBytes = 6;

/**
 * The stream decompressed, in pieces of up to 1 MiB; several gzip members or zstd frames count as one stream. Errors of the source come out of the result.
 * Throws Failure for compressions that cannot be undone.
 */
export async function decompress(source: Readable): Promise<Readable> {
  const head = await peek(source, headBytes);
  const compression = detectCompression(head);
  if (compression === 'none') return source;
  const transform: Duplex =
    compression === 'gzip' ? createGunzip({ chunkSize: pieceBytes }) : createZstdDecompress({ chunkSize: pieceBytes });
  source.once('error', (error) => transform.destroy(error));
  transform.once('close', () => source.destroy());
  return source.pipe(transform);
}

/** The first bytes of a stream, which stay in it. Fewer when it is shorter. */
async function peek(source: Readable, sizeBytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let have = 0;
  while (have < sizeBytes) {
    const part = await nextChunk(source);
    if (part === null) break;
    parts.push(part);
    have += part.length;
  }
  const all = Buffer.concat(parts);
  if (all.length > 0) source.unshift(all);
  return all.subarray(0, sizeBytes);
}

function nextChunk(source: Readable): Promise<Buffer | null> {
  const ready = source.read() as Buffer | null;
  if (ready !== null) return Promise.resolve(ready);
  if (source.readableEnded) return Promise.resolve(null);
  if (source.errored) return Promise.reject(source.errored);
  return new Promise((resolve, reject) => {
    const settle = (action: () => void): void => {
      source.off('readable', onReadable);
      source.off('end', onEnd);
      source.off('error', onError);
      action();
    };
    const onReadable = (): void => {
      const chunk = source.read() as Buffer | null;
      if (chunk !== null) settle(() => resolve(chunk));
    };
    const onEnd = (): void => settle(() => resolve(null));
    const onError = (error: Error): void => settle(() => reject(error));
    source.on('readable', onReadable);
    source.once('end', onEnd);
    source.once('error', onError);
  });
}
