// SPDX-License-Identifier: Apache-2.0
import type { Hash } from 'node:crypto';
import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync, renameSync, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

const readBytes = 1 << 20;

/**
 * For what others may have put into a shared cache: no symbolic link is followed, and a FIFO (fifo(7)) is not waited for, which would hold the whole
 * process. Who opens looks whether it is a regular file.
 */
export const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** The beginning of a small file as text, '' of what is no regular one, and its status. Throws system errors. */
export function readBeginning(path: string, maxBytes: number): { text: string; status: BigIntStats } {
  const descriptor = openSync(path, readFlags);
  try {
    const status = fstatSync(descriptor, { bigint: true });
    const buffer = Buffer.alloc(status.isFile() ? maxBytes : 0);
    return { text: buffer.toString('utf8', 0, readSync(descriptor, buffer, 0, buffer.length, 0)), status };
  } finally {
    closeSync(descriptor);
  }
}

/** Adds a whole file to a hash; gives its length. Throws system errors, as all of these. */
export async function hashFile(handle: FileHandle, hash: Hash): Promise<number> {
  const buffer = Buffer.allocUnsafe(readBytes);
  let at = 0;
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return at;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}

/** Writes all chunks, one after the other, from a position on. */
export async function writeAll(handle: FileHandle, chunks: readonly Buffer[], position: number): Promise<void> {
  let rest = [...chunks];
  let at = position;
  while (rest.length > 0) {
    let { bytesWritten } = await handle.writev(rest, at);
    at += bytesWritten;
    while (rest[0] !== undefined && bytesWritten >= rest[0].length) {
      bytesWritten -= rest[0].length;
      rest = rest.slice(1);
    }
    if (rest[0] !== undefined) rest[0] = rest[0].subarray(bytesWritten);
  }
}

/** Makes a rename in it safe on disk; file systems that cannot (EINVAL) need not. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } catch (error) {
    if (!['EINVAL', 'EROFS', 'ENOTSUP', 'EBADF'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  } finally {
    await handle.close();
  }
}

/** Renames a file, if it is there and one may; false when not. */
export function renameQuietly(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch {
    return false;
  }
}

/** In a directory that others may write to (a shared cache) whoever may read that may read a file in it, whatever the umask. Throws system errors. */
export async function shareFile(handle: FileHandle, directory: string): Promise<void> {
  const { mode } = statSync(directory);
  if ((mode & 0o022) !== 0) await handle.chmod(0o600 | (mode & 0o044));
}
