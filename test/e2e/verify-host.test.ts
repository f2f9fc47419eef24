// SPDX-License-Identifier: Apache-2.0
import { chmodSync, copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { run, runBare } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

describe('--verify', () => {
  for (const [what, flags, status] of [
    ['all is well', [], 0],
    ['/dev/fuse is missing', ['--no-fuse'], 0],
    ['user namespaces are off', ['--no-userns'], 0],
    ['user namespaces are filtered', ['--deny', 'userns'], 0],
  ] as const) {
    e2e(`says so when ${what}, and --json gives the same as data`, async () => {
      const ran = await runBare([makeBundle('busybox'), '--verify'], { flags, home: 'fresh' });
      expect(ran.status, ran.stdout + ran.stderr).toBe(status);
      expect(ran.stdout).toMatch(/OK/);
      if (flags.length > 0) expect(ran.stdout).toMatch(/KO/);
      const json = await runBare([makeBundle('busybox'), '--verify', '--json'], { flags, home: 'fresh' });
      expect(json.status).toBe(status);
      expect(typeof JSON.parse(json.stdout)).toBe('object');
    });
  }
});

describe('a copy of the file', () => {
  e2e('runs from a directory with an odd name and through a symlink', async () => {
    const dir = `${makeDir(ordinaryUser())}/a b\n"'$x`;
    mkdirSync(dir);
    copyFileSync(makeBundle('busybox'), `${dir}/-x y.run`);
    chmodSync(`${dir}/-x y.run`, 0o755);
    symlinkSync('-x y.run', `${dir}/link`);
    expect(await run([`${dir}/link`, 'echo', 'odd'])).toMatchObject({ status: 0, stdout: 'odd\n', stderr: '' });
    const ran = await run(
      ['sh', '-c', 'exec "$0" sh -c "read x; sha256sum < /bin/busybox | wc -l"', `${dir}/-x y.run`],
      { input: '\n' },
    );
    expect(ran).toMatchObject({ status: 0, stdout: '1\n' });
  });
});
