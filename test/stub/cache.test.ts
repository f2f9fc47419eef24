// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { type Ran, run } from '../support/run.ts';
import { freshUser, isRoot, makeDir, ordinaryUser, type User } from '../support/session.ts';
import { assemble, plainBundle, writeBundle } from './rig.ts';

const mounts: string[] = [];
afterAll(() => {
  for (const place of mounts) execFileSync('umount', ['-l', place]);
});

function fact(ran: Ran, key: string): string {
  expect(ran).toMatchObject({ status: 0 });
  return new RegExp(`^${key}=(.*)$`, 'm').exec(ran.stdout)?.[1] ?? 'absent';
}

function cacheOf(user: User): string {
  return path.join(user.home, '.cache/bundler');
}

function runtimesIn(cache: string): string[] {
  return readdirSync(cache).filter((name) => name.startsWith('runtime-'));
}

function mountTmpfs(user: User, options: string): string {
  const place = makeDir(user, 'mount');
  execFileSync('mount', ['-t', 'tmpfs', '-o', `${options},uid=${user.uid},gid=${user.uid},mode=0700`, 'none', place]);
  mounts.push(place);
  return place;
}

/** Runs with one directory to use; the reason why it does not do is the launcher's to tell. */
function runIn(cache: string, user: User, ...args: string[]): Promise<Ran> {
  return run([plainBundle(), ...(args.length ? args : ['facts'])], { user, env: { BUNDLER_CACHE_DIR: cache } });
}

describe('the runtime cache', () => {
  test('the first start unpacks below the home, the next one finds it', async () => {
    const user = freshUser();
    expect(fact(await run([plainBundle()], { user }), 'runtime-from')).toBe('unpacked');
    const second = await run([plainBundle()], { user });
    expect(fact(second, 'runtime-from')).toBe('warm');
    expect(fact(second, 'cache-dir')).toBe(cacheOf(user));
    expect(statSync(cacheOf(user)).mode & 0o777).toBe(0o700);
    expect(readdirSync(user.home)).toEqual(['.cache']);
  });

  test('a missing, a short, a locked and an emptied file is healed', async () => {
    const user = freshUser();
    await run([plainBundle()], { user });
    const dir = path.join(cacheOf(user), runtimesIn(cacheOf(user))[0] ?? '');
    const damages = [
      () => rmSync(path.join(dir, 'lib/libx.so')),
      () => truncateSync(path.join(dir, 'ld.so'), 1000),
      () => chmodSync(path.join(dir, 'ld.so'), 0o644),
      () => truncateSync(path.join(dir, 'list'), 0),
      () => truncateSync(path.join(dir, 'list'), 20),
      () => rmSync(path.join(dir, 'list')),
      () => rmSync(dir, { recursive: true }),
    ];
    for (const damage of damages) {
      damage();
      expect(fact(await run([plainBundle()], { user }), 'runtime-from')).toBe('unpacked');
      expect(fact(await run([plainBundle()], { user }), 'runtime-from')).toBe('warm');
      expect(readdirSync(cacheOf(user)).sort()).toEqual(['lock', path.basename(dir)]);
    }
  });

  test('damage that keeps the size is healed when the runtime cannot be executed', async () => {
    const user = freshUser();
    await run([plainBundle()], { user });
    const loader = path.join(cacheOf(user), runtimesIn(cacheOf(user))[0] ?? '', 'ld.so');
    writeFileSync(loader, Buffer.alloc(statSync(loader).size));
    const ran = await run([plainBundle()], { user });
    expect(fact(ran, 'runtime-from')).toBe('unpacked');
    expect(ran.stderr).toContain('is damaged: unpacking it again');
    expect(fact(await run([plainBundle()], { user }), 'runtime-from')).toBe('warm');
  });

  test('a hundred first starts at once all succeed and unpack once', async () => {
    const user = freshUser();
    const all = await Promise.all(Array.from({ length: 100 }, () => run([plainBundle()], { user })));
    const from = all.map((ran) => fact(ran, 'runtime-from'));
    const inodes = runtimesIn(cacheOf(user)).length;
    expect(inodes).toBe(1);
    expect(from.filter((one) => one !== 'unpacked' && one !== 'warm')).toEqual([]);
    expect(readdirSync(cacheOf(user)).filter((name) => name.startsWith('tmp-'))).toEqual([]);
  });

  test('one that stops while it unpacks is taken over: its lock is free, its leavings go', async () => {
    const user = freshUser();
    mkdirSync(path.join(cacheOf(user), 'tmp-1-000001/lib'), { recursive: true });
    writeFileSync(path.join(cacheOf(user), 'lock'), '');
    execFileSync('chown', ['-R', `${user.uid}:${user.uid}`, path.join(user.home, '.cache')]);
    chmodSync(cacheOf(user), 0o700);
    expect(fact(await run([plainBundle()], { user }), 'runtime-from')).toBe('unpacked');
    expect(readdirSync(cacheOf(user)).filter((name) => name.startsWith('tmp-'))).toEqual([]);
  });

  test('runtimes of other versions go after 30 days without use, and not before', async () => {
    const user = freshUser();
    const other = writeBundle(assemble({ runtime: { salt: 'another' } }).bytes);
    await run([other], { user });
    const [old = ''] = runtimesIn(cacheOf(user));
    const third = writeBundle(assemble({ runtime: { salt: 'third' } }).bytes);
    await run([third], { user });
    const before = Date.now() / 1000 - 31 * 86_400;
    utimesSync(path.join(cacheOf(user), old), before, before);
    await run([plainBundle()], { user });
    expect(runtimesIn(cacheOf(user))).toHaveLength(2);
    expect(existsSync(path.join(cacheOf(user), old))).toBe(false);
  });

  test('a warm start of an old runtime marks it as used', async () => {
    const user = freshUser();
    await run([plainBundle()], { user });
    const dir = path.join(cacheOf(user), runtimesIn(cacheOf(user))[0] ?? '');
    const before = Date.now() / 1000 - 20 * 86_400;
    utimesSync(dir, before, before);
    expect(fact(await run([plainBundle()], { user }), 'runtime-from')).toBe('warm');
    expect(statSync(dir).mtimeMs).toBeGreaterThan(Date.now() - 60_000);
  });

  test('clear-cache removes what is ours, names it, and leaves what is not', async () => {
    const user = freshUser();
    await run([plainBundle()], { user });
    writeFileSync(path.join(cacheOf(user), 'notes'), 'mine');
    const [name = ''] = runtimesIn(cacheOf(user));
    const ran = await run([plainBundle(), 'ask', 'clear-cache'], { user });
    expect(fact(ran, 'answer')).toBe(`${cacheOf(user)}/${name}`);
    expect(readdirSync(cacheOf(user))).toEqual(['notes']);
  });
});

describe.skipIf(!isRoot)('a directory that will not do is passed over', () => {
  const fallback = 'mounted';

  test('noexec', async () => {
    const user = freshUser();
    expect(fact(await runIn(mountTmpfs(user, 'noexec'), user), 'runtime-from')).toBe(fallback);
  });

  test('a full disk', async () => {
    const user = freshUser();
    const place = mountTmpfs(user, 'size=400k');
    expect(fact(await runIn(place, user), 'runtime-from')).toBe(fallback);
    expect(readdirSync(place).filter((name) => name !== 'lock')).toEqual([]);
  });

  test('no space for what the runtime really needs, although the table said less', async () => {
    const user = freshUser();
    const place = mountTmpfs(user, 'size=400k');
    const bundle = writeBundle(assemble({ rawSizeBytes: 1000 }).bytes);
    expect(fact(await run([bundle], { user, env: { BUNDLER_CACHE_DIR: place } }), 'runtime-from')).toBe(fallback);
    expect(readdirSync(place).filter((name) => name !== 'lock')).toEqual([]);
  });

  test('a quota on the size of files', async () => {
    const user = freshUser();
    const place = path.join(user.home, 'new');
    const line = ['prlimit', '--fsize=100000:100000', plainBundle(), 'facts'];
    expect(fact(await run(line, { user, env: { BUNDLER_CACHE_DIR: place } }), 'runtime-from')).toBe(fallback);
    expect(existsSync(place)).toBe(false);
  });

  test('a symlink', async () => {
    const user = freshUser();
    symlinkSync(makeDir(user), path.join(user.home, 'link'));
    expect(fact(await runIn(path.join(user.home, 'link'), user), 'runtime-from')).toBe(fallback);
    expect(fact(await runIn(`${path.join(user.home, 'link')}/`, user), 'runtime-from')).toBe(fallback);
  });

  test("somebody else's, even when it holds a complete runtime", async () => {
    const user = freshUser();
    const place = makeDir(user);
    await runIn(place, user);
    execFileSync('chown', ['-R', '0:0', place]);
    chmodSync(place, 0o755);
    expect(fact(await runIn(place, user), 'runtime-from')).toBe(fallback);
  });

  test('one in which others may write', async () => {
    const user = freshUser();
    const place = makeDir(user);
    chmodSync(place, 0o777);
    expect(fact(await runIn(place, user), 'runtime-from')).toBe(fallback);
    expect(readdirSync(place)).toEqual([]);
  });

  test('a name that the loader would split', async () => {
    const user = freshUser();
    expect(fact(await runIn(path.join(makeDir(user), 'a:b'), user), 'runtime-from')).toBe(fallback);
  });

  test('a read-only one', async () => {
    const user = freshUser();
    const place = makeDir(user);
    chownSync(place, user.uid, user.uid);
    chmodSync(place, 0o500);
    expect(fact(await runIn(place, user), 'runtime-from')).toBe(fallback);
  });

  test('without /dev/fuse the runtime is unpacked into memory', async () => {
    const user = freshUser();
    const script = 'mount --bind /dev/null /dev/fuse && exec setpriv --reuid=$0 --regid=$0 --clear-groups "$@"';
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', BUNDLER_CACHE_DIR: '/proc/no' };
    const out = execFileSync('unshare', ['-m', 'sh', '-c', script, String(user.uid), plainBundle(), 'facts'], {
      env,
      encoding: 'utf8',
      stdio: 'pipe',
    });
    expect(out).toContain('runtime-from=memory\n');
    expect(out).toContain('cache-dir=\n');
  });

  test('when nothing at all is left, each reason and the cure are told', async () => {
    const user = freshUser();
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', BUNDLER_CACHE_DIR: '/proc/no' };
    // In a user namespace of the test's own, so that the limit holds for nobody else; then without the capabilities it gave.
    const script =
      'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all "$@"';
    const ran = await run(['unshare', '-Ur', '--', 'sh', '-c', script, 'sh', plainBundle(), 'facts'], { user, env });
    expect(ran.status).toBe(125);
    expect(ran.stderr).toContain('/proc/no: cannot be made (No such file or directory)');
    expect(ran.stderr).toContain('BUNDLER_CACHE_DIR');
  });
});

describe('what the planner may ask', () => {
  test('places tells every candidate with what is free, or what failed', async () => {
    const user = freshUser();
    const ran = await run([plainBundle(), 'ask', 'places 1000000'], { user });
    const lines = ran.stdout.split('\n').map((line) => line.replace(/^answer=/, ''));
    expect(lines[0]).toMatch(new RegExp(`^${cacheOf(user)} ok \\d+ \\S+ exec$`));
    expect(ran.stdout).toContain(`/var/tmp/bundler-${user.uid} ok `);
    expect(existsSync(`/var/tmp/bundler-${user.uid}`) || existsSync(`/tmp/bundler-${user.uid}`)).toBe(false);
  });

  test('places names too little space', async () => {
    const place = makeDir(ordinaryUser());
    const ran = await runIn(place, ordinaryUser(), 'ask', 'places 90000000000000');
    expect(fact(ran, 'answer')).toBe(`${place} space 28`);
  });

  test('dir looks at a directory of anybody and makes nothing', async () => {
    const ran = await run([plainBundle(), 'ask', 'dir 1000 /tmp/not there/deep', 'dir 0 /proc']);
    expect(ran.stdout).toMatch(/^answer=\/tmp\/not there\/deep ok \d+ \S+ exec$/m);
    expect(ran.stdout).toMatch(/^answer=\/proc write \d+$/m);
    expect(existsSync('/tmp/not there')).toBe(false);
  });

  test('an unknown question is an error of ours', async () => {
    expect(await run([plainBundle(), 'ask', 'where to'])).toMatchObject({ status: 125, stdout: '' });
  });
});

test('a list is what it says', async () => {
  const user = freshUser();
  await run([plainBundle()], { user });
  const list = readFileSync(path.join(cacheOf(user), runtimesIn(cacheOf(user))[0] ?? '', 'list'), 'utf8');
  expect(list).toMatch(/^(\d+ 100[0-7]{3} \S+\n){3}end\n$/);
});
