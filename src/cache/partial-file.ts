// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { constants, openSync, renameSync, writevSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { onInterrupt, removeQuietly } from '../cleanup.ts';
import { Failure } from '../failure.ts';
import { type Host, nameWriter } from '../host.ts';
import type { Descriptor } from '../source/image.ts';
import { adoptPartial, type FileIdentity, freeName } from './adopt-partial.ts';
import { hashFile, renameQuietly, shareFile, syncDirectory, writeAll } from './files.ts';
import { blobPath, explainCache, keyOf, parseDigest, partialDirectory } from './layout.ts';
import type { PartialBlob } from './partial.ts';

/** Thrown by commit when the partial file was taken away: another process goes on with a copy of it. */
export class PartialGone extends Error {}

/** A download's file, written by this process alone. */
export interface PartialFile extends PartialBlob {
  /** The blob's own path after commit. */
  readonly path: string;
  /** Another one after restart(). */
  readonly content: unknown;
  /** Bytes that can be read from the file; sizeBytes may be ahead of it. */
  readonly writtenBytes: number;
  /** A descriptor of the very file that is written, for reading, which the caller closes; undefined after commit, and where there is no /proc. */
  openAgain(): number | undefined;
  /** Whether bytes of an earlier process are in it. */
  readonly adopted: boolean;
  /** Set once the cache cannot be written: then the download is of no use. */
  readonly failure: Failure | undefined;
  /** Calls back when more can be read, after a restart and when failure is set. */
  onChange: (() => void) | undefined;
  /** Whether all bytes are there and have the right digest. */
  matches(): Promise<boolean>;
  /** Compares size and digest, makes it safe on disk and gives it the blob's name; a wrong one is removed. Throws Failure, PartialGone. */
  commit(): Promise<void>;
  /** Leaves the bytes for the next try. After commit there is nothing to do. */
  close(): Promise<void>;
}

/** Written in pieces of at least this, or what came in `lingerMs`. */
const pieceBytes = 256 << 10;
const lingerMs = 30;
/** What may wait for the disk before append() asks the download to wait too. */
const maxPendingBytes = 4 << 20;

/** Opens a partial file for a blob, with the bytes of an earlier try where there are any. The caller holds the lease. Throws Failure. */
export async function openPartial(directory: string, blob: Descriptor, host: Host): Promise<PartialFile> {
  const { algorithm, hex } = parseDigest(blob.digest);
  const place = partialDirectory(directory);
  const key = keyOf(blob.digest);
  const nextPath = () => join(place, `${key}.${nameWriter(host)}`);

  let path = nextPath();
  let content: object = {};
  let hash = createHash(algorithm);
  let sizeBytes = 0;
  let writtenBytes = 0;
  let failure: Failure | undefined;
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let inFlight: Buffer[] = [];
  let writing: Promise<void> | undefined;
  let linger: NodeJS.Timeout | undefined;
  const found = await explainCache(directory, 'write to', () => adoptPartial(place, key, path, blob.sizeBytes, host));
  let adopted = found !== undefined;
  let handle = await openOwn(directory, path, found);
  if (adopted) {
    try {
      sizeBytes = await hashFile(handle, hash);
      writtenBytes = sizeBytes;
    } catch {
      // What cannot be read cannot be gone on with.
      await startAnew();
    }
  }
  const forget = onInterrupt(writeRest);

  /** A signal ends the process: what is in memory goes to the file now, also what a thread may be writing at this moment. */
  function writeRest(): void {
    try {
      if (failure === undefined) writevSync(handle.fd, [...inFlight, ...pending], writtenBytes);
    } catch {
      // Fewer bytes to go on from.
    }
  }

  async function startAnew(): Promise<void> {
    const next = nextPath();
    const nextHandle = await openOwn(directory, next);
    await handle.close();
    removeQuietly(path);
    path = next;
    content = {};
    handle = nextHandle;
    hash = createHash(algorithm);
    sizeBytes = 0;
    writtenBytes = 0;
    adopted = false;
  }

  function startWriting(): void {
    clearTimeout(linger);
    linger = undefined;
    if (writing !== undefined || pendingBytes === 0 || failure !== undefined) return;
    writing = writePending().finally(() => {
      writing = undefined;
    });
  }

  async function writePending(): Promise<void> {
    while (pendingBytes > 0 && failure === undefined) {
      inFlight = pending;
      const bytes = pendingBytes;
      pending = [];
      pendingBytes = 0;
      try {
        await explainCache(directory, 'write to', () => writeAll(handle, inFlight, writtenBytes));
        writtenBytes += bytes;
      } catch (error) {
        failure = error as Failure;
      }
      inFlight = [];
      file.onChange?.();
    }
  }

  async function settle(): Promise<void> {
    startWriting();
    while (writing !== undefined) {
      await writing;
      startWriting();
    }
    if (failure !== undefined) throw failure;
  }

  async function waitForRoom(): Promise<void> {
    await writing;
    if (failure !== undefined) throw failure;
  }

  let closed = false;
  let wrong = false;
  async function closeAs(end: 'keep' | 'remove'): Promise<void> {
    if (closed) return;
    closed = true;
    forget();
    await settle().catch(() => {});
    await handle.close();
    if (end === 'remove' || wrong || writtenBytes === 0) removeQuietly(path);
    else renameQuietly(path, join(place, `${key}.${freeName()}`));
  }

  const file: PartialFile = {
    get path() {
      return path;
    },
    get content() {
      return content;
    },
    get sizeBytes() {
      return sizeBytes;
    },
    get writtenBytes() {
      return writtenBytes;
    },
    openAgain() {
      if (closed) return undefined;
      try {
        return openSync(`/proc/self/fd/${handle.fd}`, constants.O_RDONLY);
      } catch {
        return undefined;
      }
    },
    get adopted() {
      return adopted;
    },
    get failure() {
      return failure;
    },
    onChange: undefined,
    append(chunk) {
      if (failure !== undefined) throw failure;
      if (closed) throw new Failure(`the download of ${blob.digest} is over`);
      if (sizeBytes + chunk.length > blob.sizeBytes) {
        wrong = true;
        failure = new Failure(`got more bytes for ${blob.digest} than the ${blob.sizeBytes} that it should have`);
        file.onChange?.();
        throw failure;
      }
      hash.update(chunk);
      sizeBytes += chunk.length;
      pending.push(chunk);
      pendingBytes += chunk.length;
      if (pendingBytes >= pieceBytes) startWriting();
      else linger ??= setTimeout(startWriting, lingerMs);
      return pendingBytes >= maxPendingBytes ? waitForRoom() : undefined;
    },
    async restart() {
      await settle();
      if (sizeBytes === 0) return;
      await startAnew();
      file.onChange?.();
    },
    async matches() {
      await settle();
      return sizeBytes === blob.sizeBytes && hash.copy().digest('hex') === hex;
    },
    async commit() {
      await settle();
      if (sizeBytes !== blob.sizeBytes) {
        throw new Failure(`got ${sizeBytes} bytes for ${blob.digest} instead of ${blob.sizeBytes}`);
      }
      const found = hash.copy().digest('hex');
      if (found !== hex) {
        await closeAs('remove');
        throw new Failure(
          `the bytes for ${blob.digest} are not those that were asked for: their digest is ${algorithm}:${found}`,
          { hint: 'try again; if it stays so, the registry or what is between is damaged: tell who runs it' },
        );
      }
      await explainCache(directory, 'write to', async () => {
        await handle.sync();
        const target = blobPath(directory, blob.digest);
        try {
          renameSync(path, target);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
          throw new PartialGone(path);
        }
        path = target;
        closed = true;
        forget();
        await handle.close();
        await syncDirectory(dirname(target));
      });
    },
    close: () => closeAs('keep'),
  };
  return file;
}

/** For reading too: adopted bytes are hashed. found: the file that must be there; none, when it is to be made. */
async function openOwn(directory: string, path: string, found?: FileIdentity): Promise<FileHandle> {
  const { O_RDWR, O_NOFOLLOW, O_NONBLOCK, O_CREAT, O_EXCL } = constants;
  const flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | (found === undefined ? O_CREAT | O_EXCL : 0);
  return await explainCache(directory, 'write to', async () => {
    const handle = await open(path, flags, 0o644);
    const { dev, ino } = await handle.stat();
    if (found !== undefined && (dev !== found.dev || ino !== found.ino)) {
      await handle.close();
      throw new Failure(`cannot use the cache ${directory}: somebody put another file in the place of ${path}`);
    }
    await shareFile(handle, dirname(path));
    return handle;
  });
}
