// SPDX-License-Identifier: Apache-2.0
import type { OutgoingHttpHeaders } from 'node:http';
import { type Authorizer, createAuthorizer, type Grant } from './authorization.ts';
import { discardBody, readErrorText } from './body.ts';
import { explainTransport, RegistryFailure, type RequestFacts } from './errors.ts';
import { anonymous } from './hints.ts';
import type { Endpoint } from './mirrors.ts';
import { failFromResponse, type SharedParts } from './parts.ts';
import { isLoopback } from './proxy.ts';
import { type FollowedResponse, sendFollowing } from './redirect.ts';
import { isTransient } from './retry.ts';
import { chooseError, createSchemes, mayBeOtherScheme, type Scheme, saysHttps } from './schemes.ts';
import type { RequestBody } from './transport.ts';

/** One thing that a registry is asked. */
export interface RegistryRequest {
  readonly endpoint: Endpoint;
  /** For messages: `manifest 24.04`; the repository and the registry are added. */
  readonly what: string;
  readonly method: string;
  /** Below `/v2/`; or a whole URL, where the registry said one (an upload's Location). */
  readonly target: string | URL;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: RequestBody;
  readonly scopes: readonly string[];
  /** Statuses that are handed back; every other one is a failure. */
  readonly expected: readonly number[];
  readonly signal: AbortSignal;
}

export interface RegistryResponse extends FollowedResponse {
  readonly facts: RequestFacts;
}

export interface Exchange {
  /** Sends a request once: finds the scheme, authorizes (anew where a token has expired), follows redirects. Throws RegistryFailure. */
  send(request: RegistryRequest): Promise<RegistryResponse>;
}

const maxRenewals = 2;

/** The exchange of a client: it remembers each host's scheme and grants. */
export function createExchange(parts: SharedParts): Exchange {
  const { options } = parts;
  const schemes = createSchemes(options.allowHttp);
  const authorizer: Authorizer = createAuthorizer(parts);

  /** Undefined: the host speaks the other scheme. */
  async function sendBy(
    request: RegistryRequest,
    url: URL,
    { mayChange = false, isElsewhere = false },
  ): Promise<RegistryResponse | undefined> {
    const { endpoint, scopes, method, headers = {}, body, signal } = request;
    let facts = factsOf(request, url, null);
    try {
      const asking = { endpoint, url, scopes, facts };
      let grant = isElsewhere ? null : await authorizer.current(asking);
      let isFresh = false;
      for (let renewals = 0; ; renewals++) {
        facts = factsOf(request, url, grant);
        const authorization = grant === null ? {} : { authorization: grant.header };
        const sent = {
          method,
          url,
          headers: { ...headers, ...authorization },
          signal,
          ...(body === undefined ? {} : { body }),
        };
        const response = await sendFollowing(parts.transport, sent, options.allowHttp);
        facts = { ...facts, url: response.url };
        if (request.expected.includes(response.status)) return { ...response, facts };
        if (response.crossedOrigin || isElsewhere) throw await failElsewhere(parts, response, facts);
        if (mayAuthorize(response, grant, isFresh) && renewals < maxRenewals) {
          const renewed = await authorizer.renew(
            { ...asking, facts },
            response.headers['www-authenticate'] ?? '',
            grant,
            isFresh,
          );
          if (renewed !== null) {
            discardBody(response);
            if (grant !== null)
              options.log(`${facts.what}: ${response.status} with a token that served before; took a new one`);
            grant = renewed;
            isFresh = true;
            continue;
          }
        }
        const text = await readErrorText(response, options.stallTimeoutMs);
        if (mayChange && response.status === 400 && saysHttps(text)) return undefined;
        throw await failFromResponse(parts, response, facts, { text });
      }
    } catch (error) {
      throw explainTransport(facts, error);
    }
  }

  return {
    send: async (request) => {
      const { endpoint, target } = request;
      const candidates = endpoint.scheme === null ? schemes.candidates(endpoint.host) : [endpoint.scheme];
      if (target instanceof URL) {
        const isOwn = candidates.some((scheme) => new URL(`${scheme}://${endpoint.host}`).origin === target.origin);
        return (await sendBy(request, target, { isElsewhere: !isOwn })) as RegistryResponse;
      }
      const learn = (scheme: Scheme) => {
        if (endpoint.scheme === null) schemes.remember(endpoint.host, scheme);
      };
      let first: RegistryFailure | null = null;
      for (const [index, scheme] of candidates.entries()) {
        const url = new URL(`${scheme}://${endpoint.host}/v2/${target}`);
        refusePlain(request, url, scheme, options.allowHttp);
        const mayChange = index + 1 < candidates.length;
        try {
          const response = await sendBy(request, url, { mayChange });
          if (response === undefined) continue;
          learn(scheme);
          return response;
        } catch (error) {
          if (error instanceof RegistryFailure && error.status !== 0) learn(scheme);
          if (!mayChange || !mayBeOtherScheme(scheme, error)) {
            throw first === null ? error : chooseError(candidates[0] as Scheme, first, error);
          }
          first = error;
        }
      }
      throw first;
    },
  };
}

/** Of a read with a token, 400 is public ECR's answer to one that has expired, and some say 403. A write gets both for reasons of its own. */
function mayAuthorize({ status, method }: FollowedResponse, grant: Grant | null, isFresh: boolean): boolean {
  if (status === 401) return true;
  const isReading = method === 'GET' || method === 'HEAD';
  return (status === 400 || status === 403) && isReading && grant?.isToken === true && !isFresh;
}

/** A failure of where a redirect led: what was signed for us may have expired, so ask the registry for it anew. */
function failElsewhere(parts: SharedParts, response: FollowedResponse, facts: RequestFacts): Promise<RegistryFailure> {
  const { status } = response;
  const retryable = isTransient(status) || [400, 401, 403, 404, 410].includes(status);
  return failFromResponse(
    parts,
    response,
    { ...facts, identity: `sent there by ${facts.registry}, so without credentials` },
    { retryable },
  );
}

function factsOf(request: RegistryRequest, url: URL, grant: Grant | null): RequestFacts {
  const { host, repository, isMirror } = request.endpoint;
  return {
    what: `${request.what}${repository === '' ? '' : ` of ${repository}`} at ${isMirror ? 'the mirror ' : ''}${host}`,
    registry: host,
    repository,
    method: request.method,
    url,
    scope: grant?.scope ?? '',
    identity: grant?.identity ?? anonymous,
  };
}

function refusePlain(request: RegistryRequest, url: URL, scheme: Scheme, allowHttp: boolean): void {
  if (scheme === 'https' || allowHttp || isLoopback(url.hostname)) return;
  throw new RegistryFailure(factsOf(request, url, null), 'plain HTTP is not allowed', {
    hint: 'where the network is trusted, ENROOT_ALLOW_HTTP=y allows it',
  });
}
