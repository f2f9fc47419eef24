// SPDX-License-Identifier: Apache-2.0
import { RegistryFailure } from './errors.ts';

const maxDelayMs = 30_000;
const maxAskedDelayMs = 300_000;

export interface RetryOptions {
  /** Further tries without progress. */
  readonly retries: number;
  /** The first pause; each further one is twice as long, to 30 s. */
  readonly retryDelayMs: number;
  readonly log: (text: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Tries until it works, the error is not one that another try may cure (a RegistryFailure says so), or the tries are used up. An attempt that calls
 * `progress` starts the count anew. The pauses are longer by chance, so that a thousand nodes don't come back at once; what a server asks for in
 * Retry-After is kept to, up to five minutes.
 */
export async function retry<T>(options: RetryOptions, attempt: (progress: () => void) => Promise<T>): Promise<T> {
  const { retries, signal, log } = options;
  for (let failures = 1; ; failures++) {
    let hasProgressed = false;
    try {
      return await attempt(() => {
        hasProgressed = true;
      });
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof RegistryFailure) || !error.retryable) throw error;
      // A limit on the time of a transfer would be none if every byte bought a further one.
      if (hasProgressed && error.code !== 'TRANSFER_TIMEOUT') failures = 1;
      if (failures > retries) throw error;
      const asked = error.retryAfterMs;
      const delayMs = asked === null ? backOff(options.retryDelayMs, failures) : Math.min(asked, maxAskedDelayMs);
      const said =
        asked === null ? '' : `, as the server asks${asked > maxAskedDelayMs ? ` (for ${seconds(asked)})` : ''}`;
      log(`${error.message}; trying again in ${seconds(delayMs)}${said} (${failures} of ${retries})`);
      await pause(delayMs, signal);
      signal.throwIfAborted();
    }
  }
}

/** Returns after a time, or when the signal aborts. */
function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, delayMs);
    signal.addEventListener('abort', end);
  });
}

function backOff(firstMs: number, failures: number): number {
  return Math.min(maxDelayMs, firstMs * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
}

function seconds(ms: number): string {
  return `${Number((ms / 1000).toPrecision(2))} s`;
}

/** The pause that Retry-After asks for, in seconds or as an HTTP date (RFC 9110 section 10.2.3); null when it is missing or cannot be read. */
export function readRetryAfter(value: string | undefined, nowMs: number): number | null {
  if (value === undefined) return null;
  if (/^\s*\d+(\.\d+)?\s*$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, date - nowMs);
}

/** Whether a later try may succeed where a server gave this status. */
export function isTransient(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 501 && status !== 505);
}
