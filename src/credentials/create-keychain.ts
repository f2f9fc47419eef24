// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { hubRegistry, isHub } from '../reference/hub.ts';
import { createAuthFileSource } from './auth-file-source.ts';
import { createEnvironmentSource } from './environment-source.ts';
import type { Credential, Keychain } from './keychain.ts';
import { createNetrcSource } from './netrc-source.ts';
import { type CredentialSource, type Surroundings, servesUser } from './source.ts';

/** Tokens that commands print live for some minutes or hours, and a refresh should get new ones; ten connections at once should ask once. */
const rememberMs = 60_000;

export interface KeychainOptions extends Surroundings {
  /** enroot's ENROOT_CONFIG_PATH; '' when there is none. */
  readonly configDirectory: string;
  /** The registries that the command line names: only they get what is given for the command, and BUNDLER_REGISTRY_PASSWORD. */
  readonly registries: readonly string[];
  /** A user and the secret that was asked for or came on stdin. */
  readonly given?: { readonly user: string; readonly secret: string };
}

/**
 * The credentials of this user: given ones, enroot's `.credentials`, docker's config.json, podman's auth.json, the environment, in this order. Files
 * are read when they are asked for.
 */
export function createKeychain(options: KeychainOptions): Keychain {
  const warned = new Set<string>();
  const surroundings: Surroundings = {
    env: options.env,
    home: options.home,
    warn: (text) => {
      if (!warned.has(text)) options.warn(text);
      warned.add(text);
    },
  };
  const { given, registries, configDirectory } = options;
  const sources: CredentialSource[] = [
    ...(given === undefined ? [] : [createGivenSource(given, registries)]),
    ...(configDirectory === '' ? [] : [createNetrcSource(configDirectory, surroundings)]),
    ...authFiles(options.env, options.home).map((path) => createAuthFileSource(path, surroundings)),
    createEnvironmentSource(registries, surroundings),
  ];
  return joinSources(sources);
}

/** Asks sources one after the other; what they said is remembered for a minute. */
export function joinSources(sources: readonly CredentialSource[], nowMs: () => number = Date.now): Keychain {
  const looked = new Set<string>();
  const known = new Map<string, { answer: Promise<Credential | null>; untilMs: number }>();
  const ask = async (question: Parameters<CredentialSource['find']>[0]) => {
    for (const source of sources) {
      const answer = await source.find(question);
      if (!('why' in answer)) {
        looked.add(`${answer.source}: used for ${question.registry}, user ${answer.user || '(none)'}`);
        return answer;
      }
      looked.add(answer.why);
    }
    return null;
  };
  return {
    find(registry, { user, repository, realmHost = '' }) {
      const lower = registry.toLowerCase();
      const canonical = isHub(lower) ? hubRegistry : lower;
      const question = { registry: canonical, user, repository, realmHost: realmHost.toLowerCase() };
      const key = JSON.stringify(question);
      const before = known.get(key);
      if (before !== undefined && nowMs() < before.untilMs) return before.answer;
      const answer = ask(question);
      known.set(key, { answer, untilMs: nowMs() + rememberMs });
      return answer;
    },
    get looked() {
      return [...looked];
    },
  };
}

function createGivenSource(given: { user: string; secret: string }, registries: readonly string[]): CredentialSource {
  return {
    async find({ registry, user }) {
      if (!registries.includes(registry)) return { why: `the command line: its password is not for ${registry}` };
      if (!servesUser(given.user, user)) return { why: `the command line: has another user than ${user}` };
      return { source: 'the command line', user: given.user || user, secret: given.secret, kind: 'password' };
    },
  };
}

/** Where docker (docker login) and podman (containers-auth.json(5)) keep their files. */
function authFiles(env: Surroundings['env'], home: string): string[] {
  const inHome = (...parts: string[]) => (home === '' ? [] : [join(home, ...parts)]);
  const docker = env['DOCKER_CONFIG'] ? [join(env['DOCKER_CONFIG'], 'config.json')] : inHome('.docker/config.json');
  if (env['REGISTRY_AUTH_FILE']) return [...docker, env['REGISTRY_AUTH_FILE']];
  const runtime = env['XDG_RUNTIME_DIR']
    ? join(env['XDG_RUNTIME_DIR'], 'containers/auth.json')
    : `/run/containers/${process.geteuid?.()}/auth.json`;
  const config = env['XDG_CONFIG_HOME']
    ? [join(env['XDG_CONFIG_HOME'], 'containers/auth.json')]
    : inHome('.config/containers/auth.json');
  return [...docker, runtime, ...config];
}
