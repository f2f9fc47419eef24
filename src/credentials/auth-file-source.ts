// SPDX-License-Identifier: Apache-2.0
import { isHub } from '../reference/hub.ts';
import { type AuthFile, findEntry, findHelper, parseAuthFile, secretOf } from './auth-file.ts';
import { askHelper } from './credential-helper.ts';
import { hubKey, splitKey } from './hosts.ts';
import { readPrivateFile } from './read-private-file.ts';
import {
  type Answer,
  type CredentialSource,
  type Question,
  type Surroundings,
  servesUser,
  showPath,
} from './source.ts';

/** docker's config.json or podman's auth.json: its helper for the registry, then what the file itself holds. */
export function createAuthFileSource(path: string, { env, home, warn }: Surroundings): CredentialSource {
  const place = `file ${showPath(path, home)}`;
  const askHelperOf = async (file: AuthFile, { registry, repository, user }: Question): Promise<Answer | null> => {
    const name = findHelper(file, registry, repository);
    if (name === '') return null;
    const answer = await askHelper(name, serverOf(file, registry), env);
    const source = `${place}, helper docker-credential-${name}`;
    switch (answer.kind) {
      case 'failed':
        warn(`${place} leaves the credentials of ${registry} to a helper: ${answer.why}`);
        return { why: `${place}: ${answer.why}` };
      case 'none':
        return { why: `${source}: nothing for ${registry}` };
      case 'found':
        if (!servesUser(answer.user, user)) return { why: `${source}: has another user than ${user}` };
        return {
          source,
          user: answer.user || user,
          secret: answer.secret,
          kind: answer.isToken ? 'identity-token' : 'password',
        };
    }
  };
  return {
    async find(question): Promise<Answer> {
      const read = await readPrivateFile(path);
      if (read.kind === 'absent') return { why: `${place}: there is none` };
      const file = read.kind === 'read' ? parseAuthFile(read.text) : null;
      if (file === null) {
        const why = read.kind === 'unreadable' ? read.why : 'it is no JSON object';
        warn(`${place} is left out: ${why}`);
        return { why: `${place}: ${why}` };
      }
      const helped = await askHelperOf(file, question);
      if (helped !== null && !('why' in helped)) return helped;
      const entry = findEntry(file, question.registry, question.repository);
      if (entry === undefined) return helped ?? { why: `${place}: nothing for ${question.registry}` };
      if (!servesUser(entry.user, question.user)) {
        return { why: `${place}, ${entry.key}: has another user than ${question.user}` };
      }
      return {
        source: `${place}, ${entry.key}`,
        user: entry.user || question.user,
        secret: secretOf(entry),
        kind:
          entry.registryToken !== '' ? 'registry-token' : entry.identityToken !== '' ? 'identity-token' : 'password',
      };
    },
  };
}

/** The name under which a helper knows a registry: the key that was left in `auths` at the login, else docker's default. */
function serverOf(file: AuthFile, registry: string): string {
  if (isHub(registry)) return hubKey;
  const marker = [...file.auths.keys()].find((key) => {
    const split = splitKey(key);
    return split.registry === registry && split.path === '';
  });
  return marker ?? registry;
}
