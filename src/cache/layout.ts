// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmdirSync, type Stats, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { explain, Failure } from '../failure.ts';

/*
 * The cache directory:
 *   blobs/sha256/HEX            a verified blob
 *   partial/sha256-HEX.WRITER   a download; WRITER is who may write to it (host.ts), or free-RANDOM when nobody does
 *   leases/sha256-HEX.N         who downloads the blob: the highest N (lease.ts)
 *   leases/sha256-HEX.failed    the last try that ended with an error (failed-try.ts)
 * The files at the top are enroot's own: never read, never touched.
 */

/** What to do when the cache cannot be used. */
export const cacheHint = 'name another directory with ENROOT_CACHE_PATH=DIRECTORY';
const roomHint = 'make room ("bundler cache prune"), or name another directory with ENROOT_CACHE_PATH=DIRECTORY';

export interface Digest {
  readonly algorithm: 'sha256' | 'sha512';
  readonly hex: string;
}

const pattern = /^(?:(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128}))$/;

/** Reads `ALGORITHM:HEX` (OCI image-spec, descriptor.md, "Digests"). Throws Failure: what passes is safe in a file name. */
export function parseDigest(text: string): Digest {
  const match = pattern.exec(text);
  if (match?.[2] !== undefined) return { algorithm: 'sha256', hex: match[2] };
  if (match?.[4] !== undefined) return { algorithm: 'sha512', hex: match[4] };
  throw new Failure(`not a digest that bundler knows: ${JSON.stringify(text.slice(0, 200))}`, {
    hint: 'digests are sha256: and 64, or sha512: and 128 hexadecimal digits in lower case',
  });
}

/** `sha256-HEX`, the beginning of the names of partials and leases. */
export function keyOf(digest: string): string {
  const { algorithm, hex } = parseDigest(digest);
  return `${algorithm}-${hex}`;
}

/** Where a blob is when it is whole. Throws Failure for what is no digest. */
export function blobPath(directory: string, digest: string): string {
  const { algorithm, hex } = parseDigest(digest);
  return join(directory, 'blobs', algorithm, hex);
}

/** Where blobs are until they are whole. */
export function partialDirectory(directory: string): string {
  return join(directory, 'partial');
}

/** Where those who download say so, and where failed tries are noted. */
export function leaseDirectory(directory: string): string {
  return join(directory, 'leases');
}

/** Makes the cache directory (0700) where there is none; one that exists is used as it is. Throws Failure. */
export async function makeCacheDirectory(directory: string): Promise<void> {
  await explainCache(directory, 'use', () => {
    const there = statSync(directory, { throwIfNoEntry: false });
    if (there === undefined) mkdirSync(directory, { recursive: true, mode: 0o700 });
    else if (!there.isDirectory()) throw notDirectory(directory, directory);
  });
}

/** Makes what a download of this digest needs below the cache directory. Throws Failure. */
export async function makeParts(directory: string, digest: string): Promise<void> {
  await explainCache(directory, 'write to', () => {
    const { algorithm } = parseDigest(digest);
    const mode = modeOfParts(statSync(directory));
    for (const part of ['blobs', join('blobs', algorithm), 'partial', 'leases']) {
      makePart(directory, join(directory, part), mode);
    }
  });
}

/** A directory that others may write to (1777, 2775) is meant to be shared: so are its parts. */
function modeOfParts({ mode }: Stats): number {
  return (mode & 0o022) === 0 ? 0o700 : mode & 0o7777;
}

function makePart(directory: string, path: string, mode: number): void {
  const there = statSync(path, { throwIfNoEntry: false });
  if (there?.isDirectory()) return;
  if (there) throw notDirectory(directory, path);
  // It appears with its mode, which mkdir(2) would cut by the umask: nobody sees a part of a shared cache that he cannot write to.
  const made = mkdtempSync(join(dirname(path), '.new-'));
  try {
    chmodSync(made, mode);
    renameSync(made, path);
  } catch (error) {
    rmdirSync(made);
    // Somebody made it meanwhile and uses it already.
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw error;
  }
}

function notDirectory(directory: string, path: string): Failure {
  return new Failure(`cannot use the cache ${directory}: ${path} is in the way, it is not a directory`, {
    hint: `remove it, or ${cacheHint}`,
  });
}

/** Runs an action on the cache; a system error becomes a Failure "cannot VERB the cache DIRECTORY: why" with the cure. */
export async function explainCache<T>(directory: string, verb: string, action: () => Promise<T> | T): Promise<T> {
  try {
    return await explain(`cannot ${verb} the cache ${directory}`, action, cacheHint);
  } catch (error) {
    const cause = error instanceof Failure ? (error.cause as NodeJS.ErrnoException | undefined)?.code : undefined;
    if (!(error instanceof Failure) || (cause !== 'ENOSPC' && cause !== 'EDQUOT')) throw error;
    throw new Failure(error.message, { hint: roomHint, cause: error.cause });
  }
}
