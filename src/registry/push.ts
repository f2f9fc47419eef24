// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { RegistryReference } from '../reference/registry-reference.ts';
import { discardBody } from './body.ts';
import { explainTransport, RegistryFailure } from './errors.ts';
import type { RegistryResponse } from './exchange.ts';
import { ownEndpoint } from './mirrors.ts';
import type { Operations } from './operations.ts';
import { readLocation } from './redirect.ts';
import { retry } from './retry.ts';
import { repositoryScope } from './scopes.ts';
import { type CountedStream, countStream } from './upload-stream.ts';

export interface UploadOptions {
  /** '' when it is not known before the bytes were read; it is then their sha256. */
  readonly digest: string;
  /** null when it is not known. */
  readonly sizeBytes: number | null;
  /** Opens the bytes from their beginning; called once for each try. */
  readonly open: () => Promise<Readable>;
  /** Bytes sent so far; falls back to 0 when an upload begins anew. */
  readonly onProgress?: (sentBytes: number) => void;
}

export interface UploadedBlob {
  readonly digest: string;
  readonly sizeBytes: number;
}

/** Distribution-spec "Push"; to the registry itself, never to a mirror. */
export interface Push {
  hasBlob(ref: RegistryReference, digest: string, signal: AbortSignal): Promise<boolean>;
  mountBlob(ref: RegistryReference, digest: string, fromRepository: string, signal: AbortSignal): Promise<boolean>;
  uploadBlob(ref: RegistryReference, options: UploadOptions, signal: AbortSignal): Promise<UploadedBlob>;
  putManifest(ref: RegistryReference, bytes: Buffer, mediaType: string, signal: AbortSignal): Promise<string>;
}

/** Pushes by the operations of a client; it remembers uploads that were opened in place of a mount. */
export function createPush({ parts, exchange }: Operations): Push {
  /** Uploads that a registry opened instead of mounting, by repository and digest: the upload that follows uses them. */
  const opened = new Map<string, URL>();
  const keyOf = (ref: RegistryReference, digest: string) => JSON.stringify([ref.registry, ref.repository, digest]);

  interface Step {
    readonly what: string;
    readonly method: string;
    readonly target: string | URL;
    readonly headers?: Record<string, string | number>;
    readonly body?: Buffer | (() => Promise<Readable>);
    readonly expected: readonly number[];
    readonly otherScopes?: readonly string[];
  }

  function send(ref: RegistryReference, step: Step, signal: AbortSignal): Promise<RegistryResponse> {
    const endpoint = ownEndpoint(ref);
    const { otherScopes = [], ...rest } = step;
    const scopes = [repositoryScope(ref.repository, 'pull,push'), ...otherScopes];
    return exchange.send({ ...rest, endpoint, scopes, signal });
  }

  const inTries = <T>(signal: AbortSignal, attempt: () => Promise<T>) => retry({ ...parts.retry, signal }, attempt);

  /** Where to send next: the Location of an answer. */
  function next(response: RegistryResponse): URL {
    discardBody(response);
    try {
      return repairLocation(response, parts.options.allowHttp);
    } catch (error) {
      throw explainTransport(response.facts, error);
    }
  }

  async function begin(ref: RegistryReference, what: string, signal: AbortSignal): Promise<URL> {
    const headers = { 'content-length': 0 };
    const target = `${ref.repository}/blobs/uploads/`;
    return next(await send(ref, { what, method: 'POST', target, headers, expected: [202] }, signal));
  }

  async function upload(ref: RegistryReference, options: UploadOptions, signal: AbortSignal): Promise<UploadedBlob> {
    const what = `upload of blob ${options.digest || '(digest not known yet)'}`;
    const key = keyOf(ref, options.digest);
    const location = opened.get(key) ?? (await begin(ref, what, signal));
    opened.delete(key);
    const counted: { stream: CountedStream | null } = { stream: null };
    const body = async () => {
      counted.stream = countStream(await options.open(), options);
      return counted.stream.readable;
    };
    const headers = { 'content-type': 'application/octet-stream' };
    if (options.digest !== '' && options.sizeBytes !== null) {
      const whole = { ...headers, 'content-length': options.sizeBytes };
      const target = withDigest(location, options.digest);
      const response = await send(
        ref,
        { what, method: 'PUT', target, headers: whole, body, expected: [201, 204] },
        signal,
      );
      discardBody(response);
      return { digest: options.digest, sizeBytes: options.sizeBytes };
    }
    const sent = await send(
      ref,
      { what, method: 'PATCH', target: location, headers, body, expected: [202, 204] },
      signal,
    );
    const { sizeBytes = 0, digest = '' } = counted.stream?.result() ?? {};
    const target = withDigest(next(sent), digest);
    const none = { 'content-length': 0 };
    discardBody(await send(ref, { what, method: 'PUT', target, headers: none, expected: [201, 204] }, signal));
    return { digest, sizeBytes };
  }

  return {
    hasBlob: (ref, digest, signal) =>
      inTries(signal, async () => {
        const target = `${ref.repository}/blobs/${digest}`;
        const response = await send(
          ref,
          { what: `blob ${digest}`, method: 'HEAD', target, expected: [200, 404] },
          signal,
        );
        discardBody(response);
        return response.status === 200;
      }),
    mountBlob: (ref, digest, fromRepository, signal) =>
      inTries(signal, async () => {
        const query = new URLSearchParams({ mount: digest, from: fromRepository });
        const step = {
          what: `mount of blob ${digest} from ${fromRepository}`,
          method: 'POST',
          target: `${ref.repository}/blobs/uploads/?${query}`,
          headers: { 'content-length': 0 },
          expected: [201, 202],
          otherScopes: [repositoryScope(fromRepository, 'pull')],
        };
        const response = await send(ref, step, signal);
        if (response.status === 202) opened.set(keyOf(ref, digest), next(response));
        else discardBody(response);
        return response.status === 201;
      }),
    uploadBlob: (ref, options, signal) => inTries(signal, () => upload(ref, options, signal)),
    putManifest: (ref, bytes, mediaType, signal) =>
      inTries(signal, async () => {
        const name = ref.digest || ref.tag || 'latest';
        const algorithm = ref.digest.startsWith('sha512:') ? 'sha512' : 'sha256';
        const digest = `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
        const headers = { 'content-type': mediaType, 'content-length': bytes.length };
        const target = `${ref.repository}/manifests/${name}`;
        const step = {
          what: `push of manifest ${name}`,
          method: 'PUT',
          target,
          headers,
          body: bytes,
          expected: [201, 200, 202],
        };
        const response = await send(ref, step, signal);
        discardBody(response);
        const said = String(response.headers['docker-content-digest'] ?? digest);
        if (said.startsWith(`${algorithm}:`) && said !== digest) {
          throw new RegistryFailure(
            response.facts,
            `the registry stored something else: ${said.slice(0, 150)}, not ${digest}`,
          );
        }
        return digest;
      }),
  };
}

function withDigest(location: URL, digest: string): URL {
  const url = new URL(location);
  url.searchParams.set('digest', digest);
  return url;
}

/**
 * The Location of an upload, relative or not, maybe on another host. One that says http for the very host that was asked by https comes from a registry behind
 * a TLS proxy that does not know it: https is meant.
 */
function repairLocation(response: RegistryResponse, allowHttp: boolean): URL {
  const location = response.headers.location ?? '';
  const { host, protocol } = response.url;
  const plain = `http://${host}/`;
  const isMeant = protocol === 'https:' && location.toLowerCase().startsWith(plain);
  return readLocation(isMeant ? `https${location.slice('http'.length)}` : location, response.url, allowHttp);
}
