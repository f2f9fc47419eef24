// SPDX-License-Identifier: Apache-2.0
import { readSync } from 'node:fs';
import { describeSystemError, Failure } from '../failure.ts';
import type { ByteSource } from './archive-walk.ts';

/** Headers of small members come in one read, those of large ones cost little more than their own. */
const windowBytes = 16 << 10;

/** Reads an open regular file, which messages call `what`, at offsets. Reading throws Failure. */
export function fileSource(descriptor: number, what: string): ByteSource {
  const window = Buffer.allocUnsafe(windowBytes);
  let start = 0;
  let end = 0;
  return {
    read(offset, sizeBytes) {
      if (sizeBytes > windowBytes) {
        const bytes = Buffer.allocUnsafe(sizeBytes);
        return bytes.subarray(0, readFully(descriptor, bytes, offset, what));
      }
      if (offset < start || offset + sizeBytes > end) {
        start = offset;
        end = offset + readFully(descriptor, window, offset, what);
      }
      return window.subarray(offset - start, Math.min(offset - start + sizeBytes, end - start));
    },
  };
}

function readFully(descriptor: number, bytes: Buffer, offset: number, what: string): number {
  let filled = 0;
  try {
    while (filled < bytes.length) {
      const count = readSync(descriptor, bytes, filled, bytes.length - filled, offset + filled);
      if (count === 0) break;
      filled += count;
    }
  } catch (error) {
    throw new Failure(`cannot read ${what}: ${describeSystemError(error)}`, { cause: error });
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
