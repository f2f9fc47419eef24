// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { type BareOptions, run, runBare } from '../support/run.ts';
import { freshUser, sessionDir } from '../support/session.ts';
import { until, untilAllEnded } from '../support/snapshot.ts';

const hello = (file: string): string[] => [
  file,
  'sh',
  '-c',
  'sha256sum < /bin/busybox > /dev/null && echo "hello from below"',
];

/** The bundle must work one rung down. */
function works(title: string, options: BareOptions, image: 'busybox' | 'tree' = 'busybox', args: string[] = []): void {
  e2e(title, async () => {
    const user = freshUser();
    const [file = '', ...rest] = hello(makeBundle(image));
    const ran = await runBare([file, ...args, ...rest], { home: 'fresh', ...options, user });
    expect(ran, ran.stderr).toMatchObject({ status: 0, stdout: 'hello from below\n' });
    await untilAllEnded(user);
  });
}

/** The bundle cannot work: 125, and a message that names the cause and the cure. */
function explains(title: string, options: BareOptions, cause: RegExp, cure: RegExp, args: string[] = []): void {
  e2e(title, async () => {
    const user = freshUser();
    const [file = '', ...rest] = hello(makeBundle('busybox'));
    const ran = await runBare([file, ...args, ...rest], { home: 'fresh', ...options, user });
    expect(ran.status, ran.stderr).toBe(125);
    expect(ran.stdout).toBe('');
    expect(ran.stderr).toMatch(/^bundler: /);
    expect(ran.stderr).toMatch(cause);
    expect(ran.stderr).toMatch(cure);
    expect(ran.stderr).not.toMatch(/\bat .*\(.*:\d+:\d+\)|this is a bug/);
    await untilAllEnded(user);
  });
}

describe('without /dev/fuse', () => {
  works('the image is unpacked into the cache', { flags: ['--no-fuse'] });
  works('which may not be opened, the same', { flags: ['--fuse-mode', '600'] });
  works('and without any home, it is unpacked below /tmp', { flags: ['--no-fuse'], home: 'none' });
  works('and --rw, the unpacked files are written to', { flags: ['--no-fuse'] }, 'busybox', ['--rw']);
  works('and with no directory that can be written, it is unpacked into memory', {
    flags: ['--no-fuse', '--no-tmp', '--read-only'],
    home: 'none',
  });
});

describe('places for the cache', () => {
  works('noexec /tmp and home: another place, or none, is used', {
    flags: ['--no-tmp', '--tmpfs', '/tmp=noexec', '--tmpfs', '/home/user=noexec'],
    home: 'none',
    env: { HOME: '/home/user' },
  });
  works('noexec /tmp and home and no /dev/fuse: memory is used', {
    flags: ['--no-fuse', '--no-tmp', '--tmpfs', '/tmp=noexec', '--tmpfs', '/home/user=noexec'],
    home: 'none',
    env: { HOME: '/home/user' },
  });
  works('a read-only home: /tmp is used', {
    flags: ['--tmpfs', '/home/user=ro'],
    home: 'none',
    env: { HOME: '/home/user' },
  });
  works('no directory that can be written: nothing is written', { flags: ['--no-tmp', '--read-only'], home: 'none' });
  works('a full /tmp and home: nothing is written', {
    flags: ['--no-tmp', '--tmpfs', '/tmp=size=16k', '--tmpfs', '/home/user=size=16k'],
    home: 'none',
    env: { HOME: '/home/user' },
  });
  works('64 MiB for everything, no /dev/fuse', {
    flags: ['--no-fuse', '--no-tmp', '--tmpfs', '/tmp=size=64m', '--read-only'],
    home: 'none',
  });
  works('64 MiB for everything', { flags: ['--no-tmp', '--tmpfs', '/tmp=size=64m', '--read-only'], home: 'none' });
  works('BUNDLER_CACHE_DIR is used when it is given', {
    flags: ['--dir', '/mine', '--no-tmp'],
    home: 'none',
    env: { BUNDLER_CACHE_DIR: '/mine/cache' },
  });
  works('a HOME that is not set', { env: { HOME: '' } });
});

describe('overlays', () => {
  works(
    'no user xattrs on tmpfs (setxattr refused): --rw works all the same',
    { flags: ['--deny', 'xattr'] },
    'busybox',
    ['--rw'],
  );
  works('no user xattrs on tmpfs: a read-only start does not mind', { flags: ['--deny', 'xattr'] });

  e2e('without user xattrs --rw can still remove a directory of the image', async () => {
    const ran = await runBare(
      [makeBundle('busybox'), '--rw', 'sh', '-c', 'rm -r /usr && mkdir /usr && ls -A /usr && echo "new and empty"'],
      { flags: ['--deny', 'xattr'], home: 'fresh' },
    );
    expect(ran, ran.stderr).toMatchObject({ status: 0, stdout: 'new and empty\n' });
  });
});

describe('kernels and filters', () => {
  works('openat2 is missing', { flags: ['--deny', 'openat2'] });
  explains(
    'user namespaces set to 0 by sysctl',
    { flags: ['--no-userns'] },
    /user namespace/,
    /sysctl.*user\.max_user_namespaces/,
  );
  explains(
    'user namespaces refused by a container engine’s filter',
    { flags: ['--deny', 'userns'] },
    /user namespace/,
    /seccomp|security-opt|container/,
  );
  explains('a plain chroot', { flags: ['--chroot'] }, /user namespace|chroot/, /chroot|pivot_root/);
  explains(
    'mount refused by a filter',
    { flags: ['--deny', 'mount'] },
    /mount/,
    /seccomp|security-opt|container|AppArmor|apparmor/,
  );
});

describe('forced rungs', () => {
  works('BUNDLER_DRIVER=fuse', { env: { BUNDLER_DRIVER: 'fuse' } });
  works('BUNDLER_DRIVER=extract', { env: { BUNDLER_DRIVER: 'extract' } });
  explains(
    'BUNDLER_DRIVER=fuse without /dev/fuse',
    { env: { BUNDLER_DRIVER: 'fuse' }, flags: ['--no-fuse'] },
    /\/dev\/fuse/,
    /modprobe fuse|mknod|BUNDLER_DRIVER/,
  );
  explains(
    'BUNDLER_DRIVER=kernel as an ordinary user',
    { env: { BUNDLER_DRIVER: 'kernel' } },
    /root|loop/,
    /root|BUNDLER_DRIVER|fuse/,
  );
  explains(
    'BUNDLER_DRIVER that does not exist',
    { env: { BUNDLER_DRIVER: 'floppy' } },
    /floppy/,
    /fuse.*extract|extract.*fuse/,
  );
  explains(
    'BUNDLER_SANDBOX that is not in this version',
    { env: { BUNDLER_SANDBOX: 'proot' } },
    /proot/,
    /userns|version/,
  );
  works('BUNDLER_SANDBOX=userns', { env: { BUNDLER_SANDBOX: 'userns' } });

  e2e('BUNDLER_DRIVER=kernel as root mounts the image with a loop device, and frees it', async () => {
    const file = makeBundle('busybox');
    const backing = (name: string): string => `/sys/block/${name}/loop/backing_file`;
    const loops = (): string[] =>
      readdirSync('/sys/block').filter(
        (name) => existsSync(backing(name)) && readFileSync(backing(name), 'utf8').includes(file),
      );
    const child = spawn(file, ['sh', '-c', 'read x; cat /bin/busybox | wc -c'], {
      env: { HOME: sessionDir(), BUNDLER_DRIVER: 'kernel' },
    });
    let shown = '';
    child.stdout.on('data', (data: Buffer) => {
      shown += data.toString();
    });
    await until(
      () => loops().length === 1,
      () => 'no loop device over the bundle',
    );
    child.stdin.end('go\n');
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(0);
    expect(shown.trim()).toBe(String(statSync('/bin/busybox').size));
    await until(
      () => loops().length === 0,
      () => `left: ${loops().join(' ')}`,
    );
  });
});

describe('--verify', () => {
  for (const [what, flags, status] of [
    ['all is well', [], 0],
    ['/dev/fuse is missing', ['--no-fuse'], 0],
    ['user namespaces are off', ['--no-userns'], 1],
    ['user namespaces are filtered', ['--deny', 'userns'], 1],
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
    const { copyFileSync, mkdirSync, symlinkSync, chmodSync } = await import('node:fs');
    const { makeDir, ordinaryUser } = await import('../support/session.ts');
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
