// SPDX-License-Identifier: Apache-2.0
import { chmodSync, copyFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeImage } from '../../fixtures/make.ts';
import { bundler, makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { run, runBare } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';
import { verdictSchema } from '../support/verdict-schema.ts';

describe('bundler doctor', () => {
  e2e('judges the host without a bundle, as text and as JSON', async () => {
    const ran = await run([bundler, 'doctor']);
    expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout).toMatch(/^user namespace {31}: OK$/m);
    expect(ran.stdout).toMatch(/^OK: this host runs bundles$/m);
    const json = await run([bundler, 'doctor', '--json']);
    const verdict = verdictSchema.parse(JSON.parse(json.stdout));
    expect(verdict).toMatchObject({ ok: true, file: bundler, name: null, needBytes: 0, uses: { driver: 'fuse' } });
  });

  e2e('judges for a bundle as its own --verify does, also through a symlink and without its x bit', async () => {
    const file = makeBundle('busybox');
    const own = await run([file, '--verify']);
    const ran = await run([bundler, 'doctor', file]);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    // Free space and memory change while others work.
    const shape = (text: string): string => text.replace(/[\d.]+ [GM]B/g, 'SIZE');
    expect(shape(ran.stdout)).toBe(shape(own.stdout));
    const dir = makeDir(ordinaryUser(), 'doctor');
    symlinkSync(file, path.join(dir, 'link.run'));
    copyFileSync(file, path.join(dir, 'plain.run'));
    chmodSync(path.join(dir, 'plain.run'), 0o644);
    for (const name of ['link.run', './plain.run']) {
      const json = await run([bundler, 'doctor', '--json', name], { cwd: dir });
      const verdict = verdictSchema.parse(JSON.parse(json.stdout));
      expect(verdict, json.stderr).toMatchObject({
        ok: true,
        name: expect.stringMatching(/^busybox/),
        needBytes: expect.any(Number),
      });
    }
  });

  e2e('names a denial and its cure on a bare host, where bundles run in another way', async () => {
    const ran = await runBare([bundler, 'doctor', '--json'], { flags: ['--deny', 'userns'] });
    const verdict = verdictSchema.parse(JSON.parse(ran.stdout));
    expect(ran.status).toBe(verdict.ok ? 0 : 1);
    expect(verdict.checks.find(({ id }) => id === 'userns')).toMatchObject({
      ok: false,
      note: expect.stringMatching(/seccomp filter/),
      cure: expect.stringMatching(/docker run --security-opt seccomp=unconfined/),
    });
  });

  e2e('prints an AppArmor profile for bundler, or for a bundle', async () => {
    const file = makeBundle('busybox');
    const profile = (program: string) => expect.stringContaining(` "${program}" flags=(unconfined) {\n  userns,\n`);
    expect(await run([bundler, 'doctor', '--apparmor'])).toMatchObject({ status: 0, stdout: profile(bundler) });
    expect(await run([bundler, 'doctor', '--apparmor', file])).toMatchObject({ status: 0, stdout: profile(file) });
  });

  e2e('executes nothing that is no bundle', async () => {
    const script = path.join(makeDir(ordinaryUser(), 'doctor'), 'x');
    copyFileSync('/bin/busybox', script);
    const ran = await run([bundler, 'doctor', script]);
    expect(ran).toMatchObject({ status: 125, stdout: '' });
    expect(ran.stderr).toMatch(/^bundler: .*\n {2}try: a bundle is made with: bundler make/);
    const image = await run([bundler, 'doctor', makeImage('busybox')]);
    expect(image.stderr).toMatch(/^bundler: cannot judge .*: a plain squashfs image cannot be started\n {2}try: /);
  });
});
