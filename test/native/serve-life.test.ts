// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { testNeeding } from '../support/features.ts';
import type { Ran } from '../support/run.ts';
import { freshUser, type User } from '../support/session.ts';
import { listProcesses, untilAllEnded } from '../support/snapshot.ts';
import { makeImage, runMounted, scratch, startMounted } from './serve-rig.ts';
import { makeTree } from './serve-tree.ts';

const needing = testNeeding('root', 'userns', 'fuse', 'mksquashfs');
let image = '';

beforeAll(() => {
  const dir = scratch('serve-life');
  makeTree(path.join(dir, 'tree'), 200);
  image = makeImage(path.join(dir, 'tree'), path.join(dir, 'image.sqsh'), '-comp', 'zstd');
});

function serverOf(user: User): number {
  const found = listProcesses(user).filter((p) => p.command === 'bundler-fs');
  expect(found).toHaveLength(1);
  return found[0]?.pid ?? Number.NaN;
}

describe('the server process', () => {
  needing("is nobody's child here, even for a caller that adopts orphans", async () => {
    for (const flags of [[], ['-x']]) {
      const script = 'wait; read kids </proc/$$/task/$$/children; echo "[$kids]"; exec perl -e "print wait, qq(\\n)"';
      const ran = await runMounted(image, ['sh', '-c', script], { flags, user: freshUser() });
      expect(ran.stdout).toBe('[]\n-1\n');
    }
  });

  needing(
    'has its own session, no terminal, null stdio, two further descriptors, / as directory and its own name',
    async () => {
      const user = freshUser();
      const running = startMounted(image, ['sh', '-c', 'echo up; read x'], { user, env: { SECRET: 'do-not-keep' } });
      await running.see(/up/);
      const pid = serverOf(user);
      const proc = (name: string): string => readFileSync(`/proc/${pid}/${name}`, 'latin1');
      const stat = proc('stat').replace(/.*\) /, '').split(' ');
      // After the name: state, parent, process group, session, terminal.
      expect(stat.slice(2, 5)).toEqual([String(pid), String(pid), '0']);
      const descriptors = Object.fromEntries(
        readdirSync(`/proc/${pid}/fd`).map((fd) => [fd, readlinkSync(`/proc/${pid}/fd/${fd}`)]),
      );
      expect(['0', '1', '2'].map((fd) => descriptors[fd])).toEqual(['/dev/null', '/dev/null', '/dev/null']);
      expect(Object.values(descriptors).slice(3).sort()).toEqual(['/dev/fuse', image].sort());
      expect(readlinkSync(`/proc/${pid}/cwd`)).toBe('/');
      expect(proc('comm')).toBe('bundler-fs\n');
      expect(proc('environ')).not.toContain('do-not-keep');
      expect(proc('cmdline')).not.toContain('image');
      running.type('\n');
      await running.end();
      await untilAllEnded(user);
    },
  );

  needing('does not hear signals of the keyboard or of a job, and ends with the command', async () => {
    const user = freshUser();
    const running = startMounted(image, ['sh', '-c', 'echo up; read x; cat text | wc -c'], { user });
    await running.see(/up/);
    const pid = serverOf(user);
    for (const signal of [
      'SIGINT',
      'SIGTERM',
      'SIGHUP',
      'SIGQUIT',
      'SIGTSTP',
      'SIGTTIN',
      'SIGTTOU',
      'SIGUSR1',
      'SIGUSR2',
      'SIGPIPE',
    ] as const)
      process.kill(pid, signal);
    expect(await running.end('\n').then((ran) => ran.stdout)).toBe('up\n1320000\n');
    await untilAllEnded(user);
  });

  needing("lets a reader of the command's output see its end while a daemon keeps the mount", async () => {
    const user = freshUser();
    const ran = await runMounted(image, ['sh', '-c', 'sleep 3 >/dev/null 2>&1 </dev/null & echo done'], {
      user,
      timeoutMs: 2500,
    });
    expect([ran.status, ran.stdout]).toEqual([0, 'done\n']);
    serverOf(user);
    await untilAllEnded(user);
  });

  needing('starts with no descriptor 0, 1 and 2 and with signals blocked or ignored', async () => {
    const script = `$SIG{CHLD} = "IGNORE"; $SIG{INT} = "IGNORE"; use POSIX; $s = POSIX::SigSet->new(1..31); sigprocmask(SIG_BLOCK, $s);
      open(O, ">&", 1); fcntl(O, 2, 0); POSIX::close(0); POSIX::close(1); POSIX::close(2); exec @ARGV`;
    const ran = await runMounted(image, ['sh', '-c', 'head -c 3 text >&3; ls -l /proc/self/fd/0 >&3 2>/dev/null; :'], {
      before: ['perl', '-e', script],
    });
    expect(ran.stdout).toMatch(/^the/);
  });

  needing(
    'leaves nothing when its starter is killed at any moment',
    async () => {
      const user = freshUser();
      for (let delayUs = 0; delayUs < 12_000; delayUs += 150) {
        const running = startMounted(image, ['sleep', '5'], { user, before: ['perl', '-e', killer, String(delayUs)] });
        expect(await running.end()).toMatchObject({ status: 0, stderr: '' });
      }
      await untilAllEnded(user, 5000);
    },
    120_000,
  );

  needing('gives an error at once and no hang when it is killed', async () => {
    const user = freshUser();
    const script =
      'cat text >/dev/null; echo up; read x; LC_ALL=C cat size-131072 size-393233 2>&1 >/dev/null; LC_ALL=C ls etc 2>&1; cat text | wc -c';
    const running = startMounted(image, ['sh', '-c', script], { user, timeoutMs: 5000 });
    await running.see(/up/);
    process.kill(serverOf(user), 'SIGKILL');
    const ran = await running.end('\n');
    expect(ran.stdout).toMatch(
      /(not connected|aborted|Input\/output)[\s\S]*ls: [^\n]*(not connected|aborted|Input\/output)/,
    );
    expect(ran.status).toBe(0);
    await untilAllEnded(user);
  });

  needing('killed under load frees every reader', async () => {
    const user = freshUser();
    // O_DIRECT: every read asks the server.
    const read = 'while dd if=size-393233 of=/dev/null bs=64k iflag=direct; do :; done';
    const script = `echo up; for i in 1 2 3 4; do (${read}; tar cf - many; :) >/dev/null 2>&1 & done; wait; echo over`;
    const running = startMounted(image, ['sh', '-c', script], { user, timeoutMs: 10_000, flags: ['-0', '-c', '1'] });
    await running.see(/up/);
    await new Promise((resolve) => setTimeout(resolve, 150));
    process.kill(serverOf(user), 'SIGKILL');
    const killed = Date.now();
    expect((await running.end()).stdout).toBe('up\nover\n');
    expect(Date.now() - killed).toBeLessThan(3000);
    await untilAllEnded(user);
  });

  needing('says what keeps /dev/fuse shut', async () => {
    // Root changes /dev in a mount namespace of its own, then becomes the ordinary user.
    const attempt = (change: string): Promise<Ran> => {
      const script = `mount -t tmpfs none /dev && ${change} && exec setpriv --reuid 4242 --regid 4242 --clear-groups "$@"`;
      return runMounted(image, ['true'], {
        user: { uid: 0, home: '/' },
        before: ['unshare', '-m', 'sh', '-c', script, 'sh'],
      });
    };
    const absent = await attempt('true');
    expect(absent.stderr).toMatch(/^bundler: open \/dev\/fuse: No such file.*\n {2}try: load the kernel's module/);
    expect(absent.status).toBe(125);
    const shut = await attempt('mknod -m 600 /dev/fuse c 10 229');
    expect(shut.stderr).toMatch(/^bundler: open \/dev\/fuse: Permission denied\n {2}try: it needs mode 0666/);
    const other = await attempt('mknod -m 666 /dev/fuse c 10 254');
    expect(other.stderr).toMatch(/^bundler: open \/dev\/fuse: No such device.*\n {2}try: the kernel has no FUSE/);
  });
});

/** Runs the command line after its first argument and kills it with SIGKILL after so many microseconds. */
const killer = `use Time::HiRes "usleep"; $us = shift; $pid = fork; exec @ARGV if !$pid; usleep $us; kill 9, $pid; wait; exit 0`;
