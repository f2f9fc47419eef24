// SPDX-License-Identifier: Apache-2.0
import { constants, copyFileSync, lstatSync, readdirSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { removeQuietly, renameQuietly } from './files.ts';
import { type Host, isGone, parseWriter } from './host.ts';

/*
 * Every writer has a partial file of its own, named after it. The bytes of an earlier one are adopted by renaming when nobody can write
 * to that file any more: its writer let go of it (free-RANDOM), or is certainly gone (this host, the process ended). Of a writer on
 * another host, or one that is suspended, a copy is adopted. So no file ever has two writers, and an owner that wakes up late harms
 * nothing, whatever it does before it finds that its lease is lost. Only the owner of the lease adopts.
 */

/** A name for a partial file that nobody writes to any more. */
export function freeName(): string {
  return `free-${Math.random().toString(36).slice(2, 12)}`;
}

export interface FoundPartial {
  readonly path: string;
  readonly key: string;
  /** The last part of the name: a writer, or free-RANDOM. */
  readonly owner: string;
  readonly status: Stats;
}

/** The partial files, of one key or all. Throws system errors. */
export function listPartials(directory: string, key?: string): FoundPartial[] {
  const found: FoundPartial[] = [];
  for (const name of readdirSync(directory)) {
    const match = /^(sha(?:256|512)-[0-9a-f]+)\.([a-z0-9-]+)$/.exec(name);
    if (match === null || (key !== undefined && match[1] !== key)) continue;
    const status = lstatSync(join(directory, name), { throwIfNoEntry: false });
    if (!status?.isFile()) continue;
    found.push({ path: join(directory, name), key: match[1] as string, owner: match[2] as string, status });
  }
  return found;
}

/** Whether a partial file has no writer that might still write. */
export function isAbandoned({ owner }: FoundPartial, host: Host): boolean {
  if (owner.startsWith('free-')) return true;
  const writer = parseWriter(owner);
  return writer !== undefined && isGone(writer, host);
}

/** Puts the longest earlier partial file of a key at a path of ours; false when there is none. Throws system errors of our own file. */
export function adoptPartial(directory: string, key: string, own: string, maxBytes: number, host: Host): boolean {
  const candidates = listPartials(directory, key).filter(({ status }) => status.size > 0 && status.size <= maxBytes);
  candidates.sort((a, b) => b.status.size - a.status.size);
  for (const candidate of candidates) {
    // A file of another user may be open for writing wherever it is renamed to.
    const sole = isAbandoned(candidate, host) && candidate.status.uid === process.getuid?.();
    if (sole ? renameQuietly(candidate.path, own) : copy(candidate.path, own)) return true;
  }
  return false;
}

/** Removes all partial files of a key, as far as one may: after the blob is there, nobody needs them. */
export function removePartials(directory: string, key: string): void {
  for (const { path } of listPartials(directory, key)) removeQuietly(path);
}

/** Removes those partial files of a key that nobody writes to any more: of a small blob (put) that is there nothing is gone on from. */
export function removeAbandoned(directory: string, key: string, host: Host): void {
  for (const partial of listPartials(directory, key)) {
    if (isAbandoned(partial, host)) removeQuietly(partial.path);
  }
}

function copy(from: string, to: string): boolean {
  try {
    // A clone where the file system has them, else by the kernel.
    copyFileSync(from, to, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
  } catch {
    removeQuietly(to);
    return false;
  }
  // A writer that wakes up finds it gone, as it should.
  removeQuietly(from);
  return true;
}
