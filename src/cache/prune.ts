// SPDX-License-Identifier: Apache-2.0
import { lstatSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describeSystemError } from '../failure.ts';
import { type Host, identifyHost } from '../host.ts';
import { blobPath, explainCache, leaseDirectory } from './layout.ts';
import { type CachedBlob, listCache } from './list.ts';

export interface PruneOptions {
  /** Removes blobs that were not used for so long. */
  readonly olderThanSeconds?: number;
  /** Removes the least recently used blobs until those that stay have no more bytes than this together. */
  readonly maxBytes?: number;
  /** Removes all blobs. */
  readonly all?: boolean;
  /** Removes nothing, only says what would be. */
  readonly dryRun?: boolean;
}

export interface Removed {
  readonly kind: 'blob' | 'partial' | 'lease';
  readonly digest: string;
  readonly sizeBytes: number;
}

export interface Pruned {
  readonly removed: readonly Removed[];
  readonly removedBytes: number;
  readonly keptBytes: number;
  /** Digest and reason of what could not be removed (other users' files in a shared cache). */
  readonly failed: readonly string[];
}

/** Notes of failed tries, also those that a killed process was just writing, are of no use after so long. */
const restMs = 24 * 3600 * 1000;

/**
 * Removes what the options say, and always the partial files and leases whose owners are gone; never a partial file that somebody may be
 * downloading. Safe beside running imports: these have what they got open. Which images use a blob is not known: use is what counts.
 * Throws Failure when the directory cannot be read.
 */
export async function pruneCache(
  directory: string,
  options: PruneOptions,
  host: Host = identifyHost(),
): Promise<Pruned> {
  const contents = await listCache(directory, host);
  const removed: Removed[] = [];
  const failed: string[] = [];
  function remove(what: Removed, path: string): void {
    try {
      if (options.dryRun !== true) unlinkSync(path);
      removed.push(what);
    } catch (error) {
      // Gone already is as good as removed, but not by us.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        failed.push(`${what.digest}: ${describeSystemError(error)}`);
    }
  }
  // Partials before leases: so a partial file without a lease that is seen by others is one that they may adopt.
  for (const { digest, sizeBytes, path, live } of contents.partials) {
    if (!live) remove({ kind: 'partial', digest, sizeBytes }, path);
  }
  for (const { digest, path, live } of contents.leases) {
    if (!live) remove({ kind: 'lease', digest, sizeBytes: 0 }, path);
  }
  for (const { digest, sizeBytes } of chooseBlobs(contents.blobs, options)) {
    remove({ kind: 'blob', digest, sizeBytes }, blobPath(directory, digest));
  }
  if (options.dryRun !== true) await explainCache(directory, 'read', () => removeOldNotes(leaseDirectory(directory)));
  const sum = (all: readonly { kind?: string; sizeBytes: number }[]) =>
    all.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
  const removedBlobBytes = sum(removed.filter(({ kind }) => kind === 'blob'));
  return { removed, removedBytes: sum(removed), keptBytes: sum(contents.blobs) - removedBlobBytes, failed };
}

/** The blobs to remove; the given ones are the least recently used first. */
function chooseBlobs(blobs: readonly CachedBlob[], { all, olderThanSeconds, maxBytes }: PruneOptions): CachedBlob[] {
  if (all === true) return [...blobs];
  const nowSeconds = Date.now() / 1000;
  let keptBytes = blobs.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
  return blobs.filter((blob) => {
    const tooOld = olderThanSeconds !== undefined && nowSeconds - blob.lastUseSeconds > olderThanSeconds;
    const tooMuch = maxBytes !== undefined && keptBytes > maxBytes;
    if (tooOld || tooMuch) keptBytes -= blob.sizeBytes;
    return tooOld || tooMuch;
  });
}

function removeOldNotes(leases: string): void {
  if (lstatSync(leases, { throwIfNoEntry: false }) === undefined) return;
  for (const name of readdirSync(leases)) {
    if (!/^\.?sha(256|512)-[0-9a-f]+\.(failed|[0-9a-f]{16}-.*)$/.test(name)) continue;
    const path = join(leases, name);
    const status = lstatSync(path, { throwIfNoEntry: false });
    if (status === undefined || Date.now() - status.mtimeMs < restMs) continue;
    try {
      unlinkSync(path);
    } catch {
      // Somebody else's.
    }
  }
}
