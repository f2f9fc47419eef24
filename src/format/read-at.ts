// SPDX-License-Identifier: Apache-2.0
import { readSync } from 'node:fs';

/** Reads sizeBytes at an offset; gives fewer bytes only where the file ends. */
export type ReadAt = (offset: number, sizeBytes: number) => Buffer;

/** A ReadAt over an open descriptor: pread(2), repeated after short reads. Throws the system's error. */
export function readAtDescriptor(descriptor: number): ReadAt {
  return (offset, sizeBytes) => {
    const buffer = Buffer.allocUnsafe(sizeBytes);
    let done = 0;
    while (done < sizeBytes) {
      const count = readSync(descriptor, buffer, done, sizeBytes - done, offset + done);
      if (count === 0) break;
      done += count;
    }
    return buffer.subarray(0, done);
  };
}

/** A ReadAt over bytes in memory. */
export function readAtBuffer(bytes: Uint8Array): ReadAt {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return (offset, sizeBytes) =>
    buffer.subarray(Math.min(offset, buffer.length), Math.min(offset + sizeBytes, buffer.length));
}
