// SPDX-License-Identifier: Apache-2.0
import { closeSync, createReadStream, fstatSync, open, read, type Stats } from 'node:fs';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { explain } from '../failure.ts';

/** An open file by its descriptor. (A FileHandle that nobody closes is an error of its own, which would hide what really happened.) */
export interface OpenFile {
  readonly descriptor: number;
  readonly status: Stats;
  close(): void;
}

const chunkBytes = 256 << 10;

/** Opens a file for reading; a pipe waits for its writer. Throws Failure. */
export async function openFile(path: string): Promise<OpenFile> {
  return adoptDescriptor(await explain(`cannot read ${path}`, () => promisify(open)(path, 'r')));
}

/** Takes over an open descriptor. */
export function adoptDescriptor(descriptor: number): OpenFile {
  let isOpen = true;
  return {
    descriptor,
    status: fstatSync(descriptor),
    close() {
      if (isOpen) closeSync(descriptor);
      isOpen = false;
    },
  };
}

/** All bytes of a pipe, a device or a file from where it stands; closes it in the end. */
export function readOnce(file: OpenFile): Readable {
  return createReadStream('', { fd: file.descriptor, highWaterMark: chunkBytes });
}

/**
 * Bytes of an open regular file as a stream, which leaves the file open and its position alone. (A ReadStream closes its descriptor when
 * it is destroyed, whatever autoClose says.)
 */
export function readRange({ descriptor }: Pick<OpenFile, 'descriptor'>, offset: number, sizeBytes: number): Readable {
  let at = offset;
  const end = offset + sizeBytes;
  return new Readable({
    highWaterMark: chunkBytes,
    read() {
      if (at >= end) {
        this.push(null);
        return;
      }
      const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, end - at));
      read(descriptor, buffer, 0, buffer.length, at, (error, count) => {
        if (error !== null) {
          this.destroy(error);
          return;
        }
        // A file that became shorter ends early; whoever verifies it says so.
        at = count === 0 ? end : at + count;
        this.push(count === 0 ? null : buffer.subarray(0, count));
      });
    },
  });
}
