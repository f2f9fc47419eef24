// SPDX-License-Identifier: Apache-2.0
import type { PartialBlob } from '../cache/partial.ts';
import type { RegistryReference } from '../reference/registry-reference.ts';
import type { Descriptor } from '../source/image.ts';
import { createBlobDownloads } from './blobs.ts';
import { createExchange } from './exchange.ts';
import { type FetchedManifest, fetchManifest, headManifest, type ManifestHead } from './manifests.ts';
import { ownEndpoint } from './mirrors.ts';
import type { Operations } from './operations.ts';
import { completeOptions, type RegistryOptions } from './options.ts';
import { pingRegistry } from './ping.ts';
import { createPush, type UploadedBlob, type UploadOptions } from './push.ts';
import { createSecretMask } from './redact.ts';
import { createTransport } from './transport.ts';

export type { Mirror, RegistryOptions } from './options.ts';

/**
 * Talks to registries (OCI distribution-spec 1.1, which is Docker's registry API v2). Everything throws RegistryFailure (errors.ts), a Failure that names the
 * registry, the repository, the URL, the scope and whose credentials were used, never a secret. A signal that aborts has its reason thrown.
 */
export interface RegistryClient {
  /** Throws unless the registry answers and accepts the login, when it wants one. */
  ping(registry: string, options?: { user?: string; signal?: AbortSignal }): Promise<void>;
  /** manifests.ts: verified against ref.digest where there is one. */
  fetchManifest(ref: RegistryReference, signal?: AbortSignal): Promise<FetchedManifest>;
  /** null when there is none. Asks the registry itself, no mirror. */
  headManifest(ref: RegistryReference, signal?: AbortSignal): Promise<ManifestHead | null>;
  /** blobs.ts: retries, resumes, takes new tokens. Many may run at once. */
  downloadBlob(ref: RegistryReference, blob: Descriptor, partial: PartialBlob, signal: AbortSignal): Promise<void>;
  hasBlob(ref: RegistryReference, digest: string, signal?: AbortSignal): Promise<boolean>;
  /** Has the registry take a blob from another of its repositories; false when it does not, and the blob must be uploaded. */
  mountBlob(ref: RegistryReference, digest: string, fromRepository: string, signal?: AbortSignal): Promise<boolean>;
  /** push.ts; `open` is called for every try. */
  uploadBlob(ref: RegistryReference, options: UploadOptions, signal?: AbortSignal): Promise<UploadedBlob>;
  /** Puts a manifest under ref.digest where there is one, else under ref.tag; returns its digest. */
  putManifest(ref: RegistryReference, bytes: Buffer, mediaType: string, signal?: AbortSignal): Promise<string>;
  /** Cuts all connections and ends what is under way, so that nothing holds the process. */
  close(): void;
}

/** A client for registries (OCI distribution-spec); nothing is connected before the first request. Its promises reject with RegistryFailure. */
export function createRegistryClient(options: RegistryOptions): RegistryClient {
  const full = completeOptions(options);
  const transport = createTransport(full);
  const closing = new AbortController();
  const { retries, retryDelayMs, onRetry } = full;
  const parts = {
    options: full,
    transport,
    mask: createSecretMask(),
    retry: { retries, retryDelayMs, log: onRetry, signal: closing.signal },
  };
  const operations: Operations = { parts, exchange: createExchange(parts), deadMirrors: new Set() };
  const downloads = createBlobDownloads(operations);
  const push = createPush(operations);
  const untilClosed = (signal?: AbortSignal) =>
    signal === undefined ? closing.signal : AbortSignal.any([signal, closing.signal]);

  return {
    ping: (registry, { user = '', signal } = {}) => pingRegistry(operations, registry, user, untilClosed(signal)),
    fetchManifest: (ref, signal) => fetchManifest(operations, ref, untilClosed(signal)),
    headManifest: (ref, signal) => headManifest(operations, ownEndpoint(ref), ref, untilClosed(signal)),
    downloadBlob: (ref, blob, partial, signal) => downloads.download(ref, blob, partial, untilClosed(signal)),
    hasBlob: (ref, digest, signal) => push.hasBlob(ref, digest, untilClosed(signal)),
    mountBlob: (ref, digest, from, signal) => push.mountBlob(ref, digest, from, untilClosed(signal)),
    uploadBlob: (ref, upload, signal) => push.uploadBlob(ref, upload, untilClosed(signal)),
    putManifest: (ref, bytes, mediaType, signal) => push.putManifest(ref, bytes, mediaType, untilClosed(signal)),
    close: () => {
      closing.abort(new Error('the registry client was closed'));
      transport.close();
    },
  };
}
