// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a shell, not JavaScript, expands these
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { createKeychain, joinSources, type KeychainOptions } from '../../src/credentials/create-keychain.ts';
import type { Credential } from '../../src/credentials/keychain.ts';
import { Failure } from '../../src/failure.ts';
import { isRoot } from '../support/session.ts';

const scratch = mkdtempSync(join(tmpdir(), 'keychain-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const hub = 'registry-1.docker.io';
let count = 0;

/** A home directory with files; those of bin/ may be executed, the others read by their owner only. */
function makeHome(files: Readonly<Record<string, string | object>>): string {
  count += 1;
  const home = join(scratch, String(count));
  for (const [name, content] of Object.entries(files)) {
    const path = join(home, name);
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    chmodSync(path, name.startsWith('bin/') ? 0o755 : 0o600);
  }
  return home;
}

const credentials = '.config/enroot/.credentials';
const auth = (text: string) => ({ auth: Buffer.from(text).toString('base64') });

interface Setup extends Partial<Omit<KeychainOptions, 'home' | 'warn'>> {
  readonly files?: Readonly<Record<string, string | object>>;
}

function open(setup: Setup) {
  const home = makeHome(setup.files ?? {});
  const warnings: string[] = [];
  const keychain = createKeychain({
    registries: [],
    configDirectory: join(home, '.config/enroot'),
    ...setup,
    env: { HOME: home, PATH: `${home}/bin:/usr/bin:/bin`, XDG_RUNTIME_DIR: join(home, 'run'), ...setup.env },
    home,
    warn: (text) => warnings.push(text),
  });
  const find = (registry: string, user = '', repository = 'a/b', realmHost?: string) =>
    keychain.find(registry, { user, repository, ...(realmHost === undefined ? {} : { realmHost }) });
  return { home, warnings, keychain, find };
}

const short = (found: Credential | null) => found && [found.user, found.secret, found.source];

describe('enroot’s .credentials', () => {
  const file = [
    'machine nvcr.io login $oauthtoken password ngc',
    'machine authn.nvidia.com login $oauthtoken password authn',
    'machine gitlab.com login me password gl',
    'machine host.example login one password 1',
    'machine host.example login two password 2',
    'machine host.example:5000 login five password 5',
    'machine nopass.example login me',
    'machine docker.io login hubber password h',
  ].join('\n');
  const from = (machine: string) => `file ~/${credentials}, machine ${machine}`;

  test.each<[registry: string, user: string, realm: string, found: unknown]>([
    ['nvcr.io', '', '', ['$oauthtoken', 'ngc', from('nvcr.io')]],
    ['NVCR.IO', '$oauthtoken', '', ['$oauthtoken', 'ngc', from('nvcr.io')]],
    ['nvcr.io', 'other', '', null],
    ['host.example', '', '', ['one', '1', from('host.example')]],
    ['host.example', 'two', '', ['two', '2', from('host.example')]],
    ['host.example:5000', '', '', ['five', '5', from('host.example:5000')]],
    ['host.example:5000', 'one', '', ['one', '1', from('host.example')]],
    ['host.example:6000', '', '', ['one', '1', from('host.example')]],
    [hub, '', '', ['hubber', 'h', from('docker.io')]],
    ['index.docker.io', '', '', ['hubber', 'h', from('docker.io')]],
    ['registry.gitlab.com', '', 'gitlab.com', ['me', 'gl', from('gitlab.com')]],
    ['example', '', '', null],
    ['xhost.example', '', '', null],
    ['nopass.example', '', '', null],
    ['evil.example', '', 'nvcr.io', null],
    ['evil.example', '$oauthtoken', 'authn.nvidia.com', null],
  ])('%s, user %j, token server %j: %j', async (registry, user, realm, found) => {
    expect(short(await open({ files: { [credentials]: file } }).find(registry, user, 'a/b', realm))).toEqual(found);
  });

  test('has an entry of either of NGC’s hosts serve', async () => {
    const { find } = open({ files: { [credentials]: 'machine authn.nvidia.com login $oauthtoken password k' } });
    expect(short(await find('nvcr.io'))).toEqual(['$oauthtoken', 'k', from('authn.nvidia.com')]);
  });

  test('has its default serve any registry, and an entry without login any user', async () => {
    const { find } = open({ files: { [credentials]: 'default login d password x\nmachine a.io password y' } });
    expect(short(await find('b.io'))).toEqual(['d', 'x', `file ~/${credentials}, default`]);
    expect(short(await find('a.io', 'me'))).toEqual(['me', 'y', from('a.io')]);
    expect(await find('b.io', 'me')).toBeNull();
  });

  test.each<[expression: string, secret: string]>([
    ['$TOKEN', 't o k'],
    ['${TOKEN}', 't o k'],
    ['$TOKEN$MORE', 't o k+'],
    ['${NONE:-else}', 'else'],
    ['$(echo " hello  there " && echo)', 'hello  there'],
    ['$(printf %s "$TOKEN" | tr o 0)', 't 0 k'],
    ['$(cat; echo read)', 'read'],
    ['$(printf %s "${BUNDLER_WORD-unset}")', 'unset'],
    ['"$TOKEN"', '$TOKEN'],
  ])('has the password %s evaluated', async (expression, secret) => {
    const { find } = open({
      files: { [credentials]: `machine a.io login AWS password ${expression}` },
      env: { TOKEN: 't o k', MORE: '+' },
    });
    expect((await find('a.io'))?.secret).toBe(secret);
  });

  test('keeps what is evaluated out of the arguments of every process', async () => {
    const { find, home } = open({
      files: {
        [credentials]:
          'machine a.io password $(echo "secret-$(cat /proc/$$/cmdline | tr "\\0" " ")" > "$HOME/seen"; echo k)',
      },
    });
    expect((await find('a.io'))?.secret).toBe('k');
    const seen = readFileSync(join(home, 'seen'), 'utf8');
    expect(seen).toMatch(/^secret-sh -c /);
    expect(seen.replace('secret-', '')).not.toContain('secret');
  });

  test.each(['$(echo secret; exit 3)', '$(secret-command)', '$secret', '$(secret', '$(x "secret)'])(
    'refuses a password that gives nothing, without showing it: %s',
    async (expression) => {
      const { find, warnings, keychain } = open({
        files: { [credentials]: `machine a.io login me password ${expression}\n` },
      });
      let said = '';
      try {
        expect(await find('a.io')).toBeNull();
        said = `${warnings} ${keychain.looked}`;
        expect(said).toMatch(/line 1/);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        said = `${error.message} ${error.hint} ${error.cause ?? ''}`;
        expect(said).toContain(`machine a.io: evaluating it failed or gave nothing`);
      }
      expect(said).not.toContain('secret');
    },
  );

  describe('that others can change', () => {
    const evil = 'machine a.io login me password $(touch "$HOME/ran"; echo x)\nmachine b.io login me password plain';
    const spoil: [what: string, action: (home: string) => void][] = [
      ['a file for all', (home) => chmodSync(join(home, credentials), 0o602)],
      ['a file for a group', (home) => chmodSync(join(home, credentials), 0o620)],
      ['a directory for all', (home) => chmodSync(join(home, '.config/enroot'), 0o777)],
      [
        'a link to a file in a directory for all',
        (home) => {
          mkdirSync(join(home, 'open'));
          chmodSync(join(home, 'open'), 0o777);
          writeFileSync(join(home, 'open/file'), evil, { mode: 0o600 });
          rmSync(join(home, credentials));
          symlinkSync(join(home, 'open/file'), join(home, credentials));
        },
      ],
      ...(isRoot
        ? ([
            ['a file of somebody else', (home) => chownSync(join(home, credentials), 4242, 4242)],
            ['a directory of somebody else', (home) => chownSync(join(home, '.config/enroot'), 4242, 4242)],
          ] satisfies [string, (home: string) => void][])
        : []),
    ];
    test.each(spoil)('(%s) has nothing evaluated, and its other passwords serve', async (_, action) => {
      const { home, find } = open({ files: { [credentials]: evil } });
      action(home);
      await expect(find('a.io')).rejects.toThrow('others can change the file');
      expect(() => readFileSync(join(home, 'ran'))).toThrow();
      expect((await find('b.io'))?.secret).toBe('plain');
    });

    test('is evaluated where only a sticky directory is open to all', async () => {
      const { home, find } = open({ files: { [credentials]: evil } });
      chmodSync(join(home, '.config/enroot'), 0o1777);
      expect((await find('a.io'))?.secret).toBe('x');
    });
  });

  test('that others can read is warned of once, and serves', async () => {
    const { home, find, warnings } = open({ files: { [credentials]: file } });
    chmodSync(join(home, credentials), 0o644);
    expect(await find('nvcr.io')).not.toBeNull();
    expect(await find('host.example')).not.toBeNull();
    expect(warnings).toEqual([`file ~/${credentials} can be read by others: chmod 600 ~/${credentials}`]);
  });

  test('that is a directory is left out with a warning', async () => {
    const { find, warnings } = open({ files: { [`${credentials}/x`]: '' } });
    expect(await find('a.io')).toBeNull();
    expect(warnings).toEqual([`file ~/${credentials} is left out: it is no regular file`]);
  });

  test.each<[string, string, string]>([
    ['too large', `#${'x'.repeat(1 << 20)}`, 'larger than 1048576 bytes'],
    ['no text', 'machine a.io password x\0', 'it has a NUL'],
  ])('that is %s is left out with a warning', async (_, text, why) => {
    const { find, warnings } = open({ files: { [credentials]: text } });
    expect(await find('a.io')).toBeNull();
    expect(warnings.join()).toContain(why);
  });
});

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
    const home = join(scratch, String(count + 1));
    const { find } = open({ files: { [file]: { auths: { 'a.io': auth('me:x') } } }, env: env(home) });
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
