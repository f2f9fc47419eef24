// SPDX-License-Identifier: Apache-2.0
import type { PartialBlob } from '../cache/partial.ts';
import type { RegistryReference } from '../reference/registry-reference.ts';
import type { Descriptor } from '../source/image.ts';
import { discardBody, readChunks } from './body.ts';
import { explainTransport, RegistryFailure } from './errors.ts';
import type { RegistryResponse } from './exchange.ts';
import type { Endpoint } from './mirrors.ts';
import { type Operations, tryEndpoints } from './operations.ts';
import { retry } from './retry.ts';
import { repositoryScope } from './scopes.ts';

/** Downloads blobs. One for each client: it remembers which mirrors sent what did not verify. */
export interface BlobDownloads {
  /**
   * Appends to `partial` what it lacks of a blob: what is there is not asked for again, and where a server cannot send a part, what is there is read past. Tries
   * again (retry.ts) until the size is reached. The digest is checked by whoever keeps the blob. Throws RegistryFailure, an abort, and what
   * partial.append throws.
   */
  download(ref: RegistryReference, blob: Descriptor, partial: PartialBlob, signal: AbortSignal): Promise<void>;
}

/** Downloads by the operations of a client. */
export function createBlobDownloads(operations: Operations): BlobDownloads {
  /** The mirror from which a blob came whole, by digest: asked for it again, it cannot have been right. */
  const deliveredBy = new Map<string, string>();
  const { parts } = operations;

  async function downloadFrom(
    endpoint: Endpoint,
    retries: number,
    job: { blob: Descriptor; partial: PartialBlob; signal: AbortSignal },
  ): Promise<void> {
    let mayAskForPart = true;
    await retry({ ...parts.retry, retries, signal: job.signal }, async (progress) => {
      if (job.partial.sizeBytes >= job.blob.sizeBytes) return;
      const response = await ask(operations, endpoint, job, mayAskForPart);
      try {
        const from = startOf(response, job.partial.sizeBytes);
        if (from === null) {
          mayAskForPart = false;
          discardBody(response);
          throw again(response, 'the registry cannot send the rest of it, or sent another part than was asked for');
        }
        await store(parts.options.stallTimeoutMs, response, from, job, progress);
      } catch (error) {
        throw explainTransport(response.facts, error);
      }
    });
    if (endpoint.isMirror) deliveredBy.set(job.blob.digest, endpoint.host);
  }

  return {
    download: async (ref, blob, partial, signal) => {
      if (partial.sizeBytes > blob.sizeBytes) await partial.restart();
      await tryEndpoints(
        operations,
        ref,
        signal,
        (endpoint, retries) => downloadFrom(endpoint, retries, { blob, partial, signal }),
        (endpoint) => deliveredBy.get(blob.digest) === endpoint.host,
      );
    },
  };
}

function ask(
  { exchange }: Operations,
  endpoint: Endpoint,
  { blob, partial, signal }: { blob: Descriptor; partial: PartialBlob; signal: AbortSignal },
  mayAskForPart: boolean,
): Promise<RegistryResponse> {
  const range = mayAskForPart && partial.sizeBytes > 0 ? { range: `bytes=${partial.sizeBytes}-` } : {};
  return exchange.send({
    endpoint,
    what: `blob ${blob.digest}`,
    method: 'GET',
    target: `${endpoint.repository}/blobs/${blob.digest}`,
    headers: { 'accept-encoding': 'identity', ...range },
    scopes: [repositoryScope(endpoint.repository, 'pull')],
    expected: 'range' in range ? [200, 206, 416] : [200],
    signal,
  });
}

/** The offset in the blob of the first byte that comes; null when it does not serve. */
function startOf({ status, headers }: RegistryResponse, presentBytes: number): number | null {
  if (status === 200) return 0;
  if (status !== 206) return null;
  const match = /^bytes (\d+)-\d+\/(?:\d+|\*)$/.exec((headers['content-range'] ?? '').trim());
  const from = match === null ? Number.NaN : Number(match[1]);
  return from <= presentBytes ? from : null;
}

/** Appends what comes, but for what is there already. */
async function store(
  stallTimeoutMs: number,
  response: RegistryResponse,
  from: number,
  { blob, partial }: { blob: Descriptor; partial: PartialBlob },
  progress: () => void,
): Promise<void> {
  let offset = from;
  const tooLong = new Error('longer than its descriptor says');
  try {
    if (offset + Number(response.headers['content-length'] ?? 0) > blob.sizeBytes) {
      response.body.destroy();
      throw tooLong;
    }
    await readChunks(
      response,
      (chunk) => {
        const missing = chunk.subarray(Math.min(chunk.length, Math.max(0, partial.sizeBytes - offset)));
        offset += chunk.length;
        if (offset > blob.sizeBytes) throw tooLong;
        if (missing.length === 0) return;
        progress();
        return partial.append(missing) ?? undefined;
      },
      stallTimeoutMs,
    );
  } catch (error) {
    if (error !== tooLong) throw error;
    // None of it can be trusted: the next try must not build on it.
    await partial.restart();
    throw new RegistryFailure(response.facts, `it is longer than the ${blob.sizeBytes} bytes of its descriptor`, {
      hint: 'the registry or what is between is damaged; tell who runs it',
    });
  }
  if (offset < blob.sizeBytes) throw again(response, `only ${offset} of ${blob.sizeBytes} bytes came`);
}

function again(response: RegistryResponse, reason: string): RegistryFailure {
  return new RegistryFailure(response.facts, reason, { retryable: true, hint: 'try again: what came is kept' });
}
