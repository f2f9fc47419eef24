// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import type { RegistryReference } from '../reference/registry-reference.ts';
import { discardBody, readBody } from './body.ts';
import { explainTransport, RegistryFailure } from './errors.ts';
import type { RegistryResponse } from './exchange.ts';
import type { Endpoint } from './mirrors.ts';
import { type Operations, tryEndpoints } from './operations.ts';
import { retry } from './retry.ts';
import { repositoryScope } from './scopes.ts';

/** A manifest or an index, byte for byte. */
export interface FetchedManifest {
  readonly bytes: Buffer;
  /** What it says itself, else what the registry said. */
  readonly mediaType: string;
  readonly digest: string;
}

/** What a registry tells of a manifest without sending it. */
export interface ManifestHead {
  readonly mediaType: string;
  readonly digest: string;
  readonly sizeBytes: number;
}

/** OCI image-spec and Docker's image manifest version 2, schema 2. */
const mediaTypes = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];

const maxManifestBytes = 8 * 1024 * 1024;

/**
 * Fetches a manifest by digest where the reference has one, else by tag (`latest` when there is none), from a mirror or the registry. Throws RegistryFailure:
 * also when the bytes don't have the digest of the reference or the one that the registry named, are longer than 8 MiB, or are of Docker's schema 1.
 */
export function fetchManifest(
  operations: Operations,
  ref: RegistryReference,
  signal: AbortSignal,
): Promise<FetchedManifest> {
  return tryEndpoints(operations, ref, signal, async (endpoint, retries) => {
    return await retry({ ...operations.parts.retry, retries, signal }, async () => {
      const response = await ask(operations, 'GET', endpoint, ref, signal);
      try {
        const bytes = await readBody(response, maxManifestBytes, operations.parts.options.stallTimeoutMs);
        if (bytes === null) throw refuse(response, 'the manifest is longer than 8 MiB', 'check that it is an image');
        return check(response, bytes, ref.digest);
      } catch (error) {
        throw explainTransport(response.facts, error);
      }
    });
  });
}

/** What the registry (no mirror) has under the reference; null when it has nothing. Docker Hub does not count it as a pull. */
export async function headManifest(
  operations: Operations,
  endpoint: Endpoint,
  ref: RegistryReference,
  signal: AbortSignal,
): Promise<ManifestHead | null> {
  const head = await retry({ ...operations.parts.retry, signal }, async () => {
    const response = await ask(operations, 'HEAD', endpoint, ref, signal, [404]);
    discardBody(response);
    if (response.status === 404) return null;
    const digest = String(response.headers['docker-content-digest'] ?? '') || ref.digest;
    const sizeBytes = Number(response.headers['content-length'] ?? Number.NaN);
    return { mediaType: mediaTypeOf(response), digest, sizeBytes };
  });
  if (head === null || (head.digest !== '' && Number.isSafeInteger(head.sizeBytes))) return head;
  // An old registry that does not tell: the bytes do.
  const manifest = await fetchManifest(operations, ref, signal);
  return { mediaType: manifest.mediaType, digest: manifest.digest, sizeBytes: manifest.bytes.length };
}

function ask(
  { exchange }: Operations,
  method: 'GET' | 'HEAD',
  endpoint: Endpoint,
  ref: RegistryReference,
  signal: AbortSignal,
  alsoExpected: readonly number[] = [],
): Promise<RegistryResponse> {
  const name = ref.digest || ref.tag || 'latest';
  return exchange.send({
    endpoint,
    what: `manifest ${name}`,
    method,
    target: `${endpoint.repository}/manifests/${name}`,
    headers: { accept: mediaTypes.join(', ') },
    scopes: [repositoryScope(endpoint.repository, 'pull')],
    expected: [200, ...alsoExpected],
    signal,
  });
}

function check(response: RegistryResponse, bytes: Buffer, wanted: string): FetchedManifest {
  const named = String(response.headers['docker-content-digest'] ?? '');
  if (wanted !== '' && digestLike(wanted, bytes, response) !== wanted) {
    throw refuse(
      response,
      `the bytes that came don't have the digest ${wanted}`,
      'try again; if it stays so, the registry is damaged',
    );
  }
  if (named !== '' && isKnownDigest(named) && digestLike(named, bytes, response) !== named) {
    throw refuse(response, `the bytes that came don't have the digest ${named} that the registry named`, 'try again');
  }
  const value = parse(response, bytes);
  const said = value['mediaType'];
  const mediaType = typeof said === 'string' && mediaTypes.includes(said) ? said : mediaTypeOf(response);
  if (value['schemaVersion'] === 1 || /docker\.distribution\.manifest\.v1\+/.test(mediaType)) {
    throw refuse(
      response,
      "it is of Docker's image format version 1 (schema 1), which went out of use in 2017",
      'have it pushed anew by a current docker or podman, or convert it: skopeo copy --format v2s2 docker://OLD docker://NEW',
    );
  }
  const digest =
    wanted || (isKnownDigest(named) ? named : `sha256:${createHash('sha256').update(bytes).digest('hex')}`);
  return { bytes, mediaType: mediaTypes.includes(mediaType) ? mediaType : guess(value, mediaType), digest };
}

function parse(response: RegistryResponse, bytes: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // told below
  }
  throw refuse(
    response,
    'what came is no manifest (no JSON object)',
    'check the name; a proxy or a login page may answer in its place',
  );
}

/** By its fields, where neither the manifest nor the registry tells (`application/json`): OCI lets the field out. */
function guess(value: Record<string, unknown>, otherwise: string): string {
  if (Array.isArray(value['manifests'])) return mediaTypes[0] as string;
  return Array.isArray(value['layers']) ? (mediaTypes[1] as string) : otherwise;
}

function mediaTypeOf(response: RegistryResponse): string {
  return (response.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}

function isKnownDigest(digest: string): boolean {
  return /^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/.test(digest);
}

/** The digest of bytes by the algorithm of another digest. */
function digestLike(digest: string, bytes: Buffer, response: RegistryResponse): string {
  if (!isKnownDigest(digest))
    throw refuse(response, `the digest ${digest.slice(0, 150)} is not of sha256 or sha512`, '');
  const algorithm = digest.startsWith('sha512:') ? 'sha512' : 'sha256';
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}

function refuse(response: RegistryResponse, reason: string, hint: string): RegistryFailure {
  return new RegistryFailure(response.facts, reason, { hint });
}
