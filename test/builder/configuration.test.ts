// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: enroot, not JavaScript, expands these
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { readConfiguration } from '../../src/bundle/configuration.ts';
import { sha256 } from '../../src/format/hash-tree.ts';
import { builtinReplacedBy, findStock, stockFiles } from '../../src/format/stock-files.ts';

const scratch = mkdtempSync(join(tmpdir(), 'configuration-'));
afterAll(() => rmSync(scratch, { recursive: true }));

let count = 0;
/** A directory with these files; names that end in .sh may be executed. */
function makeDirectory(files: Readonly<Record<string, string | Buffer>>): string {
  count += 1;
  const dir = join(scratch, String(count));
  mkdirSync(dir);
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), content);
    chmodSync(join(dir, name), name.endsWith('.sh') ? 0o755 : 0o644);
  }
  return dir;
}

const read = (all: boolean, system: string, env: Record<string, string> = {}) =>
  readConfiguration(all, { ENROOT_SYSCONF_PATH: system, PATH: process.env['PATH'] ?? '', ...env });

describe('the configuration that make embeds', () => {
  test('is absent where there is none', async () => {
    expect(await read(true, join(scratch, 'nowhere'), { HOME: join(scratch, 'nobody') })).toBeUndefined();
    expect(await read(false, makeDirectory({ 'enroot.conf': '# comment\n#ENROOT_REMAP_ROOT yes\n' }))).toBeUndefined();
  });

  test('is the system’s three directories, with all that lies in them, by name', async () => {
    const dir = makeDirectory({
      'hooks.d/50-b.sh': '#!/bin/sh\n',
      'hooks.d/50-a.sh': '#!/bin/sh\n',
      'hooks.d/lib/common': 'x',
      'environ.d/50.env': 'A=1\n',
      'mounts.d/50.fstab': '/a /b none bind\n',
      'other.d/x': 'x',
    });
    symlinkSync('50-a.sh', join(dir, 'hooks.d/60-link.sh'));
    symlinkSync('/nonexistent', join(dir, 'hooks.d/70-dangling.sh'));
    const made = await read(false, dir, { ENROOT_CONFIG_PATH: makeDirectory({ 'environ.d/user.env': 'U=1\n' }) });
    expect(made?.files.map(({ path }) => path)).toEqual([
      'environ.d/50.env',
      'mounts.d/50.fstab',
      'hooks.d/50-a.sh',
      'hooks.d/50-b.sh',
      'hooks.d/60-link.sh',
      'hooks.d/lib/common',
    ]);
    expect(made?.files[2]).toEqual({
      from: 'system',
      path: 'hooks.d/50-a.sh',
      mode: 0o755,
      builtin: '',
      encoding: 'utf8',
      content: '#!/bin/sh\n',
    });
    expect(made?.settings).toEqual({});
  });

  test('keeps bytes that are not text, and names of any kind', async () => {
    const bytes = Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 0xff]);
    const made = await read(false, makeDirectory({ 'hooks.d/\x1f a\nb.sh': bytes }));
    expect(made?.files[0]).toMatchObject({ path: 'hooks.d/\x1f a\nb.sh', encoding: 'base64' });
    expect(Buffer.from(made?.files[0]?.content ?? '', 'base64')).toEqual(bytes);
  });

  test('has with `all` also the user’s files and the caller’s variables', async () => {
    const system = makeDirectory({ 'environ.d/s.env': 'S=1\n' });
    const home = makeDirectory({ '.config/enroot/environ.d/u.env': 'U=1\n' });
    const env = { HOME: home, ENROOT_MOUNT_HOME: 'y', ENROOT_DATA_PATH: '/data', ENROOT_SQUASH_OPTIONS: '-comp xz' };
    const made = await read(true, system, env);
    expect(made?.files.map(({ from, path }) => `${from} ${path}`)).toEqual([
      'system environ.d/s.env',
      'user environ.d/u.env',
    ]);
    expect(made?.settings).toEqual({ ENROOT_MOUNT_HOME: 'y' });
    const named = await read(true, system, { ...env, XDG_CONFIG_HOME: join(home, 'none') });
    expect(named?.files).toHaveLength(1);
  });

  test('has the settings of enroot.conf and enroot.conf.d that a launch looks at, evaluated', async () => {
    const dir = makeDirectory({
      'enroot.conf': [
        'ENROOT_REMAP_ROOT   yes',
        'ENROOT_DATA_PATH /data',
        'ENROOT_SITE = "a  ${HOME}/$(id -u)" x # comment',
        'ENROOT_SHELL $(printf %s "from a shell" | tr a-z A-Z)',
        'ENROOT_EMPTY',
        'ENROOT_OVER ${ENROOT_SITE}',
        'NVIDIA_VISIBLE_DEVICES=all',
        'http_proxy=proxy:8080',
        'touch /nonexistent/x',
      ].join('\n'),
      'enroot.conf.d/10.conf': 'ENROOT_REMAP_ROOT no\nENROOT_EMPTY filled\n',
      'enroot.conf.d/README': 'ENROOT_README yes\n',
    });
    const made = await read(false, dir, { HOME: '/h' });
    expect(made?.settings).toEqual({
      ENROOT_REMAP_ROOT: 'yes',
      ENROOT_SITE: `a  /h/${process.getuid?.()} x`,
      ENROOT_SHELL: 'FROM A SHELL',
      ENROOT_EMPTY: 'filled',
      ENROOT_OVER: `a /h/${process.getuid?.()} x`,
      NVIDIA_VISIBLE_DEVICES: 'all',
    });
  });

  test('of a value that no shell can evaluate is refused by its name', async () => {
    const dir = makeDirectory({ 'enroot.conf': 'ENROOT_BAD $(\n' });
    await expect(read(false, dir)).rejects.toThrow('cannot evaluate ENROOT_BAD of');
  });
});

describe('files as enroot ships them', () => {
  test('are known by their digest, whatever their name', () => {
    const first = stockFiles[0];
    expect(first && findStock(first.digest)).toBe(first);
    expect(new Set(stockFiles.map(({ digest }) => digest)).size).toBe(stockFiles.length);
    for (const { digest, path } of stockFiles) {
      expect(digest).toMatch(/^[0-9a-f]{64}$/);
      expect(path).toMatch(/^(environ\.d\/.*\.env|mounts\.d\/.*\.fstab|hooks\.d\/.*\.sh)$/);
    }
  });

  test('lose their content, since a built-in serves them', async () => {
    // Short enough to be written down: what enroot 4.1.2 ships as 10-terminal.env.
    const terminal = 'TERM=${TERM}\n';
    expect(findStock(sha256(Buffer.from(terminal)).toString('hex'))?.path).toBe('environ.d/10-terminal.env');
    const dir = makeDirectory({ 'environ.d/10-terminal.env': terminal, 'environ.d/90-again.env': terminal });
    const made = await read(false, dir);
    expect(made?.files).toMatchObject([
      { builtin: '10-terminal', content: '' },
      { builtin: '10-terminal', content: '' },
    ]);
  });

  test('stand for what a changed file of their name replaces', () => {
    expect(builtinReplacedBy('hooks.d/10-home.sh')).toBe('10-home');
    expect(builtinReplacedBy('hooks.d/50-site.sh')).toBeNull();
  });
});
