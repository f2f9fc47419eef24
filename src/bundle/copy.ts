// SPDX-License-Identifier: Apache-2.0
import type { FileHandle } from 'node:fs/promises';
import { FormatError } from '../format/format-error.ts';

/** A multiple of a hash tree's leaf. */
const chunkSizeBytes = 4 << 20;
const buffersInFlight = 3;

export interface Range {
  readonly offset: number;
  readonly sizeBytes: number;
}

/**
 * Reads a range in chunks of 4 MiB and hands each to `each` in order. Reading runs ahead, and what `each` returns is awaited
 * only before its buffer is used again: so one thread hashes here while others read and write. Throws FormatError when the
 * file ends early (it was truncated meanwhile), else the system's error.
 */
export async function readChunks(
  source: FileHandle,
  range: Range,
  each: (chunk: Buffer, offset: number) => Promise<unknown> | undefined,
): Promise<void> {
  const count = Math.ceil(range.sizeBytes / chunkSizeBytes);
  const buffers = Array.from({ length: Math.min(count, buffersInFlight) }, () =>
    Buffer.allocUnsafeSlow(Math.min(chunkSizeBytes, range.sizeBytes)),
  );
  const busy: Promise<unknown>[] = buffers.map(() => Promise.resolve());
  const read = async (chunk: number): Promise<Buffer> => {
    const at = chunk * chunkSizeBytes;
    await busy[chunk % buffers.length];
    const buffer = buffers[chunk % buffers.length] as Buffer;
    return await readExactly(
      source,
      buffer.subarray(0, Math.min(chunkSizeBytes, range.sizeBytes - at)),
      range.offset + at,
    );
  };
  let failure: { error: unknown } | undefined;
  let next = count > 0 ? read(0) : undefined;
  for (let chunk = 0; chunk < count; chunk++) {
    const data = await (next as Promise<Buffer>);
    next = chunk + 1 < count ? read(chunk + 1) : undefined;
    // A failure of a later read or write must not surface before it is awaited here.
    next?.catch(() => {});
    const work = each(data, chunk * chunkSizeBytes) ?? Promise.resolve();
    busy[chunk % buffers.length] = work;
    work.catch((error: unknown) => {
      failure ??= { error };
    });
    if (failure !== undefined) break;
  }
  const ended = await Promise.allSettled([...busy, ...(next === undefined ? [] : [next])]);
  for (const result of ended) if (result.status === 'rejected') failure ??= { error: result.reason };
  if (failure !== undefined) throw failure.error;
}

async function readExactly(source: FileHandle, buffer: Buffer, offset: number): Promise<Buffer> {
  let done = 0;
  while (done < buffer.length) {
    const { bytesRead } = await source.read(buffer, done, buffer.length - done, offset + done);
    if (bytesRead === 0) throw new FormatError(`the file ended at ${offset + done} bytes while it was read`);
    done += bytesRead;
  }
  return buffer;
}

/** Writes all of a buffer at an offset. */
export async function writeExactly(target: FileHandle, data: Uint8Array, offset: number): Promise<void> {
  let done = 0;
  while (done < data.length) {
    const { bytesWritten } = await target.write(data, done, data.length - done, offset + done);
    done += bytesWritten;
  }
}
