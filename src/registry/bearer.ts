// SPDX-License-Identifier: Apache-2.0
import type { Credential } from '../credentials/keychain.ts';
import { readBody } from './body.ts';
import { explainTransport, RegistryFailure, type RequestFacts } from './errors.ts';
import { failFromResponse, type SharedParts } from './parts.ts';
import { isLoopback } from './proxy.ts';
import { sendFollowing } from './redirect.ts';
import { retry } from './retry.ts';

const clientId = 'bundler';
const maxTokenBytes = 1024 * 1024;
/** The spec's lifetime of a token that does not tell one. */
const defaultLifeSeconds = 60;

export interface TokenRequest {
  readonly realm: URL;
  readonly service: string;
  /** `repository:library/ubuntu:pull`, each once. */
  readonly scopes: readonly string[];
  /** null: anonymous. */
  readonly credential: Credential | null;
  readonly facts: RequestFacts;
}

interface Token {
  readonly value: string;
  readonly expiresAtMs: number;
}

export interface TokenSource {
  /**
   * An access token (distribution-spec "token"/"oauth" authentication): a kept one until shortly before it expires, unless it is `rejected`. However many
   * ask at once, one request is made. Throws RegistryFailure.
   */
  get(request: TokenRequest, rejected?: string): Promise<string>;
}

/** The tokens of a client, kept in memory only. */
export function createTokenSource(parts: SharedParts): TokenSource {
  const kept = new Map<string, Token>();
  const underway = new Map<string, Promise<string>>();

  async function fetch(key: string, request: TokenRequest): Promise<string> {
    const { value, lifeMs } = await retry(parts.retry, () => requestToken(parts, request)).catch((error: unknown) => {
      throw error instanceof RegistryFailure ? error.givenUp() : error;
    });
    // A fifth of a short life, half a minute of a long one: what is sent now must still hold when it arrives.
    kept.set(key, { value, expiresAtMs: Date.now() + lifeMs - Math.min(30_000, lifeMs / 5) });
    return value;
  }

  return {
    get: async (request, rejected) => {
      const { realm, service, scopes, credential } = request;
      const key = JSON.stringify([realm.href, service, scopes, credential?.source, credential?.user]);
      const token = kept.get(key);
      if (token !== undefined && token.value !== rejected && token.expiresAtMs > Date.now()) return token.value;
      const pending = underway.get(key) ?? fetch(key, request).finally(() => underway.delete(key));
      underway.set(key, pending);
      return await pending;
    },
  };
}

async function requestToken(parts: SharedParts, request: TokenRequest): Promise<{ value: string; lifeMs: number }> {
  const { realm, credential } = request;
  const facts = { ...request.facts, what: `token for ${request.facts.what}` };
  const { url, method, headers, body } =
    credential?.kind === 'identity-token' ? byRefresh(request, credential) : byGet(request);
  const shown = { ...facts, method, url };
  if (realm.protocol !== 'https:' && !parts.options.allowHttp && !isOwnMachine(request)) {
    throw new RegistryFailure(shown, 'the registry wants the password sent over plain HTTP', {
      hint: 'where the network is trusted, ENROOT_ALLOW_HTTP=y allows it',
    });
  }
  parts.options.log(`token for scope ${request.scopes.join(' ')} from ${realm.host}, ${facts.identity}`);
  try {
    const signal = parts.retry.signal;
    const sent = { method, url, headers, signal, ...(body === undefined ? {} : { body, hasSecretBody: true }) };
    const response = await sendFollowing(parts.transport, sent, parts.options.allowHttp);
    if (response.status !== 200) throw await failFromResponse(parts, response, { ...shown, url: response.url });
    const bytes = await readBody(response, maxTokenBytes, parts.options.stallTimeoutMs);
    return readToken(parts, bytes, shown);
  } catch (error) {
    throw explainTransport(shown, error);
  }
}

/** Another host's word is not enough: at a port of this machine another user may listen. */
function isOwnMachine({ realm, facts }: TokenRequest): boolean {
  return isLoopback(realm.hostname) && isLoopback(facts.url.hostname);
}

interface Asking {
  readonly url: URL;
  readonly method: 'GET' | 'POST';
  readonly headers: Record<string, string>;
  readonly body?: Buffer;
}

function byGet({ realm, service, scopes, credential }: TokenRequest): Asking {
  const url = new URL(realm);
  if (service !== '') url.searchParams.set('service', service);
  const given = new Set(url.searchParams.getAll('scope'));
  for (const scope of scopes) if (!given.has(scope)) url.searchParams.append('scope', scope);
  if (credential === null) return { url, method: 'GET', headers: {} };
  if (credential.user !== '') url.searchParams.set('account', credential.user);
  return { url, method: 'GET', headers: { authorization: basicHeader(credential) } };
}

/** OAuth2 refresh token grant (RFC 6749 section 6), as docker's identity tokens want it. */
function byRefresh({ realm, service, scopes }: TokenRequest, credential: Credential): Asking {
  const form = new URLSearchParams({ grant_type: 'refresh_token', client_id: clientId, service });
  form.set('scope', scopes.join(' '));
  form.set('refresh_token', credential.secret);
  const body = Buffer.from(form.toString());
  const headers = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': String(body.length) };
  return { url: new URL(realm), method: 'POST', headers, body };
}

/** RFC 7617; UTF-8. */
export function basicHeader({ user, secret }: Credential): string {
  return `Basic ${Buffer.from(`${user}:${secret}`).toString('base64')}`;
}

function readToken(parts: SharedParts, bytes: Buffer | null, facts: RequestFacts): { value: string; lifeMs: number } {
  let object: Record<string, unknown> = {};
  try {
    const value: unknown = JSON.parse(bytes?.toString('utf8') ?? '');
    if (typeof value === 'object' && value !== null) object = value as Record<string, unknown>;
  } catch {
    // told below
  }
  const found = [object['token'], object['access_token']].find((value) => typeof value === 'string' && value !== '');
  // A token goes into a header: a line end in it would be another header.
  if (typeof found !== 'string' || !/^[\x21-\x7e]+$/.test(found)) {
    throw new RegistryFailure(facts, 'the token server answered without a token', {
      hint: 'check that the registry is the one you mean; a proxy or a login page may answer in its place',
    });
  }
  parts.mask.add(found);
  const seconds = Number(object['expires_in'] ?? defaultLifeSeconds);
  return { value: found, lifeMs: (seconds > 0 ? seconds : defaultLifeSeconds) * 1000 };
}
