// SPDX-License-Identifier: Apache-2.0
import type { IncomingHttpHeaders } from 'node:http';

/** A request as the proxy saw it. */
export interface SeenRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly kind: 'ping' | 'manifest' | 'blob' | 'upload' | 'other';
  /** Of a blob or of a manifest asked for by digest; '' otherwise. */
  readonly digest: string;
  /** 1 for the first request of this method for this path; those that were answered with 401 don't count. */
  readonly tryNumber: number;
  /** Of the answer; 0 before it. */
  status: number;
  /** Bytes of the body that were sent. */
  sentBytes: number;
}

/**
 * What happens to one request. Offsets are absolute in the blob, also where a range was asked for. What changes an answer (all but `answer` and `cut` before) is
 * done to answers of 200 and 206 only, so that a registry's challenge comes through.
 */
export type Fault =
  /** The connection is cut when the body is sent up to an offset (at 0: right after the head); before: instead of any answer. */
  | { readonly kind: 'cut'; readonly atByte: number | 'before' }
  /** Nothing comes any more from an offset on. */
  | { readonly kind: 'stall'; readonly atByte: number }
  /** The body comes in pieces of 16 KiB at this rate. */
  | { readonly kind: 'slow'; readonly bytesPerSecond: number }
  /** The byte at an offset is another one. */
  | { readonly kind: 'corrupt'; readonly atByte: number }
  /** The body ends in good order, but here. */
  | { readonly kind: 'short'; readonly atByte: number }
  /** More bytes than there should be follow. */
  | { readonly kind: 'long'; readonly extraBytes: number }
  /** The registry never hears of the request. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers?: Record<string, string>;
      readonly body?: string;
    }
  /** A redirect to the other origin, which has the right bytes. */
  | { readonly kind: 'redirect'; readonly status?: number }
  /** The header Range is ignored. */
  | { readonly kind: 'no-range' };

export type Rule = (request: SeenRequest, sizeBytes: (digest: string) => number) => Fault | null;

/** Cuts each blob at every tenth: the first try at one tenth, the second at two tenths, ...; the tenth try is whole. */
export function cutEveryTenth(): Rule {
  return ({ kind, method, digest, tryNumber }, sizeOf) =>
    kind === 'blob' && method === 'GET' && tryNumber < 10
      ? { kind: 'cut', atByte: Math.ceil((sizeOf(digest) * tryNumber) / 10) }
      : null;
}

/** Does something to the first tries for blobs (or what else is named). */
export function onTries(tries: number, fault: Fault, kind: SeenRequest['kind'] = 'blob'): Rule {
  return (request) => (request.kind === kind && request.method !== 'HEAD' && request.tryNumber <= tries ? fault : null);
}

/**
 * Has each token be good for some requests only, and then be answered with a status (401 with the registry's challenge, or what else a registry does with an
 * expired token).
 */
export function expireTokens(options: { afterRequests: number; status?: number; challenge: string }): Rule {
  const uses = new Map<string, number>();
  return ({ headers }) => {
    const { authorization = '' } = headers;
    if (!authorization.startsWith('Bearer ')) return null;
    const count = (uses.get(authorization) ?? 0) + 1;
    uses.set(authorization, count);
    if (count <= options.afterRequests) return null;
    const status = options.status ?? 401;
    const body = JSON.stringify({ errors: [{ code: 'DENIED', message: 'Your Authorization Token has expired.' }] });
    return { kind: 'answer', status, headers: status === 401 ? { 'www-authenticate': options.challenge } : {}, body };
  };
}
