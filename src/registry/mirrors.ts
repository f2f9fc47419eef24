// SPDX-License-Identifier: Apache-2.0
import { Failure } from '../failure.ts';
import type { RegistryReference } from '../reference/registry-reference.ts';
import type { Mirror } from './options.ts';
import type { Scheme } from './schemes.ts';

/** Where a repository is to be had. */
export interface Endpoint {
  /** `host[:port]`. */
  readonly host: string;
  /** Named with the endpoint; null when the host decides (schemes.ts). */
  readonly scheme: Scheme | null;
  readonly repository: string;
  /** Whose credentials; '' for any. */
  readonly user: string;
  readonly isMirror: boolean;
}

const dockerHub = 'registry-1.docker.io';

/** The registry of a reference itself. */
export function ownEndpoint(ref: RegistryReference): Endpoint {
  return { host: ref.registry, scheme: null, repository: ref.repository, user: ref.user, isMirror: false };
}

/**
 * Where to pull from, in order: the endpoints of the mirrors whose prefix the image has (the longest prefix first, then as they are listed), and last the
 * registry itself. Throws Failure for an endpoint that is no host.
 */
export function listEndpoints(ref: RegistryReference, mirrors: readonly Mirror[]): Endpoint[] {
  const name = `${ref.registry}/${ref.repository}`;
  const matching = mirrors
    .map((mirror) => ({ endpoints: mirror.endpoints, prefix: canonical(mirror.prefix) }))
    .filter(({ prefix }) => name === prefix || name.startsWith(`${prefix}/`))
    .sort((a, b) => b.prefix.length - a.prefix.length);
  const endpoints = matching.flatMap(({ prefix, endpoints }) =>
    endpoints.map((endpoint) => mirrorEndpoint(endpoint, restOf(ref, prefix))),
  );
  return [...endpoints, ownEndpoint(ref)];
}

/** The part of the repository's name after the prefix, which may have a path. */
function restOf(ref: RegistryReference, prefix: string): string {
  return `${ref.registry}/${ref.repository}`.slice(prefix.length + 1);
}

function canonical(prefix: string): string {
  const clean = prefix.replace(/^https?:\/\//, '').replace(/\/+$/, '');
  return clean.replace(/^(index\.)?docker\.io(?=\/|$)/, dockerHub);
}

function mirrorEndpoint(endpoint: string, rest: string): Endpoint {
  const match = /^(?:(https?):\/\/)?([A-Za-z0-9.-]+(?::\d+)?|\[[0-9A-Fa-f:]+\](?::\d+)?)((?:\/[a-z0-9._/-]*)?)$/.exec(
    endpoint,
  );
  if (match === null) {
    throw new Failure(`mirror ${endpoint.replace(/\/\/[^/]*@/, '//***@')}: not a host`, {
      hint: 'write it as [https://]HOST[:PORT][/PATH]',
    });
  }
  const [, scheme, host = '', path = ''] = match;
  // People paste the address of the API.
  const prefix = path.replace(/^\/v2(?=\/|$)/, '').replace(/^\/+|\/+$/g, '');
  const repository = [prefix, rest].filter((part) => part !== '').join('/');
  return {
    host: host.toLowerCase(),
    scheme: (scheme as Scheme | undefined) ?? null,
    repository,
    user: '',
    isMirror: true,
  };
}
