// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: enroot, not JavaScript, expands these
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { readBuildSettings } from '../../src/settings/build-settings.ts';
import { findHome } from '../../src/settings/find-home.ts';
import { readEnrootConf } from '../../src/settings/read-enroot-conf.ts';
import { defaultSquashOptions } from '../../src/settings/squash-options.ts';

const scratch = mkdtempSync(join(tmpdir(), 'settings-'));
afterAll(() => rmSync(scratch, { recursive: true }));

let count = 0;
function makeDirectory(files: Readonly<Record<string, string>>): string {
  count += 1;
  const dir = join(scratch, String(count));
  mkdirSync(dir);
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), content);
  }
  return dir;
}

const path = process.env['PATH'] ?? '';
const read = (env: Record<string, string>, conf = '') =>
  readBuildSettings({
    PATH: path,
    HOME: '/h',
    ENROOT_SYSCONF_PATH: conf === '' ? join(scratch, 'nowhere') : makeDirectory({ 'enroot.conf': conf }),
    ...env,
  });

test('what a shell evaluates is not in its arguments, nor handed on', async () => {
  const conf = 'https_proxy http://me:secret@host/$(tr "\\0" _ < /proc/$$/cmdline; printenv BUNDLER_TEXT)';
  const { env } = await read({}, conf);
  expect(env['https_proxy']).toMatch(/^http:\/\/me:secret@host\/sh_-c_/);
  expect(env['https_proxy']?.match(/secret/g)).toHaveLength(1);
});

describe('the settings for building', () => {
  test('are enroot’s by default, but for the compressor and the retries', async () => {
    const settings = await read({});
    expect(settings).toMatchObject({
      home: '/h',
      temporaryDirectory: '/tmp',
      maxConnections: 10,
      maxProcessors: availableParallelism(),
      connectTimeoutSeconds: 30,
      transferTimeoutSeconds: 0,
      transferRetries: 5,
      allowHttp: false,
      forceOverride: false,
      squash: { options: defaultSquashOptions, ignored: [], lzo: false },
      sourceDateSeconds: null,
      mirrors: [],
    });
    expect(settings.cacheDirectory()).toBe('/h/.cache/enroot');
    expect(settings.dataDirectory()).toBe('/h/.local/share/enroot');
    expect(settings.configDirectory()).toBe('/h/.config/enroot');
  });

  test('are taken from the environment', async () => {
    const settings = await read({
      XDG_CACHE_HOME: '/xdg',
      ENROOT_DATA_PATH: '/data/',
      ENROOT_CONFIG_PATH: 'relative',
      TMPDIR: '/t',
      ENROOT_MAX_CONNECTIONS: '0',
      ENROOT_MAX_PROCESSORS: '3',
      ENROOT_CONNECT_TIMEOUT: '1.5',
      ENROOT_TRANSFER_TIMEOUT: '60',
      ENROOT_TRANSFER_RETRIES: '0',
      ENROOT_ALLOW_HTTP: 'y',
      ENROOT_FORCE_OVERRIDE: 'yes',
      ENROOT_SQUASH_OPTIONS: '-comp xz',
      SOURCE_DATE_EPOCH: '1700000000',
      BUNDLER_MIRRORS: 'docker.io=a',
    });
    expect(settings).toMatchObject({
      temporaryDirectory: '/t',
      maxConnections: Number.POSITIVE_INFINITY,
      maxProcessors: 3,
      connectTimeoutSeconds: 1.5,
      transferTimeoutSeconds: 60,
      transferRetries: 0,
      allowHttp: true,
      forceOverride: true,
      squash: { options: { compressor: 'xz' } },
      sourceDateSeconds: 1_700_000_000,
      mirrors: [{ prefix: 'docker.io', endpoints: ['a'] }],
    });
    expect(settings.cacheDirectory()).toBe('/xdg/enroot');
    expect(settings.dataDirectory()).toBe('/data');
    expect(settings.configDirectory()).toBe(join(process.cwd(), 'relative'));
  });

  test('are taken from enroot.conf where the environment has none', async () => {
    const conf = [
      'ENROOT_SITE /scratch/$(id -u)',
      'ENROOT_CACHE_PATH ${ENROOT_SITE}/cache',
      'ENROOT_CACHE_PATH /later',
      'ENROOT_DATA_PATH ${XDG_DATA_HOME}/e',
      'ENROOT_TEMP_PATH ${TMPDIR:-/var/tmp}',
      'ENROOT_MAX_CONNECTIONS 4',
      'ENROOT_ALLOW_HTTP yes',
      'ENROOT_SQUASH_OPTIONS -comp zstd -Xcompression-level 9',
      'BUNDLER_MIRRORS = docker.io=a,b nvcr.io=c',
      'SOURCE_DATE_EPOCH 5',
      'PATH /evil',
    ].join('\n');
    const settings = await read({ ENROOT_MAX_CONNECTIONS: '7', ENROOT_ALLOW_HTTP: 'no' }, conf);
    expect(settings.cacheDirectory()).toBe(`/scratch/${process.getuid?.()}/cache`);
    expect(settings.dataDirectory()).toBe('/h/.local/share/e');
    expect(settings).toMatchObject({
      temporaryDirectory: '/var/tmp',
      maxConnections: 7,
      allowHttp: false,
      squash: { options: { compressor: 'zstd', level: 9 } },
      sourceDateSeconds: null,
      mirrors: [
        { prefix: 'docker.io', endpoints: ['a', 'b'] },
        { prefix: 'nvcr.io', endpoints: ['c'] },
      ],
    });
    expect(settings.env['PATH']).toBe(path);
  });

  test('have the proxies and certificates of enroot.conf, where the environment has none of either spelling', async () => {
    const conf =
      'http_proxy p:1\nhttps_proxy p:2\nno_proxy local\nSSL_CERT_FILE /ca.pem\nSSL_CERT_DIR\nftp_proxy p:3\n';
    const { env } = await read({ https_proxy: 'mine:1', NO_PROXY: 'mine' }, conf);
    expect(env).toMatchObject({ http_proxy: 'p:1', https_proxy: 'mine:1', NO_PROXY: 'mine', SSL_CERT_FILE: '/ca.pem' });
    expect(env['no_proxy']).toBeUndefined();
    expect(env['ftp_proxy']).toBeUndefined();
  });

  test('are not evaluated where they are not needed', async () => {
    const touched = join(scratch, 'touched');
    const conf = [
      `ENROOT_GZIP_PROGRAM $(touch ${touched}; echo gzip)`,
      `ENROOT_MAX_PROCESSORS $(touch ${touched}; echo 2)`,
      `ENROOT_TEMP_PATH $(touch ${touched}; echo /x)`,
      'ENROOT_TRANSFER_RETRIES $(expr 1 + 1)',
    ].join('\n');
    const settings = await read({ ENROOT_MAX_PROCESSORS: '1', ENROOT_TEMP_PATH: '/t' }, conf);
    expect(settings.transferRetries).toBe(2);
    expect(existsSync(touched)).toBe(false);
  });

  test.each<[name: string, value: string, why: string]>([
    ['ENROOT_MAX_CONNECTIONS', 'many', '"many" is not a whole number'],
    ['ENROOT_MAX_PROCESSORS', '1.5', '"1.5" is not a whole number'],
    ['ENROOT_CONNECT_TIMEOUT', '-1', '"-1" is not a number of seconds'],
    ['ENROOT_TRANSFER_RETRIES', '99999999999', 'is not a whole number'],
    ['ENROOT_SQUASH_OPTIONS', '-comp bzip2', '-comp is one of'],
    ['BUNDLER_MIRRORS', 'x', 'does not begin with REGISTRY'],
  ])('that cannot be are refused by name and place: %s=%s', async (name, value, why) => {
    await expect(read({ [name]: value })).rejects.toThrow(`cannot use ${name} of the environment: `);
    await expect(read({ [name]: value })).rejects.toThrow(why);
    await expect(read({}, `${name} ${value}`)).rejects.toThrow(/ of \S+\/enroot\.conf: /);
  });

  test('refuse a SOURCE_DATE_EPOCH that is no number', async () => {
    await expect(read({ SOURCE_DATE_EPOCH: 'now' })).rejects.toThrow(
      'SOURCE_DATE_EPOCH is "now", not a number of seconds',
    );
  });

  test('of drop-ins come after enroot.conf, by name', async () => {
    const dir = makeDirectory({
      'enroot.conf': 'ENROOT_MAX_CONNECTIONS\nENROOT_CONNECT_TIMEOUT 1\n',
      'enroot.conf.d/20.conf': 'ENROOT_MAX_CONNECTIONS 20\nENROOT_TRANSFER_RETRIES 2\n',
      'enroot.conf.d/10.conf': 'ENROOT_MAX_CONNECTIONS 10\nENROOT_CONNECT_TIMEOUT 9\n',
      'enroot.conf.d/30.txt': 'ENROOT_TRANSFER_RETRIES 3\n',
    });
    const settings = await readEnrootConf(dir, {}, (name) => name.startsWith('ENROOT_'));
    expect(Object.fromEntries(settings)).toEqual({
      ENROOT_MAX_CONNECTIONS: { value: '10', path: join(dir, 'enroot.conf.d/10.conf') },
      ENROOT_CONNECT_TIMEOUT: { value: '1', path: join(dir, 'enroot.conf') },
      ENROOT_TRANSFER_RETRIES: { value: '2', path: join(dir, 'enroot.conf.d/20.conf') },
    });
  });
});

describe('the home directory', () => {
  const passwd = join(
    makeDirectory({
      passwd: 'root:x:0:0::/root:/bin/sh\n\nbad\nann:x:7:7:Ann:/home/ann:/bin/sh\nnil:x:8:8::relative:\n',
    }),
    'passwd',
  );

  test.each<[home: string, uid: number, found: string]>([
    ['/h', 7, '/h'],
    ['', 7, '/home/ann'],
    ['', 0, '/root'],
    ['', 8, ''],
    ['', 9, ''],
  ])('with HOME %j, of user %i, is %j', (home, uid, found) => {
    expect(findHome({ HOME: home }, passwd, uid)).toBe(found);
  });

  test('is nowhere without a file', () => {
    expect(findHome({}, join(scratch, 'nowhere'), 7)).toBe('');
  });

  test('is needed only by the paths that are below it', async () => {
    const settings = await readBuildSettings({ ENROOT_SYSCONF_PATH: scratch, ENROOT_DATA_PATH: '/data' }, '');
    expect(settings.dataDirectory()).toBe('/data');
    expect(() => settings.cacheDirectory()).toThrow('ENROOT_CACHE_PATH is not set, and there is no home directory');
  });
});
