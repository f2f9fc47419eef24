// SPDX-License-Identifier: Apache-2.0
import { constants } from 'node:fs';
import { type FileHandle, open, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describeSystemError } from '../failure.ts';

const maxBytes = 1 << 20;

/** A file of credentials and who else can get at it. */
export type PrivateFile =
  | { readonly kind: 'absent' }
  | { readonly kind: 'unreadable'; readonly why: string }
  | {
      readonly kind: 'read';
      readonly text: string;
      /** Somebody but us and root may change it, or put another in its place. */
      readonly isWritableByOthers: boolean;
      readonly isReadableByOthers: boolean;
    };

/** Reads a small text file; who may write is asked of the file that was opened and of its directory (both, when it is a symbolic link). */
export async function readPrivateFile(path: string): Promise<PrivateFile> {
  let file: FileHandle | undefined;
  try {
    // Not to wait for a writer, should it be a pipe.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    return await readOpen(file, path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (code === 'ENOENT' || code === 'ENOTDIR') return { kind: 'absent' };
    if (code === '') throw error;
    return { kind: 'unreadable', why: describeSystemError(error) };
  } finally {
    await file?.close();
  }
}

async function readOpen(file: FileHandle, path: string): Promise<PrivateFile> {
  const facts = await file.stat();
  if (!facts.isFile()) return { kind: 'unreadable', why: 'it is no regular file' };
  const bytes = Buffer.alloc(maxBytes + 1);
  let size = 0;
  for (let read = -1; read !== 0 && size < bytes.length; size += read) {
    ({ bytesRead: read } = await file.read(bytes, size, bytes.length - size));
  }
  if (size > maxBytes) return { kind: 'unreadable', why: `it is larger than ${maxBytes} bytes` };
  const text = bytes.toString('utf8', 0, size);
  if (text.includes('\0')) return { kind: 'unreadable', why: 'it has a NUL, so it is no text' };
  const directories = new Set([dirname(path), dirname(await realpath(path))]);
  const isOpen = await Promise.all([...directories].map(async (directory) => isDirectoryOpen(await stat(directory))));
  return {
    kind: 'read',
    text,
    isWritableByOthers: !isOurs(facts.uid) || (facts.mode & 0o022) !== 0 || isOpen.includes(true),
    isReadableByOthers: (facts.mode & 0o044) !== 0,
  };
}

function isOurs(uid: number): boolean {
  return uid === 0 || uid === process.geteuid?.();
}

/** In a sticky directory (/tmp) others cannot replace a file that is not theirs. */
function isDirectoryOpen({ uid, mode }: { uid: number; mode: number }): boolean {
  return !isOurs(uid) || ((mode & 0o022) !== 0 && (mode & 0o1000) === 0);
}
