// SPDX-License-Identifier: Apache-2.0
import { closeSync, fstatSync, lstatSync, openSync, readdirSync, readSync, type Stats, writeSync } from 'node:fs';
import { join } from 'node:path';
import { removeQuietly } from '../cleanup.ts';
import { type Host, isGone, parseWriter } from '../host.ts';
import { readFlags, renameQuietly } from './files.ts';

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

/** Which file is under a path: others may put another one there, where the directory lets them. */
export type FileIdentity = Pick<Stats, 'dev' | 'ino'>;

/** Puts the longest earlier partial file of a key at a path of ours; undefined when there is none. Throws system errors of our own file. */
export function adoptPartial(
  directory: string,
  key: string,
  own: string,
  maxBytes: number,
  host: Host,
): FileIdentity | undefined {
  const candidates = listPartials(directory, key).filter(({ status }) => status.size > 0 && status.size <= maxBytes);
  candidates.sort((a, b) => b.status.size - a.status.size);
  for (const candidate of candidates) {
    if (isAbandoned(candidate, host) && isOursAlone(candidate.status)) {
      if (renameQuietly(candidate.path, own)) return candidate.status;
    } else {
      const copied = copy(candidate.path, own, maxBytes);
      if (copied !== undefined) return copied;
    }
  }
  return undefined;
}

/** A file of another user may be open for writing wherever it is renamed to; one with a second name is something else of ours, too. */
function isOursAlone({ uid, mode, nlink }: Stats): boolean {
  return uid === process.getuid?.() && (mode & 0o022) === 0 && nlink === 1;
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

/**
 * Copies into a file that is ours from the beginning: copyFile(3) would give it the mode of the other one, which may let its owner write into ours, and
 * follow a link that was put in its place. Undefined when it cannot be read.
 */
function copy(from: string, to: string, maxBytes: number): FileIdentity | undefined {
  let source: number | undefined;
  let target: number | undefined;
  let copied: Stats | undefined;
  try {
    source = openSync(from, readFlags);
    if (fstatSync(source).isFile()) {
      target = openSync(to, 'wx', 0o644);
      const buffer = Buffer.allocUnsafe(1 << 20);
      for (let at = 0; at < maxBytes; ) {
        const read = readSync(source, buffer, 0, Math.min(buffer.length, maxBytes - at), at);
        if (read === 0) break;
        writeFully(target, buffer.subarray(0, read), at);
        at += read;
      }
      copied = fstatSync(target);
    }
  } catch {
    copied = undefined;
  } finally {
    if (source !== undefined) closeSync(source);
    if (target !== undefined) closeSync(target);
  }
  // A writer that wakes up finds it gone, as it should.
  if (copied !== undefined) removeQuietly(from);
  else if (target !== undefined) removeQuietly(to);
  return copied;
}

function writeFully(descriptor: number, bytes: Buffer, position: number): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at, bytes.length - at, position + at);
}
