// SPDX-License-Identifier: Apache-2.0
import type { Descriptor } from '../source/image.ts';
import type { PartialFile } from './partial-file.ts';

export type Outcome = 'cached' | 'downloaded' | 'waited';

/** One obtain() of a blob in this process, shared by all who ask for it meanwhile. */
export interface Flight {
  readonly blob: Descriptor;
  /** Set while this process downloads. */
  partial: PartialFile | undefined;
  /** undefined while it goes on. */
  ended: { readonly outcome: Outcome } | { readonly error: unknown } | undefined;
  /** Bytes present, for progress. */
  presentBytes: number;
  readonly watchers: Set<() => void>;
}

export interface ObtainOptions {
  readonly signal?: AbortSignal;
  /** Gets the number of bytes that are present so far, often. It becomes smaller when a download begins anew. */
  readonly onProgress?: (presentBytes: number) => void;
}

/** Calls all who watch a flight. */
export function notify(flight: Flight): void {
  for (const watcher of flight.watchers) watcher();
}

/** Waits until a condition on a flight holds. */
export async function waitFor(flight: Flight, holds: () => boolean): Promise<void> {
  if (holds()) return;
  await new Promise<void>((resolve) => {
    const watcher = () => {
      if (!holds()) return;
      flight.watchers.delete(watcher);
      resolve();
    };
    flight.watchers.add(watcher);
  });
}

/** Starts a flight that goes on as long as one of those who joined it wants it. */
export function shareFlight(blob: Descriptor, run: (flight: Flight, signal: AbortSignal) => Promise<Outcome>) {
  const flight: Flight = { blob, partial: undefined, ended: undefined, presentBytes: 0, watchers: new Set() };
  const stop = new AbortController();
  let wanted = 0;
  const running = run(flight, stop.signal);
  const over = running.then(
    (outcome) => end({ outcome }),
    (error: unknown) => end({ error }),
  );
  function end(how: NonNullable<Flight['ended']>): void {
    flight.ended = how;
    notify(flight);
  }
  async function join({ signal, onProgress }: ObtainOptions): Promise<Outcome> {
    wanted++;
    const watcher = () => onProgress?.(flight.presentBytes);
    flight.watchers.add(watcher);
    const aborted = Promise.withResolvers<never>();
    const leave = () => {
      wanted--;
      if (wanted === 0) stop.abort(signal?.reason);
      // The last one waits until the lease is given back.
      else aborted.reject(signal?.reason);
    };
    signal?.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([running, aborted.promise]);
    } catch (error) {
      throw signal?.aborted === true ? signal.reason : error;
    } finally {
      signal?.removeEventListener('abort', leave);
      flight.watchers.delete(watcher);
    }
  }
  return { flight, over, join, isGivenUp: () => stop.signal.aborted };
}
