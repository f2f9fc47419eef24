// SPDX-License-Identifier: Apache-2.0
import { withoutPort } from './hosts.ts';
import { type Answer, type CredentialSource, type Surroundings, servesUser } from './source.ts';

/** NGC's only user (NGC user guide, "Accessing the NGC registry"): the secret is an API key. */
const ngcUser = '$oauthtoken';

/**
 * BUNDLER_REGISTRY_USER with BUNDLER_REGISTRY_PASSWORD, for the registries that the command line names and no others (a mirror, say), and NGC_API_KEY for
 * nvcr.io and its subdomains.
 */
export function createEnvironmentSource(asked: readonly string[], { env }: Surroundings): CredentialSource {
  return {
    async find({ registry, user }): Promise<Answer> {
      const own = env['BUNDLER_REGISTRY_PASSWORD'] ?? '';
      const login = env['BUNDLER_REGISTRY_USER'] || user;
      if (own !== '' && login !== '' && asked.includes(registry) && servesUser(login, user)) {
        return { source: 'variable BUNDLER_REGISTRY_PASSWORD', user: login, secret: own, kind: 'password' };
      }
      const host = withoutPort(registry);
      const key = env['NGC_API_KEY']?.trim() ?? '';
      if (key !== '' && (host === 'nvcr.io' || host.endsWith('.nvcr.io')) && servesUser(ngcUser, user)) {
        return { source: 'variable NGC_API_KEY', user: ngcUser, secret: key, kind: 'password' };
      }
      if (own !== '' && login === '')
        return { why: 'variable BUNDLER_REGISTRY_PASSWORD: BUNDLER_REGISTRY_USER is not set' };
      if (own !== '' && asked.includes(registry)) {
        return { why: `variable BUNDLER_REGISTRY_USER: has another user than ${user}` };
      }
      return { why: `variables BUNDLER_REGISTRY_PASSWORD, NGC_API_KEY: nothing for ${registry}` };
    },
  };
}
