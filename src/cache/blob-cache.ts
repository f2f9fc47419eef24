// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { closeSync, openSync, renameSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { buffer as collect } from 'node:stream/consumers';
import { removeQuietly } from '../cleanup.ts';
import { Failure } from '../failure.ts';
import { type Host, identifyHost, nameWriter } from '../host.ts';
import type { Descriptor } from '../source/image.ts';
import { removeAbandoned } from './adopt-partial.ts';
import { readFlags, shareFile, syncDirectory } from './files.ts';
import { type ObtainOptions, type Outcome, shareFlight, waitFor } from './flight.ts';
import { followFlight } from './follow.ts';
import {
  blobPath,
  explainCache,
  keyOf,
  makeCacheDirectory,
  makeParts,
  parseDigest,
  partialDirectory,
} from './layout.ts';
import type { LeaseTimes } from './lease.ts';
import { type Download, obtainBlob } from './obtain.ts';
import { findBlob, type NamedBlob, openBlobFile, streamVerified, touchBlob } from './open-blob.ts';

/** Blobs by their digests, shared with every process of every host that uses the same directory. All functions throw Failure. */
export interface BlobCache {
  readonly directory: string;
  /** True when the verified blob is there. */
  has(digest: string): Promise<boolean>;
  /**
   * Returns when the blob is there under its final name. Of all processes one downloads, the others wait and take over when it dies.
   * Calls for one digest in this process share one download; it is given up when all of them are aborted. What the download throws is
   * passed on. `download` is not called when the bytes were there already. The blob stays readable here, whatever a prune removes.
   */
  obtain(blob: Descriptor, download: Download, options?: ObtainOptions): Promise<Outcome>;
  /** Verified while it is read: the stream ends with a Failure on mismatch, and the bad file is removed so that the next import heals. */
  open(blob: NamedBlob): Promise<Readable>;
  /**
   * As open(), but begins while obtain() is downloading: the stream delivers what is there and then what comes, ends when the blob is
   * complete and verified, and fails when the download does. While another process downloads it waits for the end of that.
   */
  openFollowing(blob: Descriptor): Promise<Readable>;
  /** Small blobs (manifests, configs) in memory, verified; a Failure when it has more than 8 MiB. */
  read(blob: NamedBlob): Promise<Buffer>;
  /** Puts bytes under their digest, verified. */
  put(digest: string, bytes: Buffer): Promise<void>;
  /** Lets go of the blobs that obtain() got. */
  close(): void;
}

/** As much as a registry's manifest or an image's configuration may have. */
const maxReadBytes = 8 << 20;

/** For tests: another host, shorter times. */
export interface CacheOptions extends Partial<LeaseTimes> {
  readonly host?: Host;
}

/**
 * Opens the cache in a directory (ENROOT_CACHE_PATH), which is made, mode 0700, when it is not there; below an existing one nothing is
 * made before the first download, so that a read-only one can be used for what is in it. Throws Failure.
 */
export async function openCache(directory: string, options: CacheOptions = {}): Promise<BlobCache> {
  await makeCacheDirectory(directory);
  const host = options.host ?? identifyHost();
  const times = { heartbeatMs: options.heartbeatMs ?? 2000, staleMs: options.staleMs ?? 15_000 };
  const flights = new Map<string, ReturnType<typeof shareFlight>>();
  /** Descriptors that keep blobs from vanishing between obtain() and open(). */
  const held = new Map<string, number>();

  function hold(digest: string): void {
    try {
      if (!held.has(digest)) held.set(digest, openSync(blobPath(directory, digest), readFlags));
    } catch {
      // open() says what is wrong.
    }
  }

  async function openFile(blob: NamedBlob) {
    const path = blobPath(directory, blob.digest);
    const descriptor = held.get(blob.digest);
    const gone = descriptor !== undefined && !(await findBlob(directory, blob));
    const handle = await openBlobFile(directory, blob, gone ? `/proc/self/fd/${descriptor}` : path);
    await touchBlob(handle);
    return handle;
  }

  const cache: BlobCache = {
    directory,
    has: (digest) => findBlob(directory, { digest }),
    async obtain(blob, download, given = {}) {
      given.signal?.throwIfAborted();
      let shared = flights.get(blob.digest);
      // One that was given up still has its lease.
      while (shared?.isGivenUp()) {
        await shared.over;
        shared = flights.get(blob.digest);
      }
      if (shared === undefined) {
        const started = shareFlight(blob, (flight, signal) =>
          obtainBlob({ directory, host, times }, flight, download, signal),
        );
        shared = started;
        flights.set(blob.digest, started);
        started.over.then(() => {
          if (flights.get(blob.digest) === started) flights.delete(blob.digest);
        });
      }
      const outcome = await shared.join(given);
      if (outcome !== 'downloaded') await touchPath(blobPath(directory, blob.digest));
      hold(blob.digest);
      return outcome;
    },
    open: async (blob) => streamVerified(directory, blob, await openFile(blob)),
    async openFollowing(blob) {
      const flight = flights.get(blob.digest)?.flight;
      if (flight === undefined) return cache.open(blob);
      await waitFor(flight, () => flight.partial !== undefined || flight.ended !== undefined);
      if (flight.ended === undefined) return followFlight(directory, flight);
      if ('error' in flight.ended) throw flight.ended.error;
      return cache.open(blob);
    },
    async read(blob) {
      const handle = await openFile(blob);
      const { size } = await handle.stat();
      if (size <= maxReadBytes) return collect(streamVerified(directory, blob, handle));
      await handle.close();
      throw new Failure(
        `${blob.digest} has ${size} bytes in the cache ${directory}: it is no manifest or configuration`,
      );
    },
    async put(digest, bytes) {
      const { algorithm, hex } = parseDigest(digest);
      const found = createHash(algorithm).update(bytes).digest('hex');
      if (found !== hex) throw new Failure(`the bytes for ${digest} have another digest: ${algorithm}:${found}`);
      if (await findBlob(directory, { digest, sizeBytes: bytes.length })) return touchPath(blobPath(directory, digest));
      await makeParts(directory, digest);
      await writeWhole(directory, digest, bytes, host);
      removeAbandoned(partialDirectory(directory), keyOf(digest), host);
    },
    close() {
      for (const descriptor of held.values()) closeSync(descriptor);
      held.clear();
    },
  };
  return cache;
}

async function touchPath(path: string): Promise<void> {
  try {
    const handle = await open(path, readFlags);
    await touchBlob(handle);
    await handle.close();
  } catch {
    // Removed meanwhile, or not ours.
  }
}

async function writeWhole(directory: string, digest: string, bytes: Buffer, host: Host): Promise<void> {
  const temporary = join(partialDirectory(directory), `${keyOf(digest)}.${nameWriter(host)}`);
  const target = blobPath(directory, digest);
  try {
    await explainCache(directory, 'write to', async () => {
      const handle = await open(temporary, 'wx', 0o644);
      try {
        await shareFile(handle, dirname(temporary));
        await handle.writeFile(bytes);
        await handle.sync();
      } finally {
        await handle.close();
      }
      renameSync(temporary, target);
      await syncDirectory(dirname(target));
    });
  } catch (error) {
    removeQuietly(temporary);
    // Whoever downloaded the same blob meanwhile removed our file as a left-over.
    if (await findBlob(directory, { digest, sizeBytes: bytes.length })) return;
    throw error;
  }
}
