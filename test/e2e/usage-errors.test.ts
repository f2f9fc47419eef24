// SPDX-License-Identifier: Apache-2.0
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeImage } from '../../fixtures/make.ts';
import { bundler, makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { type Ran, run } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';
import { listFiles, untilAllEnded } from '../support/snapshot.ts';

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
    ['a script that is a directory', ['--rc', '/etc', 'true'], /--rc \/etc: it is a directory/],
    ['a mount without a target', ['--mount', 'x', 'true'], /mount/],
    ['a mount whose source is missing', ['--mount', '/no/such/source:/mnt', 'true'], /\/no\/such\/source/],
    ['a working directory that is not there', ['--workdir', '/no/such/dir', 'true'], /\/no\/such\/dir/],
    ['a relative working directory', ['--workdir', 'dir', 'true'], /--workdir dir: not an absolute path/],
    ['two ways to start', ['--rc', '/x', '--entrypoint', '/y'], /--rc and --entrypoint exclude each other/],
    ['a target in no directory', ['--keep', '--target', '/no/such/dir/x', 'true'], /\/no\/such\/dir/],
    ['an empty list of GPUs', ['--gpus', '', 'true'], /--gpus/],
  ];
  for (const [what, args, names] of wrong) {
    e2e(`says so in a line, and creates nothing: ${what}`, async () => {
      const user = ordinaryUser();
      const cwd = makeDir(user, 'cwd');
      const before = listFiles(user);
      for (const env of [{}, { BUNDLER_DRIVER: 'extract' }])
        expectUsageError(await run([makeBundle('busybox'), ...args], { cwd, env }), names);
      await untilAllEnded(user);
      expect(readdirSync(cwd)).toEqual([]);
      expect(listFiles(user).filter((name) => !before.includes(name) && /extract|partial|tmp-/.test(name))).toEqual([]);
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
    ['a command of a later version', ['start', 'x'], /unknown command 'start'/],
    ['an unknown option', ['make', '--no-such', 'x'], /--no-such/],
    ['make without an image', ['make'], /image/i],
    ['make of a file that is not there', ['make', '/no/such.sqsh'], /\/no\/such\.sqsh/],
    ['make of something that is no image', ['make', '/bin/busybox'], /\/bin\/busybox|squashfs/],
    ['make of a directory', ['make', '/etc'], /\/etc/],
    ['a variable that cannot be one', ['make', '--env', '1X', '/bin/busybox'], /1X/],
    ['an export in no format', ['export', '--format', 'constructor', 'x'], /formats are sqsh, oci/],
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

  e2e('says what to do with an image that is given in place of a bundle', async () => {
    const image = path.join(makeDir(ordinaryUser(), 'image'), 'x.sqsh');
    copyFileSync(makeImage('busybox'), image);
    const ran = await run([bundler, 'run', image, 'true']);
    expectUsageError(ran, /a squashfs image and not a bundle/);
    expect(ran.stderr).toContain(`try: make a bundle of it first: bundler make ${image}\n`);
  });

  e2e('says that the tool itself holds nothing to run', async () => {
    expectUsageError(await run([bundler, 'run', bundler, 'true']), /this file holds no image to run/);
  });

  e2e('says once what the launcher could not do for it', async () => {
    const ran = await run([bundler, 'extract', '-o', '/no/such/dir/x', makeBundle('busybox')]);
    expect(ran).toMatchObject({ status: 125, stdout: '' });
    expect(ran.stderr).toMatch(/^bundler: [^\n]*\/no\/such\/dir[^\n]*\n( {2}try: [^\n]*\n)?$/);
  });

  e2e('prints its help and its version with status 0', async () => {
    for (const args of [['--help'], ['--version'], ['make', '--help'], ['help']]) {
      const ran = await run([bundler, ...args]);
      expect(ran.status, ran.stderr).toBe(0);
      expect(ran.stdout).not.toBe('');
    }
  });
});
