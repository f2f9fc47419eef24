// SPDX-License-Identifier: Apache-2.0
import { chownSync, mkdirSync, readdirSync, rmSync, statSync, truncateSync, watch, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { run } from '../support/run.ts';
import { freshUser, type User } from '../support/session.ts';
import { untilAllEnded } from '../support/snapshot.ts';

function cacheOf(user: User): string {
  return path.join(user.home, '.cache/bundler');
}

function runtimesOf(user: User): string[] {
  return readdirSync(cacheOf(user)).filter((name) => name.startsWith('runtime-'));
}

function runtimeFiles(user: User): string[] {
  const dir = path.join(cacheOf(user), runtimesOf(user)[0] ?? 'none');
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));
}

describe('simultaneous starts', () => {
  e2e(
    '100 first starts by one user with an empty cache all succeed and unpack the runtime once',
    async () => {
      const user = freshUser();
      const file = makeBundle('busybox');
      // Every unpacking begins with a directory of its own: whoever makes one is seen.
      const made = new Set<string>();
      mkdirSync(cacheOf(user), { recursive: true, mode: 0o700 });
      for (const dir of [path.dirname(cacheOf(user)), cacheOf(user)]) chownSync(dir, user.uid, user.uid);
      const watcher = watch(cacheOf(user), (_event, name) => made.add(name ?? ''));
      const runs = await Promise.all(
        Array.from({ length: 100 }, (_, i) => run([file, 'echo', String(i)], { user, timeoutMs: 110_000 })),
      );
      expect(runs.map((ran) => `${ran.status} ${ran.stdout.trim()} ${ran.stderr}`)).toEqual(
        runs.map((_, i) => `0 ${i} `),
      );
      expect(runtimesOf(user)).toHaveLength(1);
      expect(readdirSync(cacheOf(user)).filter((name) => name.startsWith('tmp-'))).toEqual([]);
      watcher.close();
      expect([...made].filter((name) => name.startsWith('tmp-'))).toHaveLength(1);
      await untilAllEnded(user);
    },
    120_000,
  );

  e2e('of two bundles with the same runtime share one cache', async () => {
    const user = freshUser();
    const runs = await Promise.all([
      run([makeBundle('busybox'), 'echo', 'a'], { user }),
      run([makeBundle('no-rc'), 'echo', 'b'], { user }),
    ]);
    expect(runs.map((ran) => ran.stdout)).toEqual(['a\n', 'b\n']);
    expect(runtimesOf(user)).toHaveLength(1);
  });

  e2e('of 20 unpacked containers do not disturb each other', async () => {
    const user = freshUser();
    const file = makeBundle('busybox');
    const runs = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        run([file, '--rw', 'sh', '-c', `echo ${i} > /etc/mine; cat /etc/mine`], {
          user,
          env: { BUNDLER_DRIVER: 'extract' },
        }),
      ),
    );
    expect(runs.map((ran) => `${ran.stdout}${ran.stderr}`)).toEqual(runs.map((_, i) => `${i}\n`));
    await untilAllEnded(user);
  });
});

describe('a damaged cache is healed at the next start', () => {
  const damage: Record<string, (user: User) => void> = {
    'when a cleaner deleted every other file': (user) => {
      for (const [i, name] of runtimeFiles(user).entries()) if (i % 2 === 0) rmSync(name);
    },
    'when a cleaner deleted all files but not the directories': (user) => {
      for (const name of runtimeFiles(user)) rmSync(name);
    },
    'when a file was cut short': (user) => {
      for (const name of runtimeFiles(user)) truncateSync(name, Math.floor(statSync(name).size / 2));
    },
    'when the directory was deleted': (user) => rmSync(cacheOf(user), { recursive: true }),
    'when the directory is a file': (user) => {
      const dir = path.join(cacheOf(user), runtimesOf(user)[0] ?? 'none');
      rmSync(dir, { recursive: true });
      writeFileSync(dir, 'not a directory');
    },
  };
  for (const [how, act] of Object.entries(damage)) {
    e2e(how, async () => {
      const user = freshUser();
      const file = makeBundle('busybox');
      expect((await run([file, 'true'], { user })).status).toBe(0);
      act(user);
      expect(await run([file, 'echo', 'healed'], { user })).toMatchObject({
        status: 0,
        stdout: 'healed\n',
        stderr: '',
      });
      expect(await run([file, 'echo', 'again'], { user })).toMatchObject({ status: 0, stdout: 'again\n', stderr: '' });
      await untilAllEnded(user);
    });
  }

  e2e('while other starts go on', async () => {
    const user = freshUser();
    const file = makeBundle('busybox');
    await run([file, 'true'], { user });
    const starts = Array.from({ length: 30 }, async (_, i) => {
      if (i % 7 === 3) {
        for (const name of runtimeFiles(user).slice(0, 2)) rmSync(name, { force: true });
      }
      return run([file, 'echo', String(i)], { user });
    });
    const runs = await Promise.all(starts);
    expect(runs.map((ran) => `${ran.status} ${ran.stdout.trim()} ${ran.stderr}`)).toEqual(
      runs.map((_, i) => `0 ${i} `),
    );
    await untilAllEnded(user);
  });

  e2e('once for 30 starts that all find it, when a file has other contents of the same size', async () => {
    const user = freshUser();
    const file = makeBundle('busybox');
    await run([file, 'true'], { user });
    const loader = runtimeFiles(user).find((name) => name.endsWith('/ld.so')) ?? '';
    writeFileSync(loader, Buffer.alloc(statSync(loader).size));
    const runs = await Promise.all(Array.from({ length: 30 }, (_, i) => run([file, 'echo', String(i)], { user })));
    expect(runs.map((ran) => `${ran.status} ${ran.stdout.trim()}`)).toEqual(runs.map((_, i) => `0 ${i}`));
    for (const ran of runs)
      expect(ran.stderr).toMatch(/^(bundler: the runtime unpacked in .* is damaged: unpacking it again\n)?$/);
    await untilAllEnded(user);
  });

  e2e('--clear-cache empties it', async () => {
    const user = freshUser();
    const file = makeBundle('busybox');
    await run([file, 'true'], { user });
    expect(runtimesOf(user)).toHaveLength(1);
    const ran = await run([file, '--clear-cache'], { user });
    expect(ran.status, ran.stderr).toBe(0);
    await untilAllEnded(user);
    expect(readdirSync(user.home, { recursive: true }).filter((name) => String(name).includes('runtime-'))).toEqual([]);
  });
});
