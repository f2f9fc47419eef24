// SPDX-License-Identifier: Apache-2.0
import { readSync, writeSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { FormatError } from '../format/format-error.ts';

/**
 * A multiple of a hash tree's leaf, small enough to stay in the CPU's cache between reading, hashing and writing: measured
 * faster than larger pieces and than reading and writing in other threads.
 */
const chunkSizeBytes = 256 << 10;
/** After so much the event loop gets its turn, so that a signal or a child is not kept waiting. */
const yieldEveryBytes = 8 << 20;

export interface Range {
  readonly offset: number;
  readonly sizeBytes: number;
}

/**
 * Reads a range of an open file in order, in chunks that begin at multiples of 256 KiB, and hands each to `each` with its offset
 * in the range. The chunk is overwritten afterwards. Throws FormatError when the file ends early, else the system's error.
 */
export async function readChunks(
  descriptor: number,
  range: Range,
  each: (chunk: Buffer, offset: number) => void,
): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(chunkSizeBytes, range.sizeBytes));
  for (let at = 0; at < range.sizeBytes; at += chunkSizeBytes) {
    const chunk = buffer.subarray(0, Math.min(chunkSizeBytes, range.sizeBytes - at));
    readExactly(descriptor, chunk, range.offset + at);
    each(chunk, at);
    if ((at + chunkSizeBytes) % yieldEveryBytes === 0) await setImmediate();
  }
}

/** Fills a buffer from an offset of a file. Throws FormatError when the file ends before. */
export function readExactly(descriptor: number, buffer: Buffer, offset: number): void {
  let done = 0;
  while (done < buffer.length) {
    const count = readSync(descriptor, buffer, done, buffer.length - done, offset + done);
    if (count === 0) throw new FormatError(`the file ended at ${offset + done} bytes while it was read`);
    done += count;
  }
}

/** Writes all of a buffer at an offset. */
export function writeExactly(descriptor: number, data: Uint8Array, offset: number): void {
  let done = 0;
  while (done < data.length) done += writeSync(descriptor, data, done, data.length - done, offset + done);
}
