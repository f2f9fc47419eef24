// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { type BareOptions, runBare } from '../support/run.ts';
import { bareLibraries, sanitizerEnv } from '../support/sanitize.ts';
import { freshUser, makeDir, sessionDir } from '../support/session.ts';
import { until, untilAllEnded } from '../support/snapshot.ts';

/** Reads the image, then shows what its root is: the part of a file system, and its type. */
const script = 'sha256sum < /bin/busybox > /dev/null && awk \'$5 == "/" { print $4, $(NF - 2) }\' /proc/self/mountinfo';
const hello = (file: string): string[] => [file, 'sh', '-c', script];

/** What each rung looks like from inside. */
const rungs = {
  served: /^\/ fuse\.bundler\n$/,
  'served below an overlay': /^\/ overlay\n$/,
  'unpacked at home': /^\/home\/user\/\.cache\/bundler\/extract-\w+\/root \w+\n$/,
  'unpacked in /tmp': /^(\/tmp)?\/bundler-\d+\/extract-\w+\/root \w+\n$/,
  'unpacked in memory': /^\/tree tmpfs\n$/,
} as const;
type Rung = keyof typeof rungs;

const noexec = {
  flags: ['--no-tmp', '--tmpfs', '/tmp=noexec', '--tmpfs', '/home/user=noexec'],
  home: 'none',
  env: { HOME: '/home/user' },
} as const;

/** The bundle must work, on this very rung. */
function works(title: string, rung: Rung, options: BareOptions, args: string[] = []): void {
  e2e(`${title} (${rung})`, async () => {
    const user = freshUser();
    const [file = '', ...rest] = hello(makeBundle('busybox'));
    const ran = await runBare([file, ...args, ...rest], { home: 'fresh', ...options, user });
    expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout).toMatch(rungs[rung]);
    await untilAllEnded(user);
  });
}

/** And the runtime must be where it is expected: in a directory, or in none, mounted or in memory. */
function keepsRuntime(
  title: string,
  from: 'unpacked' | 'mounted' | 'memory',
  place: RegExp,
  options: BareOptions,
): void {
  e2e(`${title}: the runtime is ${from}${from === 'unpacked' ? ` in ${place.source}` : ''}`, async () => {
    const user = freshUser();
    const ran = await runBare([makeBundle('busybox'), '--info', '--json'], { home: 'none', ...options, user });
    expect(ran.status, ran.stderr).toBe(0);
    const info = JSON.parse(ran.stdout) as { runtimeFrom: string; cacheDirectory: string };
    expect(info).toMatchObject({ runtimeFrom: from, cacheDirectory: expect.stringMatching(place) });
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
  works('the image is unpacked', 'unpacked at home', { flags: ['--no-fuse'] });
  works('which may not be opened, the same', 'unpacked at home', { flags: ['--fuse-mode', '600'] });
  works('and without any home', 'unpacked in /tmp', { flags: ['--no-fuse'], home: 'none' });
  works('and --rw, the unpacked files are written to', 'unpacked at home', { flags: ['--no-fuse'] }, ['--rw']);
  works('and without a directory that can be written', 'unpacked in memory', {
    flags: ['--no-fuse', '--no-tmp', '--read-only'],
    home: 'none',
  });
  works('and 64 MiB for everything', 'unpacked in /tmp', {
    flags: ['--no-fuse', '--no-tmp', '--tmpfs', '/tmp=size=64m', '--read-only'],
    home: 'none',
  });
  works('and noexec /tmp and home', 'unpacked in memory', { ...noexec, flags: ['--no-fuse', ...noexec.flags] });
});

describe('places for the cache', () => {
  const fullTmp = ['--no-tmp', '--tmpfs', '/tmp=size=16k'];
  const readOnly = ['--no-tmp', '--read-only'];
  const atHome = { HOME: '/home/user' };
  const places: [string, 'unpacked' | 'mounted' | 'memory', RegExp, BareOptions][] = [
    ['a home', 'unpacked', /^\/home\/user\/\.cache\/bundler$/, { home: 'fresh' }],
    ['noexec /tmp and home', 'mounted', /^$/, noexec],
    ['noexec /tmp and home and no /dev/fuse', 'memory', /^$/, { ...noexec, flags: ['--no-fuse', ...noexec.flags] }],
    ['a read-only home', 'unpacked', /^\/tmp\/bundler-\d+$/, { flags: ['--tmpfs', '/home/user=ro'], env: atHome }],
    ['no directory that can be written', 'mounted', /^$/, { flags: readOnly }],
    ['a full /tmp and home', 'mounted', /^$/, { flags: [...fullTmp, '--tmpfs', '/home/user=size=16k'], env: atHome }],
    ['64 MiB for everything', 'mounted', /^$/, { flags: [...readOnly, '--tmpfs', '/tmp=size=64m'] }],
    ['a HOME that is not set', 'unpacked', /^\/tmp\/bundler-\d+$/, { env: { HOME: '' } }],
    [
      'BUNDLER_CACHE_DIR',
      'unpacked',
      /^\/mine\/cache$/,
      { flags: ['--dir', '/mine', '--no-tmp'], env: { BUNDLER_CACHE_DIR: '/mine/cache' } },
    ],
  ];
  for (const [title, from, place, options] of places) {
    keepsRuntime(title, from, place, options);
    if (!title.includes('/dev/fuse')) works(title, 'served', { home: 'none', ...options });
  }

  // Few kernels of test machines have disk quotas: a filter answers as one does when much is written.
  e2e(
    'a quota that is used up while unpacking, on disks with room: nothing is written, and nothing stays',
    async () => {
      const user = freshUser();
      const dir = makeDir(user, 'home');
      const options = {
        user,
        home: 'none',
        env: atHome,
        flags: ['--deny', 'quota', '--bind', `${dir}=/home/user`],
      } as const;
      const ran = await runBare(hello(makeBundle('busybox')), options);
      expect(ran, ran.stderr).toMatchObject({ status: 0, stdout: '/ fuse.bundler\n', stderr: '' });
      const info = await runBare([makeBundle('busybox'), '--info'], options);
      expect(info.stdout).toMatch(/^Cache directory: none \(runtime: mounted\)$/m);
      await untilAllEnded(user);
      const kept = await runBare([makeBundle('busybox'), '--keep', '--target', '/home/user/kept', 'true'], options);
      expect(kept.status, kept.stderr).toBe(125);
      expect(kept.stderr).toMatch(/^bundler: .*\/home\/user\/kept.*: Disk quota exceeded\n {2}try: /);
      await untilAllEnded(user);
      expect(readdirSync(dir, { recursive: true }).filter((name) => name !== '.cache')).toEqual([]);
    },
  );

  e2e('a --target on a full disk is refused with the size needed, and nothing of it stays', async () => {
    const file = makeBundle('busybox');
    // The janitor removes it, which may take a moment longer than the start itself.
    const script = '"$0" --extract --target /small/x; echo $?; while [ "$(ls -A /small)" ]; do :; done; echo nothing';
    const ran = await runBare(['/bin/busybox', 'sh', '-c', script, '/x.run'], {
      files: { '/x.run': file },
      flags: ['--tmpfs', '/small=size=1m', ...bareLibraries(file)],
    });
    expect(ran.stdout).toBe('125\nnothing\n');
    expect(ran.stderr).toMatch(
      /^bundler: unpack the image in \/small\/x: it needs .* MB, and .* MB are free: No space left.*\n {2}try: /,
    );
  });
});

describe('overlays', () => {
  works('--rw', 'served below an overlay', {}, ['--rw']);
  works(
    'no user xattrs on tmpfs (setxattr refused): --rw unpacks',
    'unpacked at home',
    { flags: ['--deny', 'xattr'] },
    ['--rw'],
  );
  works('no user xattrs on tmpfs: a read-only start does not mind', 'served', { flags: ['--deny', 'xattr'] });

  e2e('without user xattrs --rw can still remove a directory of the image', async () => {
    const ran = await runBare(
      [makeBundle('busybox'), '--rw', 'sh', '-c', 'rm -r /usr && mkdir /usr && ls -A /usr && echo "new and empty"'],
      { flags: ['--deny', 'xattr'], home: 'fresh' },
    );
    expect(ran, ran.stderr).toMatchObject({ status: 0, stdout: 'new and empty\n' });
  });
});

describe('kernels and filters', () => {
  works('openat2 is missing', 'served', { flags: ['--deny', 'openat2'] });
});

describe('forced rungs', () => {
  works('BUNDLER_DRIVER=fuse', 'served', { env: { BUNDLER_DRIVER: 'fuse' } });
  works('BUNDLER_DRIVER=extract', 'unpacked at home', { env: { BUNDLER_DRIVER: 'extract' } });
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
    'BUNDLER_SANDBOX that does not exist',
    { env: { BUNDLER_SANDBOX: 'cage' } },
    /cage/,
    /userns.*root.*chroot.*proot/,
  );
  works('BUNDLER_SANDBOX=userns', 'served', { env: { BUNDLER_SANDBOX: 'userns' } });

  e2e('BUNDLER_DRIVER=kernel as root mounts the image with a loop device, and frees it', async () => {
    const file = makeBundle('busybox');
    const backing = (name: string): string => `/sys/block/${name}/loop/backing_file`;
    const loops = (): string[] =>
      readdirSync('/sys/block').filter(
        (name) => existsSync(backing(name)) && readFileSync(backing(name), 'utf8').includes(file),
      );
    const child = spawn(file, ['sh', '-c', `read x; ${script}; cat /bin/busybox | wc -c`], {
      env: { HOME: sessionDir(), BUNDLER_DRIVER: 'kernel', ...sanitizerEnv() },
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
    // What is added to the image (its user's names) lies in an overlay.
    expect(shown).toBe(`/ overlay\n${statSync('/bin/busybox').size}\n`);
    await until(
      () => loops().length === 0,
      () => `left: ${loops().join(' ')}`,
    );
  });
});
