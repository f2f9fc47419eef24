// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { type Running, run, start, startBare } from '../support/run.ts';
import { freshUser, makeDir, type User } from '../support/session.ts';
import { listFiles, listMounts, listProcesses, until, untilAllEnded } from '../support/snapshot.ts';

/** The one directory that may stay: the cache that --info names. Asked for first: every start sweeps what others left. */
async function cacheDirectory(file: string, user: User): Promise<string> {
  const ran = await run([file, '--info', '--json'], { user });
  const { cacheDirectory: found } = JSON.parse(ran.stdout) as { cacheDirectory: string };
  expect(found, ran.stderr).toMatch(/^\/.*bundler/);
  await untilAllEnded(user);
  return found;
}

async function expectNothingLeft(cache: string, user: User, mountsBefore: readonly string[]): Promise<void> {
  await untilAllEnded(user);
  const parents = (name: string): boolean => cache.startsWith(`${name}/`);
  const isCache = (name: string): boolean =>
    name === cache ||
    parents(name) ||
    (name.startsWith(`${cache}/`) && !/extract|tmp-|partial/.test(name.slice(cache.length)));
  expect(listFiles(user).filter((name) => !isCache(name))).toEqual([]);
  expect(listMounts(user.home)).toEqual(mountsBefore);
}

/** The file server: the one process of the user's that is in a session of its own and is not the command. */
function findServer(user: User, visible: number): number {
  const others = listProcesses(user).filter((p) => p.pid !== visible && p.parent === 1);
  const server = others[0];
  if (!server) throw new Error(`no server among ${JSON.stringify(listProcesses(user))}`);
  return server.pid;
}

/** Moments spread evenly over a start and a little more, in milliseconds, however fast this machine is. */
async function spreadMoments(act: () => Promise<unknown>, count: number): Promise<number[]> {
  const begin = performance.now();
  await act();
  const spanMs = 1.2 * (performance.now() - begin);
  return Array.from({ length: count }, (_, i) => (spanMs * i) / (count - 1));
}

const extracted = { BUNDLER_DRIVER: 'extract' };
const proot = { BUNDLER_SANDBOX: 'proot' };

describe('nothing is left behind but the cache directory', () => {
  for (const [how, env] of [
    ['served in place', {}],
    ['unpacked', extracted],
    ['through proot', proot],
  ] as const) {
    e2e(`after a normal exit (${how})`, async () => {
      const user = freshUser();
      const file = makeBundle('busybox');
      const mounts = listMounts(user.home);
      const cache = await cacheDirectory(file, user);
      for (const args of [
        [],
        ['true'],
        ['--rw', 'sh', '-c', 'echo x > /etc/x'],
        ['sh', '-c', 'exit 3'],
        ['sh', '-c', 'kill -9 $$'],
        ['no-such-command'],
      ])
        await run([file, ...args], { user, env });
      await expectNothingLeft(cache, user, mounts);
    });

    e2e(`after kill -9 of the visible process at any moment (${how})`, async () => {
      const user = freshUser();
      const file = makeBundle('busybox');
      const mounts = listMounts(user.home);
      const cache = await cacheDirectory(file, user);
      const count = env === proot ? 10 : 25;
      for (const delayMs of await spreadMoments(() => run([file, 'true'], { user, env }), count)) {
        const running = start([file, 'sleep', '1000'], { user, env });
        await new Promise((resolve) => setTimeout(resolve, delayMs)); // the moment is the point
        running.child.kill('SIGKILL');
        expect((await running.end()).signal).toBe('SIGKILL');
      }
      // No further start, which would sweep: the janitors alone have to do it.
      await expectNothingLeft(cache, user, mounts);
    });

    e2e(`after kill -9 of everything in the process group (${how})`, async () => {
      const user = freshUser();
      const file = makeBundle('busybox');
      const mounts = listMounts(user.home);
      const cache = await cacheDirectory(file, user);
      for (const delayMs of await spreadMoments(() => run([file, 'true'], { user, env }), env === proot ? 5 : 10)) {
        const running = start([file, 'sh', '-c', 'sleep 1000 & sleep 1000'], { user, env, detached: true });
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        process.kill(-running.pid, 'SIGKILL');
        await running.end();
      }
      await untilAllEnded(user);
      await run([file, 'true'], { user, env });
      await expectNothingLeft(cache, user, mounts);
    });

    e2e(`after kill -9 of every process of ours at once: the next start sweeps (${how})`, async () => {
      const user = freshUser();
      const file = makeBundle('busybox');
      const mounts = listMounts(user.home);
      const cache = await cacheDirectory(file, user);
      const running = start([file, 'sh', '-c', 'echo ready; exec sleep 1000'], { user, env });
      await running.see(/ready/);
      for (const { pid } of listProcesses(user)) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // ended by itself
        }
      }
      await running.end();
      await untilAllEnded(user);
      await run([file, 'true'], { user, env });
      await untilAllEnded(user);
      await expectNothingLeft(cache, user, mounts);
    });
  }

  e2e('while a background process lives on, its root stays; when it ends, all is gone', async () => {
    for (const env of [{}, extracted, proot]) {
      const user = freshUser();
      const file = makeBundle('busybox');
      const mounts = listMounts(user.home);
      const cache = await cacheDirectory(file, user);
      const fifo = makeDir(user, 'fifo');
      await run(['mkfifo', `${fifo}/f`], { user });
      const ran = await run(
        [
          file,
          '--mount',
          `${fifo}:/mnt`,
          'sh',
          '-c',
          '(read x < /mnt/f; ls /bin/busybox > /mnt/seen; echo "$x" >> /mnt/seen) > /dev/null 2>&1 & echo left',
        ],
        { user, env },
      );
      expect(ran).toMatchObject({ status: 0, stdout: 'left\n' });
      await run(['sh', '-c', `echo late > ${fifo}/f`], { user });
      await untilAllEnded(user);
      expect(readFileSync(`${fifo}/seen`, 'utf8')).toBe('/bin/busybox\nlate\n');
      await expectNothingLeft(cache, user, mounts);
    }
  });

  e2e('no temporary file of an unpacked runtime, after kill -9 during the first start', async () => {
    const file = makeBundle('busybox');
    for (const delayMs of await spreadMoments(() => run([file, 'true'], { user: freshUser() }), 8)) {
      const user = freshUser();
      const mounts = listMounts(user.home);
      const running = start([file, 'true'], { user });
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      running.child.kill('SIGKILL');
      await running.end();
      await untilAllEnded(user);
      expect(await run([file, 'echo', 'healed'], { user })).toMatchObject({ status: 0, stdout: 'healed\n' });
      await expectNothingLeft(await cacheDirectory(file, user), user, mounts);
    }
  });
});

describe('the file server', () => {
  const begin = async (user: User, script: string): Promise<Running> => {
    const running = start([makeBundle('tree'), 'sh', '-c', `echo ready; read line; ${script}`], { user });
    await running.see(/ready\n/);
    return running;
  };

  e2e('killed with kill -9 gives the command an I/O error and not a hang', async () => {
    const user = freshUser();
    // A shell of the host: one of the image could not even load its next page.
    const read = '/sh/busybox cat <&3 > /dev/null; echo "open $?"; /sh/busybox cat /tree/block; echo "closed $?"';
    const script = `exec 3< /tree/noise; echo ready; read line; ${read}`;
    const shell = ['--mount', '/bin/busybox:/sh/busybox', '--rw', '--entrypoint', '/sh/busybox', 'sh', '-c', script];
    const running = start([makeBundle('tree'), ...shell], { user });
    await running.see(/ready\n/);
    process.kill(findServer(user, running.pid), 'SIGKILL');
    expect(await running.end('go\n')).toMatchObject({
      status: 0,
      stdout: 'ready\nopen 1\nclosed 1\n',
      stderr: expect.stringMatching(
        /(Software caused connection abort|Transport endpoint is not connected)\n.*block': /,
      ),
    });
    await untilAllEnded(user);
  });

  e2e('is in a session of its own, without a terminal and with null standard streams', async () => {
    const user = freshUser();
    const running = await begin(user, 'echo');
    const server = findServer(user, running.pid);
    const stat = readFileSync(`/proc/${server}/stat`, 'latin1')
      .replace(/^.*\) /, '')
      .split(' ');
    expect(stat.slice(3, 5)).toEqual([String(server), '0']);
    const { readlinkSync } = await import('node:fs');
    for (const fd of [0, 1, 2]) expect(readlinkSync(`/proc/${server}/fd/${fd}`)).toBe('/dev/null');
    expect(readdirSync(`/proc/${server}/fd`).length).toBeLessThan(12);
    await running.end('\n');
    await untilAllEnded(user);
  });

  e2e('is not hit by Ctrl-C signals, SIGTERM, SIGHUP, SIGQUIT or SIGTSTP sent to it', async () => {
    const user = freshUser();
    const running = await begin(user, 'sha256sum /tree/noise && ls /tree/many | wc -l');
    const server = findServer(user, running.pid);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGTSTP'] as const) process.kill(server, signal);
    const ran = await running.end('go\n');
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stdout).toContain('700\n');
    await untilAllEnded(user);
  });

  e2e('ends when the command does, on a bare host too', async () => {
    const user = freshUser();
    const ran = await startBare([makeBundle('busybox'), 'true'], { user }).end();
    expect(ran.status, ran.stderr).toBe(0);
    await untilAllEnded(user);
  });

  e2e('after hooks of the host, one that fails, and kill -9 while one runs', async () => {
    const user = freshUser();
    const file = makeBundle('busybox');
    const mounts = listMounts(user.home);
    const cache = await cacheDirectory(file, user);
    const dir = makeDir(user, 'hook');
    const conf = path.join(dir, 'hook.conf');
    const startWith = (text: string) => {
      writeFileSync(conf, text);
      return start([file, '--conf', conf, 'true'], { user });
    };
    expect((await startWith('hooks() { echo x > "$ENROOT_ROOTFS/x"; }\n').end()).status).toBe(0);
    expect((await startWith('hooks() { exit 3; }\n').end()).status).toBe(125);
    const running = startWith(`hooks() { mkfifo "${dir}/never"; echo waiting >&2; read -r line < "${dir}/never"; }\n`);
    await until(
      () => running.complaints.includes('waiting'),
      () => running.complaints,
    );
    process.kill(running.pid, 'SIGKILL');
    expect((await running.end()).status).toBe(137);
    await untilAllEnded(user);
    rmSync(dir, { recursive: true });
    await expectNothingLeft(cache, user, mounts);
  });
});
