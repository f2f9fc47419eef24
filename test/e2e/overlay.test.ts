// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { run, runBare, start } from '../support/run.ts';
import { freshUser, makeDir, type User } from '../support/session.ts';
import { listProcesses, until, untilAllEnded } from '../support/snapshot.ts';
import { verdictSchema } from '../support/verdict-schema.ts';

const rootType = 'awk \'$5 == "/" { print $(NF - 2) }\' /proc/self/mountinfo';

/** One user for all, since each of them would unpack the runtime. */
let shared: User | undefined;

function setUp(): { user: User; cwd: string; file: string } {
  shared ??= freshUser();
  const user = shared;
  return { user, cwd: makeDir(user, 'overlay'), file: makeBundle('busybox') };
}

describe('--overlay DIR', () => {
  e2e('keeps what is written, by user and by root, and the image as it was', async () => {
    const { user, cwd, file } = setUp();
    const options = { user, cwd };
    const first = await run(
      [file, '--overlay', 'changes', 'sh', '-ec', 'echo one > /etc/new; rm -r /usr; mkdir /usr'],
      options,
    );
    expect(first, first.stderr).toMatchObject({ status: 0, stderr: '' });
    const script =
      'id -u; cat /etc/new; ls -A /usr; echo user:x:77:77::/:/bin/sh >> /etc/passwd; chown 0:0 /etc/passwd';
    const second = await run([file, '--root', '--overlay=changes', 'sh', '-ec', script], options);
    expect(second, second.stderr).toMatchObject({ status: 0, stdout: '0\none\n' });
    const third = await run(
      [file, '--overlay', './changes/', 'sh', '-ec', `grep -c user:x:77 /etc/passwd; ${rootType}`],
      options,
    );
    expect(third, third.stderr).toMatchObject({ status: 0, stdout: '1\noverlay\n' });
    expect(await run([file, 'sh', '-c', 'ls /etc/new; ls / | grep usr'], options)).toMatchObject({ stdout: 'usr\n' });
    await untilAllEnded(user);
    expect(readFileSync(path.join(cwd, 'changes/upper/etc/new'), 'utf8')).toBe('one\n');
    expect(statSync(path.join(cwd, 'changes/upper/etc/passwd')).uid).toBe(user.uid);
    expect(readdirSync(cwd)).toEqual(['changes']);
  });

  e2e('works where the image must be unpacked, and keeps none of the unpacked files', async () => {
    const { user, cwd, file } = setUp();
    const options = { user, cwd, env: { BUNDLER_DRIVER: 'extract' } };
    await run([file, '--overlay', 'changes', 'sh', '-c', 'echo one > /etc/new; echo line >> /etc/passwd'], options);
    const again = await run(
      [file, '--overlay', 'changes', 'sh', '-c', `cat /etc/new; tail -n 1 /etc/passwd; ${rootType}`],
      options,
    );
    expect(again, again.stderr).toMatchObject({ status: 0, stdout: 'one\nline\noverlay\n' });
    const served = await run([file, '--overlay', 'changes', 'sh', '-c', 'cat /etc/new; tail -n 1 /etc/passwd'], {
      user,
      cwd,
    });
    expect(served).toMatchObject({ status: 0, stdout: 'one\nline\n' });
    await untilAllEnded(user);
    expect(readdirSync(path.join(cwd, 'changes/upper'))).toEqual(['etc']);
    expect(readdirSync(path.join(cwd, 'changes/upper/etc')).sort()).toEqual(['new', 'passwd']);
  });

  e2e('is refused for another image, to a second writer, and beside --keep', async () => {
    const { user, cwd, file } = setUp();
    const options = { user, cwd };
    const first = start([file, '--overlay', 'changes', 'sh', '-c', 'echo up; exec sleep 100'], options);
    await first.see(/up/);
    const second = await run([file, '--overlay', 'changes', 'true'], options);
    expect(second).toMatchObject({ status: 125, stdout: '' });
    expect(second.stderr).toMatch(
      /^bundler: keep the changes in \/.*\/changes: another container is using it\n {2}try: /,
    );
    process.kill(first.pid, 'SIGKILL');
    expect(await run([file, '--overlay', 'changes', 'echo', 'free'], options)).toMatchObject({
      status: 0,
      stdout: 'free\n',
    });
    await first.end();
    const other = await run([makeBundle('no-shell'), '--overlay', 'changes', '/peek'], options);
    expect(other).toMatchObject({ status: 125, stdout: '' });
    expect(other.stderr).toMatch(/they belong to another image \(digest \w{64}, and this one's is \w{64}\)\n {2}try: /);
    const both = await run([file, '--overlay', 'changes', '--keep', 'true'], options);
    expect(both.status).toBe(125);
    expect(both.stderr).toMatch(/--overlay and --keep exclude each other/);
    await untilAllEnded(user);
  });
});

describe('--rw', () => {
  e2e('with BUNDLER_RW=disk writes to the cache directory, and nothing stays there', async () => {
    const { user, cwd, file } = setUp();
    const options = { user, cwd, env: { BUNDLER_RW: 'disk' } };
    const script = `echo x > /etc/new; rm -r /usr; mkdir /usr; ${rootType}; echo up; read x; cat /etc/new`;
    const running = start([file, '--rw', 'sh', '-c', script], options);
    await running.see(/up/);
    const cache = path.join(user.home, '.cache/bundler');
    const layers = (): string[] => readdirSync(cache).filter((name) => name.startsWith('layer-'));
    expect(layers()).toEqual([expect.stringMatching(/^layer-\w{6}$/)]);
    expect(await running.end('\n')).toMatchObject({ status: 0, stdout: 'overlay\nup\nx\n', stderr: '' });
    await untilAllEnded(user);
    expect(layers()).toEqual([]);
    const killed = start([file, '--rw', 'sh', '-c', 'echo up; exec sleep 100'], options);
    await killed.see(/up/);
    process.kill(killed.pid, 'SIGKILL');
    await killed.end();
    await untilAllEnded(user);
    expect(layers()).toEqual([]);
  });

  // Again and again: the next start's own namespace may well get the number of the dead one.
  e2e('on disk is swept by the next start when everything was killed at once', async () => {
    const { user, cwd, file } = setUp();
    const hasLayer = () =>
      readdirSync(path.join(user.home, '.cache/bundler')).some((name) => name.startsWith('layer-'));
    for (let round = 0; round < 8; round += 1) {
      const running = start([file, '--rw', 'sh', '-c', 'echo up; exec sleep 100'], {
        user,
        cwd,
        env: { BUNDLER_RW: 'disk' },
      });
      await running.see(/up/);
      // The keeper first: it would clean up after the others.
      const isKeeper = (command: string): number => (command.includes('bundler-layer') ? 0 : 1);
      const processes = listProcesses(user).sort((a, b) => isKeeper(a.command) - isKeeper(b.command));
      for (const { pid } of processes) process.kill(pid, 'SIGKILL');
      await running.end();
      await untilAllEnded(user);
      expect(hasLayer()).toBe(true);
      await run([file, 'true'], { user });
      await untilAllEnded(user);
      expect(hasLayer(), `round ${round}`).toBe(false);
    }
  });

  e2e('with BUNDLER_RW_SIZE holds that much in memory', async () => {
    const { user, file } = setUp();
    const script =
      'head -c 1000000 /dev/zero > /fits && ! head -c 9000000 /dev/zero > /too-much 2>/dev/null && echo full';
    const ran = await run([file, '--rw', 'sh', '-c', script], { user, env: { BUNDLER_RW_SIZE: '4M' } });
    expect(ran, ran.stderr).toMatchObject({ status: 0, stdout: 'full\n' });
  });

  e2e('without /dev/fuse leaves nothing of an unpacked image that was written to', async () => {
    const { user, cwd, file } = setUp();
    mkdirSync(path.join(cwd, 'x'));
    const ran = await run([file, '--rw', 'sh', '-c', 'echo x > /x'], {
      user,
      cwd,
      env: { BUNDLER_DRIVER: 'extract', BUNDLER_RW: 'disk' },
    });
    expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: '' });
    await untilAllEnded(user);
    expect(
      readdirSync(path.join(user.home, '.cache/bundler')).filter((name) => /^(layer|extract)-/.test(name)),
    ).toEqual([]);
  });
});

describe('as real root without user namespaces', () => {
  e2e('--rw on disk and --overlay work, and --verify says where', async () => {
    const home = makeDir({ uid: 0, home: '/' }, 'root');
    const options = { user: { uid: 0, home }, flags: ['--deny', 'userns'] };
    const file = makeBundle('busybox');
    const script = `cat /etc/new; echo x > /etc/new; rm -r /usr; mkdir /usr; ls -A /usr | wc -l; ${rootType}`;
    const env = { BUNDLER_RW: 'disk' };
    const disk = await runBare([file, '--rw', 'sh', '-c', script], { ...options, env });
    expect(disk, disk.stderr).toMatchObject({ status: 0, stdout: '0\noverlay\n' });
    const told = await runBare([file, '--verify', '--json'], { ...options, env });
    expect(verdictSchema.parse(JSON.parse(told.stdout)).uses).toMatchObject({
      sandbox: 'root',
      rw: { in: 'disk', place: '/home/user/.cache/bundler' },
    });
    for (const seen of ['', 'x\n']) {
      const kept = await runBare([file, '--overlay', '/home/user/d', 'sh', '-c', script], options);
      expect(kept, kept.stderr).toMatchObject({ status: 0, stdout: `${seen}0\noverlay\n` });
    }
    // What root wrote has real owners: a user of one id is not to go on with it.
    expect(readFileSync(path.join(home, 'd/.bundler'), 'utf8')).toMatch(/^owners real$/m);
    await until(
      () => !readdirSync(path.join(home, '.cache/bundler')).some((name) => name.startsWith('layer-')),
      () => readdirSync(path.join(home, '.cache/bundler')).join(' '),
    );
  });
});
