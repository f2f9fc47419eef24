// SPDX-License-Identifier: Apache-2.0

/** The scope of reading or writing a repository (distribution "Token Scope Documentation"). */
export function repositoryScope(repository: string, actions: 'pull' | 'pull,push'): string {
  return `repository:${repository}:${actions}`;
}

/**
 * What to ask a token for: what a challenge names and what is wanted anyway, in one scope for each resource, so that the token of a first read also serves
 * the write that follows. Where the challenge names other resources only (a mirror has names of its own), it alone counts.
 */
export function mergeScopes(challenge: string, wanted: readonly string[]): string[] {
  const named = challenge.split(' ').filter((scope) => scope !== '');
  const resources = new Set(wanted.map((scope) => splitScope(scope).resource));
  const isOther = named.length > 0 && !named.some((scope) => resources.has(splitScope(scope).resource));
  const merged = new Map<string, Set<string>>();
  for (const scope of isOther ? named : [...wanted, ...named]) {
    const { resource, actions } = splitScope(scope);
    const known = merged.get(resource) ?? new Set();
    for (const action of actions) known.add(action);
    merged.set(resource, known);
  }
  // docker-registry names the actions in any order: one order, so that equal scopes are equal.
  return [...merged].map(([resource, actions]) => [resource, [...actions].sort().join(',')].join(':'));
}

/** `repository:a/b:pull,push`; the name may have colons (host:port). */
function splitScope(scope: string): { resource: string; actions: string[] } {
  const colon = scope.lastIndexOf(':');
  if (colon === -1) return { resource: scope, actions: [] };
  return { resource: scope.slice(0, colon), actions: scope.slice(colon + 1).split(',') };
}
