// SPDX-License-Identifier: Apache-2.0
import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Host, identifyHost, isGone, parseWriter } from '../host.ts';
import { isAbandoned, listPartials } from './adopt-partial.ts';
import { blobPath, explainCache, leaseDirectory, partialDirectory } from './layout.ts';
import { listGenerations, readLease } from './lease.ts';

export interface CachedBlob {
  readonly digest: string;
  readonly sizeBytes: number;
  /** Seconds since 1970, by the clock of the host that used it. */
  readonly lastUseSeconds: number;
}

export interface CachedPartial {
  readonly path: string;
  readonly digest: string;
  readonly sizeBytes: number;
  /** Whether somebody may be downloading it now. */
  readonly live: boolean;
}

export interface CacheLease {
  readonly path: string;
  readonly digest: string;
  readonly host: string;
  readonly live: boolean;
}

export interface CacheContents {
  readonly directory: string;
  /** Least recently used first. */
  readonly blobs: readonly CachedBlob[];
  readonly partials: readonly CachedPartial[];
  readonly leases: readonly CacheLease[];
}

/**
 * A lease of another host is taken for dead when its last heartbeat is a day away from our time: one look shows no more, and clocks of
 * hosts that share files do not differ by a day.
 */
const foreignLeaseMs = 24 * 3600 * 1000;

/** What is in a cache directory; nothing when there is none. Throws Failure. */
export async function listCache(directory: string, host: Host = identifyHost()): Promise<CacheContents> {
  return await explainCache(directory, 'read', () => {
    // Partials before leases: the lease of one that is seen was there before it.
    const found = present(partialDirectory(directory)) ? listPartials(partialDirectory(directory)) : [];
    const leases = listLeases(directory, host);
    const owned = new Set(leases.filter(({ live }) => live).map(({ digest }) => digest));
    const partials = found.map((partial) => {
      const digest = partial.key.replace('-', ':');
      const live = owned.has(digest) || isWriting(partial.owner, host, () => isAbandoned(partial, host));
      return { path: partial.path, digest, sizeBytes: partial.status.size, live };
    });
    return { directory, blobs: listBlobs(directory), partials, leases };
  });
}

/** Of this host one knows who lives; a writer elsewhere is alive when it has a lease. */
function isWriting(owner: string, host: Host, abandoned: () => boolean): boolean {
  return parseWriter(owner)?.hostKey === host.key && !abandoned();
}

function listBlobs(directory: string): CachedBlob[] {
  const blobs: CachedBlob[] = [];
  for (const [algorithm, pattern] of [
    ['sha256', /^[0-9a-f]{64}$/],
    ['sha512', /^[0-9a-f]{128}$/],
  ] as const) {
    const place = join(directory, 'blobs', algorithm);
    for (const name of present(place) ? readdirSync(place) : []) {
      if (!pattern.test(name)) continue;
      const digest = `${algorithm}:${name}`;
      const status = lstatSync(blobPath(directory, digest), { throwIfNoEntry: false });
      if (status?.isFile())
        blobs.push({ digest, sizeBytes: status.size, lastUseSeconds: Math.floor(status.mtimeMs / 1000) });
    }
  }
  return blobs.sort((a, b) => a.lastUseSeconds - b.lastUseSeconds || (a.digest < b.digest ? -1 : 1));
}

function listLeases(directory: string, host: Host): CacheLease[] {
  const place = leaseDirectory(directory);
  if (!present(place)) return [];
  const keys = new Set(readdirSync(place).flatMap((name) => /^(sha(?:256|512)-[0-9a-f]+)\.\d+$/.exec(name)?.[1] ?? []));
  return [...keys].flatMap((key) =>
    listGenerations(place, key).flatMap((generation, index, all) => {
      const found = readLease(place, key, generation);
      if (found === undefined) return [];
      const writer = parseWriter(found.writer);
      const dead =
        index < all.length - 1 ||
        (writer !== undefined && isGone(writer, host)) ||
        (writer?.hostKey !== host.key && Math.abs(Date.now() - found.modifiedMs) > foreignLeaseMs);
      return [{ path: found.path, digest: key.replace('-', ':'), host: found.hostName, live: !dead }];
    }),
  );
}

function present(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
