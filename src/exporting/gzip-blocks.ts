// SPDX-License-Identifier: Apache-2.0
import { promisify } from 'node:util';
import { constants, crc32, deflateRaw } from 'node:zlib';

/** Large enough that the boundaries cost nothing (0.1 %), small enough to keep every core busy. */
const blockBytes = 512 << 10;
const windowBytes = 32 << 10;
/** Blocks under way at a time; zlib's threads are libuv's, four unless the user says otherwise. */
const maxPending = 8;

const deflateBlock = promisify<Buffer, object, Buffer>(deflateRaw);
/** RFC 1952: deflate, no name, no time, unknown system: nothing that differs from run to run. */
const header = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);

/**
 * Compresses to one gzip member with several threads: blocks of a fixed size, each with the end of the one before as its dictionary. The bytes that come out
 * depend only on those that go in, not on how they are cut.
 */
export async function* gzipInBlocks(source: AsyncIterable<Buffer>, level = 6): AsyncGenerator<Buffer> {
  const pending: Promise<Buffer>[] = [];
  let checksum = 0;
  let sizeBytes = 0;
  let dictionary: Buffer | undefined;
  yield header;
  try {
    for await (const { block, last } of cutIntoBlocks(source)) {
      checksum = crc32(block, checksum);
      sizeBytes += block.length;
      const finishFlush = last ? constants.Z_FINISH : constants.Z_SYNC_FLUSH;
      const work = deflateBlock(block, {
        level,
        finishFlush,
        chunkSize: blockBytes,
        ...(dictionary && { dictionary }),
      });
      // Awaited in its turn; until then an error is nobody's.
      work.catch(() => {});
      pending.push(work);
      dictionary = block.subarray(Math.max(0, block.length - windowBytes));
      if (pending.length >= maxPending) yield (await pending.shift()) as Buffer;
    }
    for (let next = pending.shift(); next !== undefined; next = pending.shift()) yield await next;
  } finally {
    await Promise.allSettled(pending);
  }
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(checksum, 0);
  trailer.writeUInt32LE(sizeBytes % 2 ** 32, 4);
  yield trailer;
}

/** Blocks of a fixed size; the last may be shorter, even empty. Blocks are never written again. */
export async function* cutIntoBlocks(source: AsyncIterable<Buffer>): AsyncGenerator<{ block: Buffer; last: boolean }> {
  let block = Buffer.allocUnsafe(blockBytes);
  let filled = 0;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; ) {
      if (filled === blockBytes) {
        yield { block, last: false };
        block = Buffer.allocUnsafe(blockBytes);
        filled = 0;
      }
      const part = Math.min(blockBytes - filled, chunk.length - at);
      chunk.copy(block, filled, at, at + part);
      filled += part;
      at += part;
    }
  }
  yield { block: block.subarray(0, filled), last: true };
}
