// SPDX-License-Identifier: Apache-2.0
import { createHash, type Hash } from 'node:crypto';
import { close, fstatSync, openSync, read } from 'node:fs';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { Failure } from '../failure.ts';
import { readFlags } from './files.ts';
import type { Flight } from './flight.ts';
import { blobPath, explainCache, parseDigest } from './layout.ts';
import { damaged, removeBad } from './open-blob.ts';

const chunkBytes = 512 << 10;
const readAt = promisify(read);
const closeDescriptor = promisify(close);

/** Where the bytes come from: a partial file, or the blob that another process downloaded after all. */
interface Source {
  readonly content: unknown;
  readonly descriptor: number;
  /** For bytes that no download of this process has hashed. */
  readonly hash: Hash | undefined;
}

/**
 * A blob's bytes while this process downloads it: those that are there, then the new ones. It ends when the blob is complete and
 * verified, and fails when the download does. When the download begins anew, what was delivered is compared with what comes.
 * Call it when flight.partial is set.
 */
export function followFlight(directory: string, flight: Flight): Readable {
  const { blob } = flight;
  const { algorithm, hex } = parseDigest(blob.digest);
  let source: Source | undefined;
  let at = 0;
  /** What was delivered from `old` and is not yet compared with `source`. */
  let old: number | undefined;
  let deliveredBytes = 0;
  let wake: (() => void) | undefined;
  let stopped = false;
  let reading: Promise<unknown> = Promise.resolve();
  const watcher = () => wake?.();

  async function readNext(): Promise<Buffer | null> {
    for (;;) {
      const room = await seekBytes();
      if (room === 0) return finish();
      const chunk = await readChunk(at < deliveredBytes ? Math.min(room, deliveredBytes - at) : room);
      if (at < deliveredBytes) {
        await compareWithOld(chunk);
        at += chunk.length;
        if (at === deliveredBytes) await forgetOld();
      } else {
        at += chunk.length;
        deliveredBytes = at;
        return chunk;
      }
    }
  }

  /** Waits for bytes beyond `at`; 0 at the end. */
  async function seekBytes(): Promise<number> {
    for (;;) {
      if (stopped) throw new Error('the stream was destroyed');
      await chooseSource();
      const { partial, ended } = flight;
      if (ended !== undefined && 'error' in ended) throw ended.error;
      if (ended !== undefined) return blob.sizeBytes - at;
      if (partial !== undefined && partial.content === source?.content && partial.writtenBytes > at) {
        return partial.writtenBytes - at;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }

  async function chooseSource(): Promise<void> {
    const { ended, partial } = flight;
    const isFinal = ended !== undefined && 'outcome' in ended && ended.outcome !== 'downloaded';
    const content = isFinal ? 'final' : partial?.content;
    const path = isFinal ? blobPath(directory, blob.digest) : partial?.path;
    if (path === undefined || content === source?.content) return;
    const before = source;
    await explainCache(directory, 'read', () => {
      // Under the path another file may be, where others may write to the directory; only we write to our own.
      const own = isFinal ? undefined : partial?.openAgain();
      const descriptor = own ?? openSync(path, readFlags);
      source = { content, descriptor, hash: own === undefined ? createHash(algorithm) : undefined };
    });
    at = 0;
    if (before !== undefined && old === undefined) old = before.descriptor;
    else if (before !== undefined) await closeDescriptor(before.descriptor);
  }

  async function readChunk(room: number): Promise<Buffer> {
    const { descriptor, hash } = source as Source;
    const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, room));
    const { bytesRead } = await explainCache(directory, 'read', () => readAt(descriptor, buffer, 0, buffer.length, at));
    if (bytesRead === 0) throw new Failure(`${blob.digest} became shorter in the cache ${directory} while it was read`);
    const chunk = buffer.subarray(0, bytesRead);
    hash?.update(chunk);
    return chunk;
  }

  /** All that was delivered is in the source now: what is delivered next is in no other. */
  async function forgetOld(): Promise<void> {
    const descriptor = old as number;
    old = undefined;
    await closeDescriptor(descriptor);
  }

  async function compareWithOld(chunk: Buffer): Promise<void> {
    const before = Buffer.allocUnsafe(chunk.length);
    const descriptor = old as number;
    const { bytesRead } = await explainCache(directory, 'read', () => readAt(descriptor, before, 0, before.length, at));
    if (bytesRead === chunk.length && before.equals(chunk)) return;
    throw new Failure(`the first bytes of ${blob.digest} came differently when its download began anew`, {
      hint: 'try again',
    });
  }

  function finish(): null {
    const found = source?.hash?.digest('hex');
    if (found === undefined || found === hex) return null;
    removeBad(blobPath(directory, blob.digest), fstatSync((source as Source).descriptor));
    throw damaged(directory, blob, `${algorithm}:${found}`);
  }

  flight.watchers.add(watcher);
  return new Readable({
    highWaterMark: chunkBytes,
    read() {
      const next = readNext();
      reading = next;
      next.then(
        (chunk) => this.push(chunk),
        (error: Error) => this.destroy(error),
      );
    },
    destroy(error, callback) {
      flight.watchers.delete(watcher);
      stopped = true;
      wake?.();
      // Not before a read in another thread is over: the number of the descriptor may be another file's then.
      const closeAll = () => {
        const open = [source?.descriptor, old].filter((descriptor) => descriptor !== undefined);
        return Promise.allSettled(open.map((descriptor) => closeDescriptor(descriptor)));
      };
      void reading.then(closeAll, closeAll).then(() => callback(error));
    },
  });
}
