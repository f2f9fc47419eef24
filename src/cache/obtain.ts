// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../failure.ts';
import type { Host } from '../host.ts';
import { listPartials, removePartials } from './adopt-partial.ts';
import { forgetFailedTries, noteFailedTry, readFailedTry } from './failed-try.ts';
import { type Flight, notify, type Outcome } from './flight.ts';
import { explainCache, keyOf, leaseDirectory, makeParts, partialDirectory } from './layout.ts';
import { type Lease, type LeaseTimes, startWatch, tryLease } from './lease.ts';
import { findBlob } from './open-blob.ts';
import type { PartialBlob } from './partial.ts';
import { openPartial, type PartialFile, PartialGone } from './partial-file.ts';

export type Download = (partial: PartialBlob, signal: AbortSignal) => Promise<void>;

export interface Place {
  readonly directory: string;
  readonly host: Host;
  readonly times: LeaseTimes;
}

const firstPollMs = 20;
const lastPollMs = 500;
/** A waiter that saw so many other processes fail does not try itself. */
const maxFailedTries = 3;

/** The lease went to another process while we were suspended or could not reach the file system. */
class LeaseLost extends Error {}

/**
 * Gets a blob into the cache: by a download of ours, or by waiting for that of another process, and taking over when it dies.
 * Throws Failure, what the download throws, and the signal's reason.
 */
export async function obtainBlob(
  place: Place,
  flight: Flight,
  download: Download,
  signal: AbortSignal,
): Promise<Outcome> {
  const { directory, host, times } = place;
  const { blob } = flight;
  if (await findBlob(directory, blob)) return 'cached';
  await makeParts(directory, blob.digest);
  const key = keyOf(blob.digest);
  const leases = leaseDirectory(directory);
  const watch = startWatch();
  let pollMs = firstPollMs;
  let failedTries = 0;
  let lastTry = readFailedTry(leases, key);
  for (let waited = false; ; waited = true) {
    signal.throwIfAborted();
    // Everything that could be done without the lease is done again with it.
    const lease = await explainCache(directory, 'write to', () => tryLease(leases, key, { host, times, watch }));
    if (lease !== undefined) {
      try {
        if (await findBlob(directory, blob)) return waited ? 'waited' : 'cached';
        await downloadBlob(place, flight, download, { signal, lease });
        removePartials(partialDirectory(directory), key);
        forgetFailedTries(leases, key);
        return 'downloaded';
      } catch (error) {
        if (!(error instanceof LeaseLost)) {
          if (!signal.aborted) noteFailedTry(leases, key, host);
          throw error;
        }
      } finally {
        lease.release();
      }
    } else {
      await sleep(pollMs * (0.75 + Math.random() / 2), undefined, { signal });
      pollMs = Math.min(pollMs * 1.5, lastPollMs);
    }
    if (await findBlob(directory, blob)) return 'waited';
    const latestTry = readFailedTry(leases, key);
    if (latestTry !== lastTry && latestTry !== '' && ++failedTries >= maxFailedTries)
      throw othersFailed(flight, latestTry);
    lastTry = latestTry;
    showWaiting(place, flight, key);
  }
}

/** Downloads and commits as the owner of the lease. Throws LeaseLost when that went to somebody else. */
async function downloadBlob(
  { directory, host }: Place,
  flight: Flight,
  download: Download,
  { signal, lease }: { signal: AbortSignal; lease: Lease },
): Promise<void> {
  const { blob } = flight;
  const partial = await openPartial(directory, blob, host);
  const broken = new AbortController();
  partial.onChange = () => {
    if (partial.failure !== undefined) broken.abort(partial.failure);
    notify(flight);
  };
  flight.partial = partial;
  notify(flight);
  const shown = showProgress(partial, flight);
  const fetchRest = () =>
    partial.sizeBytes === blob.sizeBytes
      ? Promise.resolve()
      : download(shown, AbortSignal.any([signal, lease.lost, broken.signal]));
  try {
    await fetchRest();
    if (partial.adopted) await commitAdopted(partial, fetchRest);
    else await partial.commit();
  } catch (error) {
    flight.partial = undefined;
    if (error instanceof PartialGone || lease.lost.aborted) throw new LeaseLost();
    throw partial.failure ?? error;
  } finally {
    await partial.close();
  }
}

/** Bytes that an earlier process left may be bad (a host that lost power): then all are downloaded anew, once. */
async function commitAdopted(partial: PartialFile, fetchRest: () => Promise<void>): Promise<void> {
  if (await partial.matches()) return partial.commit();
  await partial.restart();
  await fetchRest();
  await partial.commit();
}

/** The partial blob for the download, which tells the flight of every chunk. */
function showProgress(partial: PartialFile, flight: Flight): PartialBlob {
  const show = () => {
    flight.presentBytes = partial.sizeBytes;
    notify(flight);
  };
  show();
  return {
    get sizeBytes() {
      return partial.sizeBytes;
    },
    append(chunk) {
      const room = partial.append(chunk);
      show();
      return room;
    },
    async restart() {
      await partial.restart();
      show();
    },
  };
}

/** While another process downloads: what is in its file so far. */
function showWaiting({ directory }: Place, flight: Flight, key: string): void {
  try {
    const sizes = listPartials(partialDirectory(directory), key).map(({ status }) => status.size);
    flight.presentBytes = Math.max(0, ...sizes);
    notify(flight);
  } catch {
    // It is for show only.
  }
}

function othersFailed({ blob }: Flight, lastTry: string): Failure {
  const [host = '', pid = ''] = lastTry.trim().split(' ');
  return new Failure(
    `cannot get ${blob.digest}: ${maxFailedTries} other processes tried while this one waited, and failed (the last one: process ${pid} on ${host})`,
    { hint: 'see what they say' },
  );
}
