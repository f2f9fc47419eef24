// SPDX-License-Identifier: Apache-2.0
import { chmodSync, copyFileSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { bundler, makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { run, runBare } from '../support/run.ts';
import { freshUser, makeDir, ordinaryUser } from '../support/session.ts';
import { untilAllEnded } from '../support/snapshot.ts';
import { verdictSchema } from '../support/verdict-schema.ts';

/** What a kernel with AppArmor's restriction has in /proc/sys/kernel. */
function apparmorSysctls(): string {
  const dir = makeDir(ordinaryUser(), 'sysctl');
  writeFileSync(`${dir}/apparmor_restrict_unprivileged_userns`, '1\n');
  for (const name of ['overflowuid', 'overflowgid']) writeFileSync(`${dir}/${name}`, '65534\n');
  return dir;
}

const loadsProfile =
  /^\/x.run --apparmor \| sudo tee \/etc\/apparmor.d\/(bundler-x.run-\w{8}) > \/dev\/null && sudo apparmor_parser -r \/etc\/apparmor.d\/\1$/;

describe('--verify', () => {
  for (const [what, options, id, note, cure] of [
    ['all is well', {}, '', /^/, /^/],
    ['/dev/fuse is missing', { flags: ['--no-fuse'] }, 'fuse', /\/dev\/fuse is missing/, /modprobe fuse/],
    [
      '/dev/fuse is closed',
      { flags: ['--fuse-mode', '600'] },
      'fuse',
      /may not be opened/,
      /^sudo chmod 666 \/dev\/fuse$/,
    ],
    ['tmpfs has no user xattrs', { flags: ['--deny', 'xattr'] }, 'overlay', /tmpfs keeps no user xattrs/, /6\.6/],
    ['openat2 is missing', { flags: ['--deny', 'openat2'] }, 'openat2', /open: ENOSYS/, /5\.6/],
    [
      'user namespaces are off by sysctl',
      { flags: ['--no-userns'] },
      'userns',
      /user.max_user_namespaces is 0 \(unshare: ENOSPC\)/,
      /^sudo sysctl -w user.max_user_namespaces=15000$/,
    ],
    [
      'mount namespaces are off by sysctl',
      { flags: ['--no-mount-namespaces'] },
      'mount',
      /user.max_mnt_namespaces is 0/,
      /^sudo sysctl -w user.max_mnt_namespaces=15000$/,
    ],
    [
      'user namespaces are filtered',
      { flags: ['--deny', 'userns'] },
      'userns',
      /a seccomp filter.*forbids user namespaces \(unshare: EPERM\)/,
      /--security-opt seccomp=unconfined/,
    ],
    [
      'a user namespace is granted and mounting is refused, as by AppArmor',
      { flags: ['--deny', 'apparmor'], sysctls: true },
      'mount',
      /AppArmor restricts user namespaces of programs without a profile \(propagation: EACCES\)/,
      loadsProfile,
    ],
    ['it runs in a chroot', { flags: ['--chroot'] }, 'userns', /runs in a chroot/, /systemd-nspawn -D DIR/],
  ] as const) {
    e2e(`says so when ${what}, and --json gives the same as data`, async () => {
      const flags = 'flags' in options ? options.flags : [];
      const files = 'sysctls' in options ? { '/proc/sys/kernel': apparmorSysctls() } : {};
      const ran = await runBare([makeBundle('busybox'), '--verify', '--json'], { flags, files });
      const verdict = verdictSchema.parse(JSON.parse(ran.stdout));
      expect(ran.status, ran.stderr).toBe(verdict.ok ? 0 : 1);
      const text = await runBare([makeBundle('busybox'), '--verify'], { flags, files });
      expect(text.status).toBe(ran.status);
      expect(text.stdout).toMatch(verdict.ok ? /^OK: this host runs the bundle$/m : /^KO: /m);
      const check = verdict.checks.find((one) => one.id === id);
      if (id === '') {
        const tried = verdict.checks.filter(({ group, id: name }) => group === 'tried' && name !== 'loop');
        expect(tried.filter(({ ok }) => !ok)).toEqual([]);
        return;
      }
      expect(check?.ok).toBe(false);
      expect(check?.note).toMatch(note);
      expect(check?.cure).toMatch(cure);
      expect(text.stdout).toContain(`  try: ${check?.cure}\n`);
    });
  }

  e2e('tries to execute a program in each directory, and tries an overlay on disk', async () => {
    const flags = ['--no-tmp', '--tmpfs', '/tmp=noexec', '--deny', 'xattr'];
    const ran = await runBare([makeBundle('busybox'), '--verify', '--json'], { flags });
    const { places, uses } = verdictSchema.parse(JSON.parse(ran.stdout));
    expect(places.find(({ path }) => path.startsWith('/home'))).toMatchObject({ ok: true, note: '' });
    expect(places.find(({ path }) => path.startsWith('/tmp'))).toMatchObject({
      ok: false,
      note: '/tmp is mounted noexec: programs in it cannot be executed',
      cure: 'sudo mount -o remount,exec /tmp',
    });
    expect(uses).toMatchObject({ driver: 'fuse', rw: { in: 'copy' } });
    const disk = await runBare([makeBundle('busybox'), '--verify', '--json'], {
      env: { BUNDLER_RW: 'disk' },
    });
    expect(verdictSchema.parse(JSON.parse(disk.stdout)).uses).toMatchObject({
      rw: { in: 'disk', place: '/home/user/.cache/bundler' },
    });
  });

  e2e('tells the room in the directory of --overlay, which it does not make', async () => {
    const cwd = makeDir(ordinaryUser(), 'verify');
    const ran = await run([makeBundle('busybox'), '--verify', '--json', '--overlay', 'd'], { cwd });
    const { uses } = verdictSchema.parse(JSON.parse(ran.stdout));
    expect(uses?.rw).toMatchObject({ in: 'directory', place: `${cwd}/d` });
    expect(uses?.rw?.sizeBytes).toBeGreaterThan(1e6);
    expect(readdirSync(cwd)).toEqual([]);
  });

  e2e('leaves nothing behind of what it tried', async () => {
    const user = freshUser();
    expect((await run([makeBundle('busybox'), '--verify'], { user, env: { BUNDLER_RW: 'disk' } })).status).toBe(0);
    await untilAllEnded(user);
    const names = readdirSync(`${user.home}/.cache/bundler`).filter((name) => !/^(runtime-\w+|lock)$/.test(name));
    expect(names).toEqual([]);
  });

  e2e('--apparmor prints the profile of this very file', async () => {
    const file = makeBundle('busybox');
    const ran = await run([file, '--apparmor']);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout).toContain(` "${file}" flags=(unconfined) {\n  userns,\n`);
    expect(await run([file, '--verify', '--apparmor'])).toMatchObject({ status: 0, stdout: ran.stdout });
    const through = await run([bundler, 'run', file, '--verify', '--apparmor']);
    expect(through.stdout).toContain(` "${bundler}" flags=(unconfined) {\n  userns,\n`);
  });
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
