// SPDX-License-Identifier: Apache-2.0
import { readSync } from 'node:fs';
import type { ByteSource } from './archive-walk.ts';

/** Headers of small members come in one read, those of large ones cost little more than their own. */
const windowBytes = 16 << 10;

/** Reads an open regular file at offsets. */
export function fileSource(descriptor: number): ByteSource {
  const window = Buffer.allocUnsafe(windowBytes);
  let start = 0;
  let end = 0;
  return {
    read(offset, sizeBytes) {
      if (sizeBytes > windowBytes) {
        const bytes = Buffer.allocUnsafe(sizeBytes);
        return bytes.subarray(0, readFully(descriptor, bytes, offset));
      }
      if (offset < start || offset + sizeBytes > end) {
        start = offset;
        end = offset + readFully(descriptor, window, offset);
      }
      return window.subarray(offset - start, Math.min(offset - start + sizeBytes, end - start));
    },
  };
}

function readFully(descriptor: number, bytes: Buffer, offset: number): number {
  let filled = 0;
  while (filled < bytes.length) {
    const count = readSync(descriptor, bytes, filled, bytes.length - filled, offset + filled);
    if (count === 0) break;
    filled += count;
  }
  return filled;
}

/** Thrown by a source when asked for what lies beyond the bytes that it has. */
export class BeyondHead extends Error {
  override readonly name = 'BeyondHead';
}

/** Reads the beginning of a stream; `whole` says that there is no more. */
export function headSource(head: Buffer, whole: boolean): ByteSource {
  return {
    read(offset, sizeBytes) {
      if (offset + sizeBytes > head.length && !whole) throw new BeyondHead('not in the first bytes');
      return head.subarray(Math.min(offset, head.length), Math.min(offset + sizeBytes, head.length));
    },
  };
}
