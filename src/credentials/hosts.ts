// SPDX-License-Identifier: Apache-2.0
import { hubRegistry, isHub } from '../reference/hub.ts';

/** Under this key docker keeps the credentials of Docker Hub (its config.json and its helpers). */
export const hubKey = 'https://index.docker.io/v1/';

const hubNames = [hubRegistry, 'docker.io', 'index.docker.io'];

/** Token servers that are known to belong to a registry. */
const knownRealms: ReadonlyMap<string, readonly string[]> = new Map([
  [hubRegistry, ['auth.docker.io']],
  ['nvcr.io', ['authn.nvidia.com']],
]);

/** `host` of `host[:port]`; brackets of an IPv6 address stay. */
export function withoutPort(registry: string): string {
  return /^(\[[^\]]*\]|[^:[\]]*):[0-9]+$/.exec(registry)?.[1] ?? registry;
}

/** All names under which a registry's entries are kept: with its port, without, and Docker Hub's others. */
export function namesOf(registry: string): string[] {
  return isHub(registry) ? hubNames : [...new Set([registry, withoutPort(registry)])];
}

/**
 * Hosts of token servers whose entries may serve a registry. A registry chooses its token server, so that its word alone is not enough: a stranger's
 * could name one that we have a password for, and would be handed the token. Served are the known ones, and a server in whose domain the registry
 * lies (registry.gitlab.com has gitlab.com).
 */
export function trustedRealms(registry: string, realmHost: string): string[] {
  const realm = withoutPort(realmHost);
  const isParent = realm.includes('.') && withoutPort(registry).endsWith(`.${realm}`);
  return [...(knownRealms.get(withoutPort(registry)) ?? []), ...(isParent ? [realmHost, realm] : [])];
}

/** Host and path of a key of docker's config.json or podman's auth.json: `https://ghcr.io/v2/` is ghcr.io, `quay.io/team/app` is a namespace. */
export function splitKey(key: string): { registry: string; path: string } {
  const bare = key.replace(/^https?:\/\//i, '').replace(/\/+$/, '');
  const slash = bare.indexOf('/');
  const host = (slash < 0 ? bare : bare.slice(0, slash)).toLowerCase();
  const path = slash < 0 ? '' : bare.slice(slash + 1);
  return { registry: isHub(host) ? hubRegistry : host, path: /^v[12]$/.test(path) ? '' : path };
}

/** The key that serves a repository best: the same registry, and of its namespaces the longest; undefined when none does. */
export function findKey(keys: Iterable<string>, registry: string, repository: string): string | undefined {
  let best: { key: string; length: number } | undefined;
  for (const key of keys) {
    const { registry: host, path } = splitKey(key);
    const serves = path === '' || repository === path || repository.startsWith(`${path}/`);
    if (host === registry && serves && path.length > (best?.length ?? -1)) best = { key, length: path.length };
  }
  return best?.key;
}
