// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { assembleBundle, makeElf, sampleManifest } from './support.ts';

const main = resolve(import.meta.dirname, '../../src/main.ts');
let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'bundler-cli-'));
  const manifest = Buffer.from(JSON.stringify(sampleManifest));
  const bytes = assembleBundle(makeElf(5000), [
    { name: 'runtime', data: Buffer.alloc(100, 1) },
    { name: 'manifest', data: manifest },
  ]);
  writeFileSync(join(dir, 'good.run'), bytes);
  writeFileSync(join(dir, 'cut.run'), bytes.subarray(0, -1));
  bytes[8192 + 4096 + 5] = 9;
  writeFileSync(join(dir, 'bad.run'), bytes);
  writeFileSync(join(dir, 'text'), 'hello\n');
  writeFileSync(join(dir, 'binary-rc'), Buffer.from([0x23, 0xff]));
});
afterAll(() => rmSync(dir, { recursive: true }));

/** The builder from its sources, without a launcher. */
function bundler(args: readonly string[], env: Record<string, string> = {}) {
  const { BUNDLER_SELF: _, ...inherited } = process.env;
  const options = { cwd: dir, encoding: 'utf8', env: { ...inherited, ...env } } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], options);
  return { status, stdout, stderr };
}

describe('wrong use gives status 125, a line and what to do, and makes nothing', () => {
  test.each<[string, string[], RegExp]>([
    ['no command', [], /a command is missing\nusage: bundler COMMAND/],
    ['an unknown command', ['mak'], /unknown command 'mak'/],
    ['an unknown option', ['make', '--nope', 'x'], /make: unknown option '--nope'.*\nusage: bundler make/],
    ['no image', ['make'], /missing required argument 'image'\nusage: bundler make/],
    ['two images', ['make', 'a', 'b'], /too many arguments/],
    ['an option without its value', ['make', 'x', '-o'], /argument missing\nusage/],
    [
      'a variable that cannot be one',
      ['make', '--env', '1X=2', 'x'],
      /^bundler: make: --env 1X: a variable is NAME=VALUE.*\nusage/,
    ],
    ['a variable without a value', ['make', '--env', 'X', 'x'], /NAME=VALUE.*\nusage/],
    ['a name with a slash', ['make', '--name', 'a/b', 'x'], /no slash.*\nusage/],
    ['an entrypoint that is no list of words', ['make', '--entrypoint', '[1]', 'x'], /\["word", "word"\]\nusage/],
    ['an image that is not there', ['make', 'no.sqsh'], /cannot open no\.sqsh: no such file or directory/],
    ['a directory as image', ['make', '/'], /it is a directory/],
    ['a text as image', ['make', 'text'], /text: not a squashfs image/],
    ['a bundle as image', ['make', 'good.run'], /it is an executable, not a squashfs image\n {2}try: "bundler inspect/],
    ['an image of an unknown kind', ['make', 'ftp://debian'], /cannot read ftp:\/\/debian: no such kind of image/],
    [
      'a name that is no image',
      ['import', 'debian'],
      /cannot read debian: it says nothing of where the image is\n {2}try: docker:\/\/debian/,
    ],
    ['a script that is not there', ['make', '--rc', 'no-rc', 'text'], /cannot read the script no-rc/],
    ['a script that is not text', ['make', '--rc', 'binary-rc', 'text'], /binary-rc: it is not text/],
    ['inspect of a text', ['inspect', 'text'], /text: neither a bundle nor a squashfs image/],
    ['verify of a text', ['verify', 'text'], /text: neither a bundle nor a squashfs image/],
    ['verify of what is not there', ['verify', 'no.run'], /cannot open no\.run/],
    ['extract over what exists', ['extract', '-o', '/tmp', 'good.run'], /cannot extract to \/tmp: it exists/],
    ['extract of what has no payload', ['extract', '-o', 'new', 'good.run'], /no payload/],
    ['run without a file', ['run'], /missing required argument 'file'\nusage: bundler run/],
  ])('%s', (_title, args, message) => {
    const before = readdirSync(dir);
    const { status, stdout, stderr } = bundler(args);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^bundler: /);
    expect(stderr.trimEnd().split('\n').length).toBeLessThanOrEqual(2);
    expect({ status, stdout }).toEqual({ status: 125, stdout: '' });
    expect(readdirSync(dir)).toEqual(before);
  });

  test('a SOURCE_DATE_EPOCH that is no number', () => {
    expect(bundler(['make', 'text'], { SOURCE_DATE_EPOCH: 'now' }).stderr).toMatch(/SOURCE_DATE_EPOCH is "now"/);
  });
});

describe('inspect and verify', () => {
  test('of a good file', () => {
    expect(bundler(['verify', 'good.run'])).toMatchObject({
      status: 0,
      stderr: '',
      stdout: expect.stringContaining('good.run is whole'),
    });
    const { kind, manifest } = JSON.parse(bundler(['inspect', '--json', 'good.run']).stdout) as Record<string, unknown>;
    expect({ kind, manifest }).toEqual({ kind: 'tool', manifest: sampleManifest });
    expect(bundler(['inspect', 'good.run']).stdout).toContain('a sample\\nof two lines');
  });

  test('of a damaged file', () => {
    expect(bundler(['verify', 'bad.run'])).toMatchObject({ status: 1, stdout: expect.stringContaining('BAD runtime') });
    expect(bundler(['verify', '-q', 'bad.run'])).toEqual({ status: 1, stdout: '', stderr: '' });
    expect(JSON.parse(bundler(['verify', '--json', 'bad.run']).stdout)).toMatchObject({ ok: false });
  });

  test('of a file that is cut short', () => {
    expect(bundler(['verify', 'cut.run'])).toMatchObject({ status: 1, stdout: expect.stringContaining('truncated') });
    expect(bundler(['inspect', 'cut.run'])).toMatchObject({
      status: 125,
      stderr: expect.stringContaining('cut.run: truncated'),
    });
  });
});

test('help and version go to stdout with status 0', () => {
  for (const args of [['--help'], ['help', 'make'], ['verify', '-h'], ['--version'], ['run', '--help']]) {
    const { status, stdout, stderr } = bundler(args);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).not.toBe('');
  }
});
