// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { unlinkSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { describeSystemError, explain, Failure } from '../failure.ts';
import type { SourceOptions } from './options.ts';

/**
 * Keeps a stream in a file without a name in the temporary directory, to be read in any order. The file is gone when it is closed, or
 * the process ends in any way. Throws Failure.
 */
export async function spool(stream: Readable, what: string, options: SourceOptions): Promise<FileHandle> {
  const { temporaryDirectory: directory, signal, onProgress } = options;
  const hint = 'name a directory with more room in ENROOT_TEMP_PATH';
  const path = join(directory, `.bundler-spool-${process.pid}-${randomUUID()}`);
  const file = await explain(
    `cannot write to the temporary directory ${directory}`,
    () => open(path, 'wx+', 0o600),
    hint,
  );
  try {
    unlinkSync(path);
    let bytes = 0;
    const sink = new Writable({
      highWaterMark: 1 << 20,
      write(chunk: Buffer, _encoding, done) {
        writeFully(file, chunk).then(
          () => {
            bytes += chunk.length;
            onProgress?.(what, bytes);
            done();
          },
          (error: Error) => done(new SpoolError(describeSystemError(error), { cause: error })),
        );
      },
    });
    await pipeline(stream, sink, signal === undefined ? {} : { signal });
    return file;
  } catch (error) {
    await file.close();
    if (error instanceof SpoolError) {
      throw new Failure(`cannot keep ${what} in the temporary directory ${directory}: ${error.message}`, {
        hint,
        cause: error,
      });
    }
    throw error;
  }
}

class SpoolError extends Error {}

async function writeFully(file: FileHandle, chunk: Buffer): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at, chunk.length - at)).bytesWritten;
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
  // A generator that never began does not clean up.
  rest.once('close', () => stream.destroy());
  return { head, whole, all: rest };
}
