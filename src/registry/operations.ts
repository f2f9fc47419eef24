// SPDX-License-Identifier: Apache-2.0
import type { RegistryReference } from '../reference/registry-reference.ts';
import { RegistryFailure } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { type Endpoint, listEndpoints } from './mirrors.ts';
import type { SharedParts } from './parts.ts';

/** What the operations of one client (manifests, blobs, push) work with. */
export interface Operations {
  readonly parts: SharedParts;
  readonly exchange: Exchange;
  /** Mirrors that could not be reached: not asked again by this client. */
  readonly deadMirrors: Set<string>;
}

/** What a mirror that is there may do once; after anything else that is no answer it is not asked again. */
const passing = new Set(['ECONNRESET', 'EPIPE', 'STALLED', 'TRANSFER_TIMEOUT']);

/**
 * Does something with the first mirror that can, else with the registry itself. A mirror gets one further try without progress, and its failure is told to
 * the log only. Throws what the registry's own try throws, an abort, and what is not the mirror's fault (a full disk).
 */
export async function tryEndpoints<T>(
  { parts, deadMirrors }: Operations,
  ref: RegistryReference,
  signal: AbortSignal,
  attempt: (endpoint: Endpoint, retries: number) => Promise<T>,
  skip: (endpoint: Endpoint) => boolean = () => false,
): Promise<T> {
  const { options } = parts;
  for (const endpoint of listEndpoints(ref, options.mirrors)) {
    if (!endpoint.isMirror) return await attempt(endpoint, options.retries);
    if (deadMirrors.has(endpoint.host) || skip(endpoint)) continue;
    try {
      return await attempt(endpoint, Math.min(1, options.retries));
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof RegistryFailure)) throw error;
      if (error.status === 0 && !passing.has(error.code)) deadMirrors.add(endpoint.host);
      options.log(`${error.message}; going on without this mirror`);
    }
  }
  throw new Error('a reference without an endpoint');
}
