// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { constants, lstatSync, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { removeQuietly } from '../cleanup.ts';
import { Failure } from '../failure.ts';
import { hashFile, readFlags } from './files.ts';
import { blobPath, cacheHint, explainCache, parseDigest } from './layout.ts';

const chunkBytes = 512 << 10;

/** A blob by its digest; without a size where nobody has told one (an image that the user names by digest). */
export interface NamedBlob {
  readonly digest: string;
  readonly sizeBytes?: number;
}

/** Whether a blob is there; one of another size is removed. Throws Failure when something else is in its place. */
export async function findBlob(directory: string, blob: NamedBlob): Promise<boolean> {
  const path = blobPath(directory, blob.digest);
  const status = await explainCache(directory, 'read', () => lookAt(path));
  if (status === undefined) return false;
  if (!status.isFile()) {
    throw new Failure(`cannot use the cache ${directory}: ${path} is not a regular file`, {
      hint: `remove it, or ${cacheHint}`,
    });
  }
  if (blob.sizeBytes === undefined || status.size === blob.sizeBytes) return true;
  await removeUnlessRight(directory, blob, path);
  return false;
}

/** Throws Failure for a blob that is right: a manifest that tells another size is no reason to take it from other images. */
async function removeUnlessRight(directory: string, blob: NamedBlob, path: string): Promise<void> {
  const { algorithm, hex } = parseDigest(blob.digest);
  const hash = createHash(algorithm);
  const sizeBytes = await explainCache(directory, 'read', async () => {
    const handle = await open(path, readFlags);
    try {
      return await hashFile(handle, hash);
    } finally {
      await handle.close();
    }
  });
  if (hash.digest('hex') !== hex) return removeQuietly(path);
  throw new Failure(`${blob.digest} has ${sizeBytes} bytes, not the ${blob.sizeBytes} that its descriptor says`, {
    hint: 'the image is damaged: tell who made it',
  });
}

/** ENOTDIR: what is in the way of a part of the cache is told when something is written. */
function lookAt(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Notes that a blob is used: its modification time is what prune goes by. */
export async function touchBlob(handle: FileHandle): Promise<void> {
  const now = new Date();
  // Somebody else's file in a shared cache, or a cache on read-only media.
  await handle.utimes(now, now).catch(() => {});
}

/** Opens a blob for reading, or a path that stands for it. Throws Failure. */
export async function openBlobFile(directory: string, blob: NamedBlob, path: string): Promise<FileHandle> {
  const flags = path.startsWith('/proc/') ? constants.O_RDONLY : readFlags;
  const handle = await explainCache(directory, 'read', async () => {
    try {
      return await open(path, flags);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      throw new Failure(`${blob.digest} is not in the cache ${directory}`, {
        hint: 'try again: it was removed meanwhile',
      });
    }
  });
  const status = await handle.stat();
  if (status.isFile() && status.size === (blob.sizeBytes ?? status.size)) return handle;
  await handle.close();
  if (status.isFile() && flags === readFlags) await removeUnlessRight(directory, blob, path);
  throw new Failure(`${blob.digest} has ${status.size} bytes in the cache ${directory} instead of ${blob.sizeBytes}`, {
    hint: 'try again: it was removed from the cache',
  });
}

/**
 * The bytes of an open blob, whose digest is taken as they pass: on mismatch the stream ends with a Failure and the bad file is removed.
 * The stream closes the handle.
 */
export function streamVerified(directory: string, blob: NamedBlob, handle: FileHandle): Readable {
  const { algorithm, hex } = parseDigest(blob.digest);
  const hash = createHash(algorithm);
  let at = 0;
  async function readNext(): Promise<Buffer | null> {
    const buffer = Buffer.allocUnsafe(chunkBytes);
    const { bytesRead } = await explainCache(directory, 'read', () => handle.read(buffer, 0, buffer.length, at));
    if (bytesRead > 0) {
      at += bytesRead;
      const chunk = buffer.subarray(0, bytesRead);
      hash.update(chunk);
      return chunk;
    }
    const found = hash.digest('hex');
    if (found === hex) return null;
    removeBad(blobPath(directory, blob.digest), await handle.stat());
    throw damaged(directory, blob, `${algorithm}:${found}`);
  }
  return new Readable({
    highWaterMark: chunkBytes,
    read() {
      readNext().then(
        (chunk) => this.push(chunk),
        (error: Error) => this.destroy(error),
      );
    },
    destroy(error, callback) {
      handle.close().then(
        () => callback(error),
        () => callback(error),
      );
    },
  });
}

/** The failure of a blob whose bytes have another digest, and which was removed. found: that digest. */
export function damaged(directory: string, blob: NamedBlob, found: string): Failure {
  return new Failure(`${blob.digest} is damaged in the cache ${directory}: the digest of what is there is ${found}`, {
    hint: 'try again: it was removed from the cache',
  });
}

/** Removes a bad blob, unless a good one has taken its place meanwhile. */
export function removeBad(path: string, bad: Stats): void {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there?.ino === bad.ino && there.dev === bad.dev) removeQuietly(path);
}
