// SPDX-License-Identifier: Apache-2.0
import { findKey } from './hosts.ts';

/** One of the `auths`. */
export interface AuthEntry {
  /** '' when none is given. */
  readonly user: string;
  readonly password: string;
  /** An OAuth2 refresh token; '' when none is given. */
  readonly identityToken: string;
  /** A bearer token for the registry itself; '' when none is given. */
  readonly registryToken: string;
}

/** docker's config.json (docker/cli, cli/config/configfile) or podman's auth.json (containers-auth.json(5)), as far as credentials go. */
export interface AuthFile {
  readonly auths: ReadonlyMap<string, AuthEntry>;
  /** Registry to helper's name. */
  readonly helpers: ReadonlyMap<string, string>;
  /** The helper for all registries; '' when there is none. */
  readonly store: string;
}

/** null when it is no such file. */
export function parseAuthFile(text: string): AuthFile | null {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(json)) return null;
  return {
    auths: new Map(entriesOf(json['auths']).map(([key, value]) => [key, readEntry(value)])),
    helpers: new Map(
      entriesOf(json['credHelpers']).flatMap(([key, value]) => (isText(value) ? [[key, value] as const] : [])),
    ),
    store: textOf(json, 'credsStore'),
  };
}

/** The helper that a file asks for a repository's credentials; '' when it asks none. */
export function findHelper(file: AuthFile, registry: string, repository: string): string {
  const key = findKey(file.helpers.keys(), registry, repository);
  return key === undefined ? file.store : (file.helpers.get(key) ?? '');
}

/** The entry for a repository; undefined when there is none, or an empty one (docker leaves such where a helper keeps the secret). */
export function findEntry(
  file: AuthFile,
  registry: string,
  repository: string,
): (AuthEntry & { key: string }) | undefined {
  const filled = [...file.auths].filter(([, entry]) => secretOf(entry) !== '');
  const key = findKey(
    filled.map(([name]) => name),
    registry,
    repository,
  );
  const entry = key === undefined ? undefined : file.auths.get(key);
  return key === undefined || entry === undefined ? undefined : { ...entry, key };
}

/** The secret that an entry has, tokens first; '' when it has none. */
export function secretOf({ password, identityToken, registryToken }: AuthEntry): string {
  return registryToken || identityToken || password;
}

function readEntry(value: unknown): AuthEntry {
  const entry = isObject(value) ? value : {};
  const decoded = Buffer.from(textOf(entry, 'auth'), 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  const [user, password] =
    colon < 0
      ? [textOf(entry, 'username'), textOf(entry, 'password')]
      : // docker pads with NULs.
        [decoded.slice(0, colon), decoded.slice(colon + 1).replace(/\0+$/, '')];
  return {
    user,
    password,
    identityToken: textOf(entry, 'identitytoken'),
    registryToken: textOf(entry, 'registrytoken'),
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function textOf(object: Record<string, unknown>, name: string): string {
  const value = object[name];
  return isText(value) ? value : '';
}

function entriesOf(value: unknown): [string, unknown][] {
  return isObject(value) ? Object.entries(value) : [];
}
