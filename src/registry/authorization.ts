// SPDX-License-Identifier: Apache-2.0
import type { Credential } from '../credentials/keychain.ts';
import { basicHeader, createTokenSource } from './bearer.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import { RegistryFailure, type RequestFacts } from './errors.ts';
import { anonymous } from './hints.ts';
import type { Endpoint } from './mirrors.ts';
import type { SharedParts } from './parts.ts';
import { cleanText } from './redact.ts';
import { mergeScopes } from './scopes.ts';

/** What a request may show to a registry. */
export interface Grant {
  /** Value of Authorization. */
  readonly header: string;
  readonly isToken: boolean;
  /** What the token was asked for; '' without a token. */
  readonly scope: string;
  /** For messages. */
  readonly identity: string;
}

/** What is asked for whom. */
export interface Asking {
  readonly endpoint: Endpoint;
  /** The URL of the request: a realm may be relative to it. */
  readonly url: URL;
  readonly scopes: readonly string[];
  readonly facts: RequestFacts;
}

export interface Authorizer {
  /** What is known to be wanted before it is asked for; null when nothing is. Throws RegistryFailure when a token cannot be had. */
  current(asking: Asking): Promise<Grant | null>;
  /**
   * What to send after a request was answered with 401 (or, with a token, 400 or 403): by the challenge, '' when there was none. isFresh: the rejected
   * grant was made for this very request. null: there is nothing else to show.
   */
  renew(asking: Asking, header: string, rejected: Grant | null, isFresh: boolean): Promise<Grant | null>;
}

type Way =
  | { readonly kind: 'basic' }
  | { readonly kind: 'bearer'; readonly realm: URL; readonly service: string; readonly scope: string };

/** The authorizer of a client: it remembers how each host wants to be shown what. */
export function createAuthorizer(parts: SharedParts): Authorizer {
  const ways = new Map<string, Way>();
  const credentials = new Map<string, Promise<Credential | null>>();
  const tokens = createTokenSource(parts);

  function findCredential({ host, user, repository }: Endpoint, realmHost: string): Promise<Credential | null> {
    const key = JSON.stringify([host, user, repository, realmHost]);
    const known = credentials.get(key);
    if (known !== undefined) return known;
    const { keychain } = parts.options;
    const found = keychain
      .find(host, { user, repository, ...(realmHost === '' ? {} : { realmHost }) })
      .then((credential) => {
        if (credential !== null) parts.mask.addPassword(credential.user, credential.secret);
        parts.options.log(`credentials for ${host}: ${identify(credential)}`);
        return credential;
      });
    credentials.set(key, found);
    return found;
  }

  /** A rejected one is looked up anew: what a command printed may have expired (the keychain asks it once a minute). */
  function forgetCredential({ host, user, repository }: Endpoint): void {
    const prefix = JSON.stringify([host, user, repository]).slice(0, -1);
    for (const key of credentials.keys()) if (key.startsWith(`${prefix},`)) credentials.delete(key);
  }

  async function grantBy(way: Way, asking: Asking, rejected: Grant | null): Promise<Grant | null> {
    const credential = await findCredential(asking.endpoint, way.kind === 'bearer' ? way.realm.host : '');
    const identity = identify(credential);
    if (credential?.kind === 'registry-token') {
      // A line end in it would be another header.
      if (!/^[\x21-\x7e]+$/.test(credential.secret)) {
        throw new RegistryFailure(
          { ...asking.facts, identity },
          'the registry token has characters that none can have',
          {
            hint: 'log in again',
          },
        );
      }
      return { header: `Bearer ${credential.secret}`, isToken: true, scope: '', identity };
    }
    if (way.kind === 'basic') {
      return credential === null ? null : { header: basicHeader(credential), isToken: false, scope: '', identity };
    }
    const scopes = mergeScopes(way.scope, asking.scopes);
    const scope = scopes.join(' ');
    const facts = { ...asking.facts, scope, identity };
    const { realm, service } = way;
    const rejectedToken = rejected?.isToken ? rejected.header.slice('Bearer '.length) : undefined;
    const token = await tokens.get({ realm, service, scopes, credential, facts }, rejectedToken);
    return { header: `Bearer ${token}`, isToken: true, scope, identity };
  }

  return {
    current: async (asking) => {
      const way = ways.get(keyOf(asking.endpoint));
      return way === undefined ? null : await grantBy(way, asking, null);
    },
    renew: async (asking, header, rejected, isFresh) => {
      const key = keyOf(asking.endpoint);
      const known = ways.get(key);
      const way = chooseWay(parseChallenges(header), asking.url) ?? known;
      if (way === undefined) return null;
      // A fresh token that is not enough: only if the registry names a scope that was not asked for.
      const isWider = way.kind === 'bearer' && mergeScopes(way.scope, asking.scopes).join(' ') !== rejected?.scope;
      if (isFresh && !isWider) return null;
      ways.set(key, way);
      if (rejected !== null && !isFresh) forgetCredential(asking.endpoint);
      const grant = await grantBy(way, asking, rejected);
      const isSame = grant?.header === rejected?.header;
      return isSame ? null : grant;
    },
  };
}

function keyOf({ host, repository, user }: Endpoint): string {
  return JSON.stringify([host, repository, user]);
}

/** Bearer before Basic, as docker does; what else a server offers (Negotiate, Digest) is not for registries. */
function chooseWay(challenges: readonly Challenge[], url: URL): Way | undefined {
  for (const { scheme, parameters } of challenges) {
    const realm = parameters.get('realm') ?? '';
    if (scheme !== 'bearer' || !URL.canParse(realm, url.href)) continue;
    const address = new URL(realm, url);
    if (address.protocol !== 'https:' && address.protocol !== 'http:') continue;
    return {
      kind: 'bearer',
      realm: address,
      service: parameters.get('service') ?? '',
      scope: parameters.get('scope') ?? '',
    };
  }
  return challenges.some(({ scheme }) => scheme === 'basic') ? { kind: 'basic' } : undefined;
}

function identify(credential: Credential | null): string {
  if (credential === null) return `${anonymous}: no credentials found`;
  const user = credential.user === '' ? credential.kind.replace('-', ' ') : `user ${cleanText(credential.user, 100)}`;
  return `${user} by ${credential.source}`;
}
