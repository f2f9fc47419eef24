// SPDX-License-Identifier: Apache-2.0
import { discardBody } from './body.ts';
import { TransportFailure } from './errors.ts';
import { isLoopback } from './proxy.ts';
import { cleanText, redactUrl } from './redact.ts';
import type { HttpRequest, HttpResponse, Transport } from './transport.ts';

const maxRedirects = 10;

/** A response, and whether a redirect led to another origin than was asked. */
export interface FollowedResponse extends HttpResponse {
  readonly crossedOrigin: boolean;
}

/**
 * Sends a request and follows redirects (301, 302, 303, 307, 308; at most 10). Authorization goes to the request's own origin only: once a redirect
 * led elsewhere it is gone, also when a later one leads back. Throws TransportFailure, which is final for a redirect that must not be followed: from https
 * to http without allowHttp, to another protocol, in circles, or of a request with a body where the server would have it changed into another one.
 */
export async function sendFollowing(
  transport: Transport,
  request: HttpRequest,
  allowHttp: boolean,
): Promise<FollowedResponse> {
  let current = request;
  let crossedOrigin = false;
  for (let count = 0; ; count++) {
    const response = await transport.send(current);
    if (!isRedirect(response)) return { ...response, crossedOrigin };
    discardBody(response);
    if (count === maxRedirects) throw refuse(`more than ${maxRedirects} redirects`, current.url);
    const url = readLocation(response.headers.location ?? '', current.url, allowHttp);
    if (url.origin !== request.url.origin) crossedOrigin = true;
    current = redirected(current, response.status, url, crossedOrigin);
  }
}

function isRedirect({ status }: HttpResponse): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

function redirected(request: HttpRequest, status: number, url: URL, crossedOrigin: boolean): HttpRequest {
  const isReading = request.method === 'GET' || request.method === 'HEAD';
  if (!isReading && status !== 307 && status !== 308) {
    throw refuse(`a redirect (${status}) that does not say to ${request.method} again`, request.url);
  }
  if (!crossedOrigin) return { ...request, url };
  if (request.hasSecretBody) throw refuse(`a redirect to ${url.host}, which may not get the login`, request.url);
  const headers = Object.fromEntries(
    Object.entries(request.headers).filter(([name]) => !/^(authorization|cookie|proxy-authorization)$/i.test(name)),
  );
  return { ...request, url, headers };
}

/** Where a Location (relative or not) leads from a URL; throws a final TransportFailure when it must not be followed. */
export function readLocation(location: string, from: URL, allowHttp: boolean): URL {
  if (location === '') throw refuse('a redirect without Location', from);
  let url: URL;
  try {
    url = new URL(location, from);
  } catch {
    throw refuse(`a redirect to what is not a URL (${cleanText(location.replace(/\?.*/s, '?***'), 200)})`, from);
  }
  url.username = '';
  url.password = '';
  url.hash = '';
  if (url.protocol === 'https:') return url;
  if (url.protocol !== 'http:') throw refuse(`a redirect to ${url.protocol.slice(0, -1)}, not https`, from);
  const mayBePlain = allowHttp || (from.protocol === 'http:' && isLoopback(url.hostname));
  if (!mayBePlain)
    throw refuse(
      `a redirect to plain HTTP, ${redactUrl(url)}`,
      from,
      'where the network is trusted, ENROOT_ALLOW_HTTP=y allows it',
    );
  return url;
}

function refuse(what: string, from: URL, hint = 'tell who runs it'): TransportFailure {
  return new TransportFailure('REDIRECT', `${from.host} answered with ${what}`, { hint, retryable: false });
}
