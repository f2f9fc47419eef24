// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { closeSync, openSync, unlinkSync, write } from 'node:fs';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { describeSystemError, explain, Failure } from '../failure.ts';
import { adoptDescriptor, type OpenFile } from './open-file.ts';
import type { SourceOptions } from './options.ts';

/**
 * Keeps a stream in a file without a name in the temporary directory, to be read in any order. The file is gone when it is closed, or
 * the process ends in any way. Throws Failure.
 */
export async function spool(stream: Readable, what: string, options: SourceOptions): Promise<OpenFile> {
  const { temporaryDirectory: directory, signal, onProgress } = options;
  const hint = 'name a directory with more room in ENROOT_TEMP_PATH';
  const path = join(directory, `.bundler-spool-${process.pid}-${randomUUID()}`);
  const descriptor = await explain(
    `cannot write to the temporary directory ${directory}`,
    () => {
      const opened = openSync(path, 'wx+', 0o600);
      unlinkSync(path);
      return opened;
    },
    hint,
  );
  let bytes = 0;
  const sink = new Writable({
    highWaterMark: 1 << 20,
    write(chunk: Buffer, _encoding, done) {
      writeFully(descriptor, chunk, (error) => {
        bytes += chunk.length;
        if (error === null) onProgress?.(what, bytes);
        done(error === null ? null : new SpoolError(describeSystemError(error), { cause: error }));
      });
    },
  });
  try {
    await pipeline(stream, sink, signal === undefined ? {} : { signal });
    return adoptDescriptor(descriptor);
  } catch (error) {
    closeSync(descriptor);
    if (!(error instanceof SpoolError)) throw error;
    throw new Failure(`cannot keep ${what} in the temporary directory ${directory}: ${error.message}`, {
      hint,
      cause: error,
    });
  }
}

class SpoolError extends Error {}

function writeFully(descriptor: number, chunk: Buffer, done: (error: Error | null) => void): void {
  write(descriptor, chunk, (error, count) => {
    if (error !== null || count === chunk.length) done(error);
    else writeFully(descriptor, chunk.subarray(count), done);
  });
}

/** The first bytes of a stream, and a stream of all its bytes. */
export interface Peeked {
  readonly head: Buffer;
  /** The head is everything. */
  readonly whole: boolean;
  readonly all: Readable;
}

/** Reads a stream's first bytes, at least as many as are asked for unless there are fewer. */
export async function peek(stream: Readable, wantedBytes: number): Promise<Peeked> {
  const iterator = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  let whole = false;
  while (sizeBytes < wantedBytes && !whole) {
    const { value, done } = await iterator.next();
    if (done === true) whole = true;
    else {
      chunks.push(value);
      sizeBytes += value.length;
    }
  }
  const head = Buffer.concat(chunks);
  async function* all(): AsyncGenerator<Buffer> {
    try {
      if (head.length > 0) yield head;
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value;
    } finally {
      await iterator.return?.();
    }
  }
  const rest = Readable.from(all(), { objectMode: false, highWaterMark: 1 << 20 });
  // A generator that never began does not clean up, and one that waits for the next bytes would wait for ever before it does.
  const destroyRest = rest._destroy;
  rest._destroy = (error, done) => {
    stream.destroy();
    destroyRest.call(rest, error, done);
  };
  return { head, whole, all: rest };
}
