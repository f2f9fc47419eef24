// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a shell, not JavaScript, expands these
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createKeychain, joinSources } from '../../src/credentials/create-keychain.ts';
import { auth, credentials, hub, open, short } from './keychain-rig.ts';

describe('docker’s and podman’s files', () => {
  const docker = '.docker/config.json';

  test.each<[what: string, auths: object, registry: string, repository: string, found: unknown]>([
    ['of Docker Hub', { 'https://index.docker.io/v1/': auth('me:a:b') }, hub, 'library/x', ['me', 'a:b', 'password']],
    ['of a host', { 'ghcr.io': auth('me:x') }, 'ghcr.io', 'a', ['me', 'x', 'password']],
    ['as a URL', { 'https://ghcr.io/v2/': auth('me:x') }, 'ghcr.io', 'a', ['me', 'x', 'password']],
    ['of a namespace', { 'q.io': auth('1:1'), 'q.io/t': auth('2:2') }, 'q.io', 't/x', ['2', '2', 'password']],
    ['with NULs', { 'a.io': auth('me:x\0\0') }, 'a.io', 'a', ['me', 'x', 'password']],
    ['in the old form', { 'a.io': { username: 'me', password: 'x' } }, 'a.io', 'a', ['me', 'x', 'password']],
    [
      'with an identity token',
      { 'a.azurecr.io': { ...auth('00000000-0000-0000-0000-000000000000:'), identitytoken: 'idt' } },
      'a.azurecr.io',
      'a',
      ['00000000-0000-0000-0000-000000000000', 'idt', 'identity-token'],
    ],
    ['with a registry token', { 'a.io': { registrytoken: 'rt' } }, 'a.io', 'a', ['', 'rt', 'registry-token']],
    ['of another host', { 'a.io': auth('me:x'), 'a.io.evil': auth('me:x') }, 'io', 'a', null],
    ['without a secret', { 'a.io': {} }, 'a.io', 'a', null],
    ['of nonsense', { 'a.io': 3, 'b.io': { auth: '!' } }, 'a.io', 'a', null],
  ])('an entry %s', async (_, auths, registry, repository, expected) => {
    const { find } = open({ files: { [docker]: { auths } } });
    const found = await find(registry, '', repository);
    expect(found && [found.user, found.secret, found.kind]).toEqual(expected);
    if (found) expect(found.source).toMatch(/^file ~\/\.docker\/config\.json, \S+$/);
  });

  test('an entry of another user does not serve, and --verbose says so', async () => {
    const { find, keychain } = open({ files: { [docker]: { auths: { 'a.io': auth('me:x') } } } });
    expect(await find('a.io', 'you')).toBeNull();
    expect(keychain.looked).toContain('file ~/.docker/config.json, a.io: has another user than you');
  });

  test.each<[what: string, env: (home: string) => Record<string, string>, file: string]>([
    ['DOCKER_CONFIG', (home) => ({ DOCKER_CONFIG: `${home}/d` }), 'd/config.json'],
    ['REGISTRY_AUTH_FILE', (home) => ({ REGISTRY_AUTH_FILE: `${home}/x.json` }), 'x.json'],
    ['XDG_RUNTIME_DIR', () => ({}), 'run/containers/auth.json'],
    ['XDG_CONFIG_HOME', (home) => ({ XDG_CONFIG_HOME: `${home}/c` }), 'c/containers/auth.json'],
    ['the home directory', () => ({}), '.config/containers/auth.json'],
  ])('are found by %s', async (_, env, file) => {
    const { find } = open({ files: { [file]: { auths: { 'a.io': auth('me:x') } } }, env });
    expect(short(await find('a.io'))).toEqual(['me', 'x', `file ~/${file}, a.io`]);
  });

  test('that are no JSON are left out with a warning', async () => {
    const { find, warnings } = open({ files: { [docker]: '{"auths": ', 'run/containers/auth.json': '[]' } });
    expect(await find('a.io')).toBeNull();
    expect(warnings).toEqual([
      'file ~/.docker/config.json is left out: it is no JSON object',
      'file ~/run/containers/auth.json is left out: it is no JSON object',
    ]);
  });
});

describe('a credential helper', () => {
  const config = (more: object) => ({ '.docker/config.json': more });
  const helper = (script: string) => `#!/bin/sh\nIFS= read -r server\necho "$@ $server" >> "$HOME/asked"\n${script}\n`;
  const says = (user: string, secret: string) =>
    `echo '${JSON.stringify({ ServerURL: 'x', Username: user, Secret: secret })}'`;

  test.each<[what: string, config: object, registry: string, asked: string]>([
    ['by its registry', { credHelpers: { 'a.io': 'x' } }, 'a.io', 'get a.io'],
    ['for all', { credsStore: 'x' }, 'a.io:5000', 'get a.io:5000'],
    [
      'for all, by the key of the login',
      { credsStore: 'x', auths: { 'https://a.io': {} } },
      'a.io',
      'get https://a.io',
    ],
    ['for Docker Hub', { credsStore: 'x' }, hub, 'get https://index.docker.io/v1/'],
  ])('%s gets the server on stdin', async (_, content, registry, asked) => {
    const { home, find } = open({ files: { ...config(content), 'bin/docker-credential-x': helper(says('AWS', 's')) } });
    const answers = await Promise.all([find(registry), find(registry)]);
    expect(answers.map(short)).toEqual(
      [1, 2].map(() => ['AWS', 's', 'file ~/.docker/config.json, helper docker-credential-x']),
    );
    expect(readFileSync(join(home, 'asked'), 'utf8')).toBe(`${asked}\n`);
  });

  test('that answers <token> gives an identity token', async () => {
    const { find } = open({
      files: { ...config({ credsStore: 'x' }), 'bin/docker-credential-x': helper(says('<token>', 'idt')) },
    });
    expect(await find('a.azurecr.io')).toMatchObject({ user: '', secret: 'idt', kind: 'identity-token' });
  });

  test('that has nothing is no error, and the file’s own entry serves then', async () => {
    const none = helper('echo "credentials not found in native keychain"; exit 1');
    const { find, warnings } = open({
      files: { ...config({ credsStore: 'x', auths: { 'b.io': auth('me:b') } }), 'bin/docker-credential-x': none },
    });
    expect(await find('a.io')).toBeNull();
    expect((await find('b.io'))?.secret).toBe('b');
    expect(warnings).toEqual([]);
  });

  test.each<[what: string, name: string, script: string | null, why: string]>([
    ['is missing', 'ecr-login', null, 'docker-credential-ecr-login is not in PATH'],
    ['fails', 'x', 'echo secret; echo secret >&2; exit 2', 'docker-credential-x ended with status 2'],
    ['says something else', 'x', 'echo secret', 'docker-credential-x answered something else than credentials'],
    ['says null', 'x', 'echo null', 'docker-credential-x answered something else than credentials'],
    ['says too much', 'x', 'yes secret', 'docker-credential-x broke down'],
    ['has no name', '../../x', null, 'the name of its credential helper cannot be one'],
  ])('that %s is warned of by its name, without what it said', async (_, name, script, why) => {
    const { find, warnings, keychain } = open({
      files: {
        ...config({ credHelpers: { 'a.io': name } }),
        ...(script === null ? {} : { [`bin/docker-credential-${name}`]: helper(script) }),
      },
    });
    expect(await find('a.io')).toBeNull();
    expect(warnings).toEqual([`file ~/.docker/config.json leaves the credentials of a.io to a helper: ${why}`]);
    expect(`${warnings} ${keychain.looked}`).not.toContain('secret');
  });

  test('that leaves a program behind is not waited for', async () => {
    const { find } = open({
      files: { ...config({ credsStore: 'x' }), 'bin/docker-credential-x': helper(`sleep 20 & ${says('me', 's')}`) },
    });
    const before = performance.now();
    expect((await find('a.io'))?.secret).toBe('s');
    expect(performance.now() - before).toBeLessThan(10_000);
  });
});

describe('the environment', () => {
  test.each<[registry: string, user: string, env: Record<string, string>, found: unknown]>([
    ['nvcr.io', '', { NGC_API_KEY: 'k\n' }, ['$oauthtoken', 'k', 'variable NGC_API_KEY']],
    ['stg.nvcr.io', '$oauthtoken', { NGC_API_KEY: 'k' }, ['$oauthtoken', 'k', 'variable NGC_API_KEY']],
    ['nvcr.io', 'me', { NGC_API_KEY: 'k' }, null],
    ['evilnvcr.io', '', { NGC_API_KEY: 'k' }, null],
    ['nvcr.io.evil.example', '', { NGC_API_KEY: 'k' }, null],
    [
      'a.io',
      '',
      { BUNDLER_REGISTRY_USER: 'me', BUNDLER_REGISTRY_PASSWORD: 'x' },
      ['me', 'x', 'variable BUNDLER_REGISTRY_PASSWORD'],
    ],
    ['a.io', 'me', { BUNDLER_REGISTRY_PASSWORD: 'x' }, ['me', 'x', 'variable BUNDLER_REGISTRY_PASSWORD']],
    ['a.io', '', { BUNDLER_REGISTRY_PASSWORD: 'x' }, null],
    ['a.io', 'you', { BUNDLER_REGISTRY_USER: 'me', BUNDLER_REGISTRY_PASSWORD: 'x' }, null],
    ['mirror.io', '', { BUNDLER_REGISTRY_USER: 'me', BUNDLER_REGISTRY_PASSWORD: 'x' }, null],
  ])('serves %s, user %j, with %j: %j', async (registry, user, env, found) => {
    expect(short(await open({ env, registries: ['a.io'] }).find(registry, user))).toEqual(found);
  });
});

describe('all sources together', () => {
  const everywhere = {
    [credentials]: 'machine a.io login me password netrc',
    '.docker/config.json': { auths: { 'a.io': auth('me:docker'), 'b.io': auth('me:docker') } },
    'run/containers/auth.json': {
      auths: { 'a.io': auth('me:podman'), 'b.io': auth('me:podman'), 'c.io': auth('me:podman') },
    },
  };
  const env = { BUNDLER_REGISTRY_USER: 'me', BUNDLER_REGISTRY_PASSWORD: 'env' };
  const registries = ['a.io', 'b.io', 'c.io', 'd.io'];

  test('are asked in order: given, enroot, docker, podman, environment', async () => {
    const { find } = open({ files: everywhere, env, registries });
    const secrets = await Promise.all(
      ['a.io', 'b.io', 'c.io', 'd.io', 'e.io'].map(async (host) => (await find(host))?.secret),
    );
    expect(secrets).toEqual(['netrc', 'docker', 'podman', 'env', undefined]);
  });

  test('are behind what was given, which goes to the registry of the command line only', async () => {
    const { find } = open({ files: everywhere, registries: ['a.io'], given: { user: 'me', secret: 'given' } });
    expect(short(await find('a.io', 'me'))).toEqual(['me', 'given', 'the command line']);
    expect((await find('a.io', 'you'))?.secret).toBeUndefined();
    expect((await find('b.io', 'me'))?.secret).toBe('docker');
  });

  test('tell what was looked at, and no secret', async () => {
    const { find, keychain, warnings } = open({
      files: everywhere,
      env,
      registries,
      given: { user: 'me', secret: 'given' },
    });
    await find('b.io', 'you');
    await find('evil.example', '', 'x', 'a.io');
    await find('c.io', 'me');
    expect(keychain.looked).toEqual([
      'the command line: has another user than you',
      `file ~/${credentials}: no machine b.io`,
      'file ~/.docker/config.json, b.io: has another user than you',
      'file ~/run/containers/auth.json, b.io: has another user than you',
      'file ~/.config/containers/auth.json: there is none',
      'variable BUNDLER_REGISTRY_USER: has another user than you',
      'the command line: its password is not for evil.example',
      `file ~/${credentials}: no machine evil.example; the one for its token server a.io alone does not serve it`,
      'file ~/.docker/config.json: nothing for evil.example',
      'file ~/run/containers/auth.json: nothing for evil.example',
      'variables BUNDLER_REGISTRY_PASSWORD, NGC_API_KEY: nothing for evil.example',
      'the command line: used for c.io, user me',
    ]);
    expect(warnings).toEqual([]);
  });

  test('are asked again after a minute, for tokens that have ended', async () => {
    let nowMs = 0;
    let asked = 0;
    const source = {
      find: async () => ({ source: 's', user: '', secret: String(++asked), kind: 'password' as const }),
    };
    const keychain = joinSources([source], () => nowMs);
    const ask = async () => (await keychain.find('a.io', { user: '', repository: 'x' }))?.secret;
    expect([await ask(), await ask()]).toEqual(['1', '1']);
    nowMs = 60_000;
    expect([await ask(), await ask()]).toEqual(['2', '2']);
  });

  test('need no home directory', async () => {
    const keychain = createKeychain({ env: {}, home: '', configDirectory: '', registries: [], warn: () => {} });
    expect(await keychain.find('a.io', { user: '', repository: 'x' })).toBeNull();
  });
});
