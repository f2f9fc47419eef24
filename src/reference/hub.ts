// SPDX-License-Identifier: Apache-2.0

/** The host that serves Docker Hub's registry API. */
export const hubRegistry = 'registry-1.docker.io';

const aliases: readonly string[] = ['docker.io', 'index.docker.io', hubRegistry];

/** True for the names under which Docker Hub is known (host in lower case). */
export function isHub(registry: string): boolean {
  return aliases.includes(registry);
}
