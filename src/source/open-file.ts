// SPDX-License-Identifier: Apache-2.0
import { closeSync, fstatSync, open, read, type Stats } from 'node:fs';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { describeSystemError, explain, Failure } from '../failure.ts';

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

/** All bytes of a pipe, a device or a file from where it stands; closes it in the end. Errors of the stream are Failures that say `what` was read. */
export function readOnce(file: OpenFile, what: string): Readable {
  return readDescriptor(file.descriptor, what, null, file.close);
}

/**
 * Bytes of an open regular file as a stream, which leaves the file open and its position alone. (A ReadStream closes its descriptor when
 * it is destroyed, whatever autoClose says.) Errors of the stream are Failures that say `what` was read.
 */
export function readRange(
  { descriptor }: Pick<OpenFile, 'descriptor'>,
  offset: number,
  sizeBytes: number,
  what: string,
): Readable {
  return readDescriptor(descriptor, what, { offset, end: offset + sizeBytes });
}

/** range null: from where it stands to its end. */
function readDescriptor(
  descriptor: number,
  what: string,
  range: { readonly offset: number; readonly end: number } | null,
  close: () => void = () => {},
): Readable {
  let at = range?.offset ?? null;
  let finishReading: (() => void) | null = null;
  let reading = false;
  return new Readable({
    highWaterMark: chunkBytes,
    read() {
      const leftBytes = range === null || at === null ? chunkBytes : range.end - at;
      if (leftBytes <= 0) {
        this.push(null);
        return;
      }
      const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, leftBytes));
      reading = true;
      read(descriptor, buffer, 0, buffer.length, at, (error, count) => {
        reading = false;
        finishReading?.();
        if (error !== null) {
          this.destroy(new Failure(`cannot read ${what}: ${describeSystemError(error)}`, { cause: error }));
          return;
        }
        // A file that became shorter ends early; whoever verifies it says so.
        if (at !== null) at += count;
        this.push(count === 0 ? null : buffer.subarray(0, count));
      });
    },
    destroy(error, done) {
      const end = (): void => {
        close();
        done(error);
      };
      // Not before a read in another thread is over: the number of the descriptor may be another file's then.
      if (reading) finishReading = end;
      else end();
    },
  });
}
