// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { bundler, makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { type Ran, run } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

function expectUsageError(ran: Ran, what: RegExp): void {
  expect(ran.status, ran.stdout + ran.stderr).toBe(125);
  expect(ran.stdout).toBe('');
  const [first = '', ...rest] = ran.stderr.trimEnd().split('\n');
  expect(first).toMatch(/^bundler: /);
  expect(first).toMatch(what);
  // At most a line or two more: the usage or what to try.
  expect(rest.length, ran.stderr).toBeLessThanOrEqual(2);
  expect(ran.stderr).not.toMatch(/ {4}at /);
}

describe('a .run given wrong options', () => {
  const wrong: [string, string[], RegExp][] = [
    ['a variable that cannot be one', ['--env', '1X', 'true'], /1X/],
    ['an empty variable name', ['--env', '=x', 'true'], /=x|--env/],
    ['an unknown option', ['--no-such', 'true'], /--no-such/],
    ['an unknown short option', ['-Z', 'true'], /-Z/],
    ['an option without its argument', ['--rc'], /--rc/],
    ['a flag with an argument', ['--rw=yes', 'true'], /--rw/],
    ['a script that does not exist', ['--rc', '/no/such/script'], /\/no\/such\/script/],
    ['a file of variables that does not exist', ['--env-file', '/no/such/file', 'true'], /\/no\/such\/file/],
    ['a mount without a target', ['--mount', 'x', 'true'], /mount/],
    ['a mount whose source is missing', ['--mount', '/no/such/source:/mnt', 'true'], /\/no\/such\/source/],
    ['a working directory that is not there', ['--workdir', '/no/such/dir', 'true'], /\/no\/such\/dir/],
    ['an option of a later version', ['--gpus', 'all', 'true'], /--gpus/],
  ];
  for (const [what, args, names] of wrong) {
    e2e(`says so in a line: ${what}`, async () => {
      const cwd = makeDir(ordinaryUser(), 'cwd');
      expectUsageError(await run([makeBundle('busybox'), ...args], { cwd }), names);
      expect(readdirSync(cwd)).toEqual([]);
    });
  }

  e2e('never touches a --target that exists and is not ours', async () => {
    const dir = makeDir(ordinaryUser(), 'target');
    writeFileSync(path.join(dir, 'precious'), 'data');
    for (const args of [['--keep'], ['--extract'], []]) {
      const ran = await run([makeBundle('busybox'), ...args, '--target', dir, 'true']);
      expect(ran.status, ran.stderr).toBe(125);
      expect(ran.stderr).toContain(dir);
      expect(readdirSync(dir)).toEqual(['precious']);
    }
    const file = path.join(dir, 'precious');
    expect((await run([makeBundle('busybox'), '--keep', '--target', file, 'true'])).status).toBe(125);
    expect(existsSync(file)).toBe(true);
  });

  e2e('refuses an empty directory of somebody else’s too', async () => {
    const dir = path.join(makeDir(ordinaryUser(), 'target'), 'empty');
    mkdirSync(dir);
    const ran = await run([makeBundle('busybox'), '--keep', '--target', dir, 'true']);
    expect(ran.status).toBe(125);
    expect(readdirSync(dir)).toEqual([]);
  });
});

describe('a .run asked about itself', () => {
  for (const [option, shows] of [
    ['--help', /--env/],
    ['--version', /\d+\.\d+/],
    ['--info', /payload|digest|offset/i],
    ['--licenses', /LGPL|Apache/],
    ['--dry-run', /exec/],
  ] as const) {
    e2e(`answers ${option} on stdout with status 0 and creates nothing`, async () => {
      const cwd = makeDir(ordinaryUser(), 'cwd');
      const ran = await run([makeBundle('busybox'), option], { cwd });
      expect(ran.status, ran.stderr).toBe(0);
      expect(ran.stdout).toMatch(shows);
      expect(ran.stderr).toBe('');
      expect(readdirSync(cwd)).toEqual([]);
    });
  }

  e2e('names in --help every option that the issue asks for', async () => {
    const { stdout } = await run([makeBundle('busybox'), '--help']);
    const options =
      'info verify extract keep target quiet env env-file keep-env mount rc root rw workdir entrypoint dry-run json licenses help version';
    for (const option of options.split(' ')) expect(stdout).toContain(`--${option}`);
  });

  e2e('prints a plan with --dry-run that is JSON', async () => {
    const ran = await run([makeBundle('busybox'), '--dry-run', 'echo', 'x']);
    expect(JSON.stringify(JSON.parse(ran.stdout))).toContain('exec');
  });
});

describe('bundler given wrong options', () => {
  const wrong: [string, string[], RegExp][] = [
    ['an unknown command', ['frobnicate'], /frobnicate/],
    ['an unknown option', ['make', '--no-such', 'x'], /--no-such/],
    ['make without an image', ['make'], /image/i],
    ['make of a file that is not there', ['make', '/no/such.sqsh'], /\/no\/such\.sqsh/],
    ['make of something that is no image', ['make', '/bin/busybox'], /\/bin\/busybox|squashfs/],
    ['make of a directory', ['make', '/etc'], /\/etc/],
    ['a variable that cannot be one', ['make', '--env', '1X', '/bin/busybox'], /1X/],
    ['inspect of a file that is not there', ['inspect', '/no/such.run'], /\/no\/such\.run/],
    ['verify of something that is no bundle', ['verify', '/bin/busybox'], /\/bin\/busybox|bundle/],
    ['run without a file', ['run'], /file/i],
    ['run of a file that is not there', ['run', '/no/such.run'], /\/no\/such\.run/],
  ];
  for (const [what, args, names] of wrong) {
    e2e(`says so in a line: ${what}`, async () => {
      const cwd = makeDir(ordinaryUser(), 'cwd');
      expectUsageError(await run([bundler, ...args], { cwd }), names);
      expect(readdirSync(cwd)).toEqual([]);
    });
  }

  e2e('prints its help and its version with status 0', async () => {
    for (const args of [['--help'], ['--version'], ['make', '--help'], ['help']]) {
      const ran = await run([bundler, ...args]);
      expect(ran.status, ran.stderr).toBe(0);
      expect(ran.stdout).not.toBe('');
    }
  });
});
