// SPDX-License-Identifier: Apache-2.0
// Where `bundler import` finds a password, what it says without one, and that it shows it to nobody.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { bundler } from '../support/bundle.ts';
import { testNeeding } from '../support/features.ts';
import { writeLayout } from '../support/oci-layout.ts';
import { registryPassword, registryUser, startRegistry, type TestRegistry } from '../support/registry.ts';
import { type Ran, run, startOnTerminal } from '../support/run.ts';
import { makeDir, sessionDir, type User } from '../support/session.ts';
import { listFiles } from '../support/snapshot.ts';
import { startTokenServer, type TokenServer } from '../support/token-server.ts';
import { expectFailure, expectOnlyCache, type Importer, makeImporter, makeLayer, runBundler } from './import-rig.ts';

const needing = testNeeding('root', 'bundler', 'registry', 'skopeo');
const needingTrace = testNeeding('root', 'bundler', 'registry', 'skopeo', 'strace');

interface Place {
  readonly host: string;
  readonly user: string;
  readonly secret: string;
}

let locked: TestRegistry;
let tokens: TokenServer;
let tokened: TestRegistry;
const places: Record<'password' | 'token', Place> = {} as never;

beforeAll(async () => {
  tokens = await startTokenServer({ anonymousPull: false });
  [locked, tokened] = await Promise.all([startRegistry({ auth: 'htpasswd' }), startRegistry({ auth: tokens })]);
  const layout = mkdtempSync(path.join(sessionDir(), 'layout-'));
  writeLayout(layout, [{ tar: makeLayer('secret', 20_000) }, { tar: makeLayer('top', 20_000), encoding: 'zstd' }]);
  await Promise.all([locked, tokened].map((registry) => registry.push(`oci:${layout}:latest`, 'team/app:1')));
  places.password = { host: locked.host, user: registryUser, secret: registryPassword };
  places.token = { host: tokened.host, user: tokens.user, secret: tokens.password };
});

afterAll(async () => {
  await Promise.all([locked?.stop(), tokened?.stop(), tokens?.stop()]);
});

/** What a case adds to a run: files in a directory that stands for HOME, variables, options, stdin. */
interface Given {
  readonly env?: Record<string, string>;
  readonly argv?: readonly string[];
  readonly input?: string;
  /** Instead of docker://REGISTRY/IMAGE. */
  readonly image?: string;
}
type Prepare = (place: Place, home: string, user: User) => Given;

function put(user: User, file: string, content: string, mode = 0o600): string {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, content);
  chmodSync(file, mode);
  execFileSync('chown', ['-R', `${user.uid}:${user.uid}`, path.dirname(file)]);
  return file;
}

const nameAt = ({ host }: Place) => `docker://${host}/team/app:1`;
const authOf = ({ user, secret }: Place) => Buffer.from(`${user}:${secret}`).toString('base64');
const authFile = (place: Place) => JSON.stringify({ auths: { [place.host]: { auth: authOf(place) } } });
const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

const helper = ({ user, secret, host }: Place) => `#!/bin/sh
read -r server
[ "$1" = get ] && [ "$server" = ${host} ] || { echo credentials not found in native keychain; exit 1; }
cat << 'END'
${JSON.stringify({ ServerURL: host, Username: user, Secret: secret })}
END
`;

const sources: Record<string, Prepare> = {
  'enroot’s .credentials': ({ host, user, secret }, home, owner) => {
    const password = `"${secret.replace(/["\\]/g, '\\$&')}"`;
    put(owner, path.join(home, '.config/enroot/.credentials'), `machine ${host} login ${user} password ${password}\n`);
    return {};
  },
  'enroot’s .credentials, by a command': ({ host, user, secret }, home, owner) => {
    const file = put(owner, path.join(home, 'vault/secret'), secret);
    const line = `machine ${host} login ${user} password $(cat ${quote(file)})\n`;
    put(owner, path.join(home, 'conf/.credentials'), line);
    return { env: { ENROOT_CONFIG_PATH: path.join(home, 'conf') } };
  },
  'docker’s config.json': (place, home, owner) => {
    put(owner, path.join(home, '.docker/config.json'), authFile(place));
    return {};
  },
  'a credential helper': (place, home, owner) => {
    put(owner, path.join(home, 'bin/docker-credential-vault'), helper(place), 0o755);
    const config = { credHelpers: { [place.host]: 'vault' } };
    put(owner, path.join(home, 'docker/config.json'), JSON.stringify(config));
    return { env: { DOCKER_CONFIG: path.join(home, 'docker'), PATH: `${home}/bin:/usr/bin:/bin` } };
  },
  'podman’s auth.json': (place, home, owner) => {
    put(owner, path.join(home, 'run/containers/auth.json'), authFile(place));
    return { env: { XDG_RUNTIME_DIR: path.join(home, 'run') } };
  },
  'the environment': ({ user, secret }) => ({
    env: { BUNDLER_REGISTRY_USER: user, BUNDLER_REGISTRY_PASSWORD: secret },
  }),
  '--user with BUNDLER_PASSWORD': ({ user, secret }) => ({
    argv: ['--user', user],
    env: { BUNDLER_PASSWORD: secret },
  }),
  '--user with --password-stdin': ({ user, secret }) => ({
    argv: ['--user', user, '--password-stdin'],
    input: `${secret}\n`,
  }),
  'USER@ of the image with --password-stdin': ({ host, user, secret }) => ({
    argv: ['--password-stdin'],
    input: secret,
    image: `docker://${user}@${host}#team/app:1`,
  }),
};

/** Runs with a home that has nothing but what the case puts there; what was said shows no secret. */
async function importWith(
  importer: Importer,
  prepare: Prepare,
  place: Place,
  more: readonly string[] = [],
): Promise<Ran> {
  const home = makeDir(importer.user, 'home');
  const { argv = [], env = {}, input, image = nameAt(place) } = prepare(place, home, importer.user);
  const all = ['import', '-f', '-o', 'out.sqsh', ...argv, ...more, image];
  const ran = await runBundler(importer, all, {
    env: { HOME: home, XDG_CACHE_HOME: cacheHome(importer), ...env },
    ...(input === undefined ? {} : { input }),
  });
  expectNoSecret(`${ran.stdout}${ran.stderr}`);
  return ran;
}

/** The runtime's cache stays warm whatever HOME is. */
const cacheHome = ({ user }: Importer) => path.join(user.home, '.cache');

/** Passwords and tokens, as they are and as they travel. */
function secretsNow(): string[] {
  const given = [places.password, places.token].flatMap((place) => [
    place.secret,
    authOf(place),
    encodeURIComponent(place.secret),
    JSON.stringify(place.secret).slice(1, -1),
  ]);
  return [...given, wrong, ...tokens.tokens.map((token) => token.slice(-40)), tokens.identityToken];
}

function expectNoSecret(text: string): void {
  expect(secretsNow().filter((secret) => text.includes(secret))).toEqual([]);
}

const wrong = 'this-is-no-p4ssword';

for (const kind of ['password', 'token'] as const) {
  describe(`a registry with a ${kind === 'password' ? 'password' : 'token server'}`, () => {
    for (const [name, prepare] of Object.entries(sources)) {
      needing(`gives the image for ${name}, whose secret is shown nowhere`, async () => {
        const importer = makeImporter();
        const ran = await importWith(importer, prepare, places[kind], ['--verbose']);
        expect(ran.status, ran.stderr).toBe(0);
        await expectOnlyCache(importer, 'blobs');
      });
    }

    needing('refuses a wrong password, and it is said whose', async () => {
      const importer = makeImporter();
      for (const name of ['docker’s config.json', '--user with --password-stdin', 'the environment']) {
        const place = { ...places[kind], secret: wrong };
        const ran = await importWith(importer, sources[name] as Prepare, place, ['--verbose']);
        const source = {
          '--': 'the command line',
          do: 'file .*/.docker/config.json',
          th: 'variable BUNDLER_REGISTRY_PASSWORD',
        }[name.slice(0, 2)];
        expectFailure(
          ran,
          new RegExp(`the login was refused.*user ${place.user} .*${source}`),
          /check the user and the password/,
        );
      }
      await expectOnlyCache(importer, 'blobs');
      expect(readdirSync(importer.dir)).toEqual([]);
    });

    needing('gives nothing to who has no password, and it is said how to log in', async () => {
      const importer = makeImporter();
      const ran = await importWith(importer, () => ({}), places[kind]);
      expectFailure(
        ran,
        /a login is needed.*anonymous/,
        /log in: give --user NAME, or add 127\.0\.0\.1:\d+ to \.credentials/,
      );
      expectFailure(await runBundler(importer, ['digest', nameAt(places[kind])]), /a login is needed/);
      expect(readdirSync(importer.dir)).toEqual([]);
    });
  });
}

describe('a password', () => {
  needing('is asked for on the terminal and not shown there', async () => {
    const importer = makeImporter();
    const { host, user, secret } = places.password;
    const argv = [bundler, 'import', '-o', 'out.sqsh', '--user', user, `docker://${host}/team/app:1`];
    const env = { ENROOT_CACHE_PATH: importer.cache, ENROOT_SYSCONF_PATH: '/nonexistent' };
    const running = startOnTerminal(argv, { user: importer.user, cwd: importer.dir, env });
    await running.see(/Password of reader for 127\.0\.0\.1:\d+: /);
    running.type(`${secret}\r`);
    const ran = await running.end();
    expect(ran.status, ran.stdout).toBe(0);
    expectNoSecret(ran.stdout);
    await expectOnlyCache(importer, 'blobs');
  });

  needing('cannot be asked for without a terminal, which is said', async () => {
    const importer = makeImporter();
    const ran = await runBundler(importer, ['import', '--user', 'x', `docker://${places.password.host}/team/app:1`], {
      detached: true,
    });
    expectFailure(ran, /cannot ask for a password: there is no terminal/, /--password-stdin or in BUNDLER_PASSWORD/);
  });

  needingTrace('is in no argument of any process and in no file that is left', async () => {
    const importer = makeImporter();
    const { user, dir } = importer;
    for (const [name, prepare] of Object.entries(sources)) {
      for (const place of Object.values(places)) {
        const home = makeDir(user, 'home');
        const { argv = [], env = {}, input, image = nameAt(place) } = prepare(place, home, user);
        const before = new Set([...listFiles(user, home)]);
        const log = path.join(makeDir(user, 'trace'), 'log');
        const trace = ['strace', '-f', '-qq', '-s', '4096', '-v', '-e', 'trace=execve', '-e', 'abbrev=none', '-o', log];
        const command = [bundler, 'import', '-f', '-o', 'out.sqsh', ...argv, image];
        const all = { HOME: home, XDG_CACHE_HOME: cacheHome(importer), ENROOT_CACHE_PATH: importer.cache, ...env };
        const ran = await run([...trace, ...command], {
          user,
          cwd: dir,
          env: all,
          ...(input === undefined ? {} : { input }),
        });
        expect(ran.status, `${name}: ${ran.stderr}`).toBe(0);
        const calls = readFileSync(log, 'utf8')
          .split('\n')
          .filter((line) => line.includes('execve('));
        expect(calls.length).toBeGreaterThan(2);
        // The environment of a process is its user's alone; its arguments are everybody's.
        const lists = calls.map((call) => /execve\(".*?", (\[.*?\]), \[/.exec(call)?.[1] ?? call);
        expect(lists.some((list) => list.includes(image))).toBe(true);
        expectNoSecret(lists.join('\n'));
        const left = [...listFiles(user, home, dir, importer.cache)].filter((file) => !before.has(file));
        for (const file of left) {
          try {
            expectNoSecret(readFileSync(file, 'latin1'));
          } catch (error) {
            if ((error as NodeJS.ErrnoException).code !== 'EISDIR') throw error;
          }
        }
      }
    }
  });
});
