// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a shell, not JavaScript, expands these
import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Failure } from '../../src/failure.ts';
import { isRoot } from '../support/session.ts';
import { credentials, hub, open, short } from './keychain-rig.ts';

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
