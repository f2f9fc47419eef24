// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type BlobCache, openCache } from '../../src/cache/blob-cache.ts';
import { blobPath, keyOf } from '../../src/cache/layout.ts';
import { listCache } from '../../src/cache/list.ts';
import { pruneCache } from '../../src/cache/prune.ts';
import { identifyHost, nameWriter } from '../../src/host.ts';
import { listFiles, makeBlob, makeScratch } from './rig.ts';

let scratch: ReturnType<typeof makeScratch>;
let cache: BlobCache;
const here = identifyHost();
const dead = () => `${here.key}-${spawnSync('true').pid}-1-${'0'.repeat(16)}`;
const foreign = nameWriter({ name: 'b', key: 'b'.repeat(16) });
const blobs = [1000, 2000, 3000].map((sizeBytes, seed) => makeBlob(sizeBytes, seed + 1));
const [oldest, middle, newest] = blobs as [(typeof blobs)[0], (typeof blobs)[0], (typeof blobs)[0]];

beforeEach(async () => {
  scratch = makeScratch();
  cache = await openCache(scratch.path);
  for (const [i, { digest, bytes }] of blobs.entries()) {
    await cache.put(digest, bytes);
    const useSeconds = Date.now() / 1000 - (3 - i) * 86_400;
    utimesSync(blobPath(scratch.path, digest), useSeconds, useSeconds);
  }
});
afterEach(() => {
  cache.close();
  scratch.remove();
});

const digestsLeft = async () => (await listCache(scratch.path)).blobs.map(({ digest }) => digest);
const other = makeBlob(500, 9);
const partialOf = (owner: string) => `partial/${keyOf(other.digest)}.${owner}`;

function leave(path: string, text = 'xxxxx'): string {
  writeFileSync(join(scratch.path, path), text);
  return path;
}

describe('listCache', () => {
  test('gives the blobs, least recently used first', async () => {
    const { blobs: found, partials, leases } = await listCache(scratch.path);
    expect(found.map(({ digest, sizeBytes }) => [digest, sizeBytes])).toEqual(
      blobs.map((b) => [b.digest, b.sizeBytes]),
    );
    expect([partials, leases]).toEqual([[], []]);
  });

  test('tells live downloads from dead ones', async () => {
    const end = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const outcome = cache.obtain(other, async (partial) => {
      begun.resolve();
      await end.promise;
      await partial.append(other.bytes);
    });
    await begun.promise;
    const { partials, leases } = await listCache(scratch.path);
    expect(partials).toMatchObject([{ digest: other.digest, live: true }]);
    expect(leases).toMatchObject([{ digest: other.digest, live: true, host: here.name }]);
    end.resolve();
    await outcome;
  });

  test('an empty or missing cache has nothing', async () => {
    mkdirSync(join(scratch.path, 'empty'));
    for (const directory of [join(scratch.path, 'empty'), join(scratch.path, 'none')]) {
      expect(await listCache(directory)).toEqual({ directory, blobs: [], partials: [], leases: [] });
    }
  });
});

describe('pruneCache', () => {
  test('without options it removes what the dead left, and no blob', async () => {
    leave(partialOf(dead()));
    leave(partialOf('free-abc'));
    leave(partialOf(foreign));
    leave(`leases/${keyOf(other.digest)}.4`, `host x\nwriter ${dead()}\nbeat 0000000001\n`);
    const pruned = await pruneCache(scratch.path, {});
    expect(pruned.removed.map(({ kind }) => kind)).toEqual(['partial', 'partial', 'partial', 'lease']);
    expect(pruned).toMatchObject({ removedBytes: 15, keptBytes: 6000, failed: [] });
    expect(listFiles(scratch.path)).toEqual(blobs.map(({ digest }) => `blobs/${digest.replace(':', '/')}`).sort());
  });

  test('a download of another host that has a lease stays, for a day after its last heartbeat', async () => {
    const files = [
      leave(`leases/${keyOf(other.digest)}.4`, `host x\nwriter ${foreign}\nbeat 0000000001\n`),
      leave(partialOf(foreign)),
    ];
    await pruneCache(scratch.path, { all: true });
    expect(listFiles(scratch.path)).toEqual(files);
    const long = Date.now() / 1000 - 25 * 3600;
    utimesSync(join(scratch.path, files[0] as string), long, long);
    await pruneCache(scratch.path, {});
    expect(listFiles(scratch.path)).toEqual([]);
  });

  test('a living process of this host keeps its file, even without a lease', async () => {
    const file = leave(partialOf(nameWriter(here)));
    await pruneCache(scratch.path, { all: true });
    expect(listFiles(scratch.path)).toEqual([file]);
  });

  test('olderThanSeconds goes by the last use', async () => {
    await cache.read(oldest);
    await pruneCache(scratch.path, { olderThanSeconds: 1.5 * 86_400 });
    expect(await digestsLeft()).toEqual([newest.digest, oldest.digest]);
  });

  test('maxBytes removes the least recently used until the rest fits', async () => {
    await pruneCache(scratch.path, { maxBytes: 5000 });
    expect(await digestsLeft()).toEqual([middle.digest, newest.digest]);
    await pruneCache(scratch.path, { maxBytes: 4999 });
    expect(await digestsLeft()).toEqual([newest.digest]);
    await pruneCache(scratch.path, { maxBytes: 0 });
    expect(await digestsLeft()).toEqual([]);
  });

  test('all removes all, dryRun nothing, and both say the same', async () => {
    leave('f'.repeat(64), "enroot's own");
    const planned = await pruneCache(scratch.path, { all: true, dryRun: true });
    expect(await digestsLeft()).toHaveLength(3);
    expect(await pruneCache(scratch.path, { all: true })).toEqual(planned);
    expect(planned).toMatchObject({ removedBytes: 6000, keptBytes: 0 });
    expect(listFiles(scratch.path)).toEqual(['f'.repeat(64)]);
  });

  test('beside an import nothing is taken away from it', async () => {
    const end = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const reading = await cache.open(newest);
    await cache.obtain(middle, () => Promise.reject(new Error('it was called')));
    const outcome = cache.obtain(other, async (partial) => {
      await partial.append(other.bytes.subarray(0, 100));
      begun.resolve();
      await end.promise;
      await partial.append(other.bytes.subarray(100));
    });
    await begun.promise;
    await pruneCache(scratch.path, { all: true });
    end.resolve();
    expect(await outcome).toBe('downloaded');
    expect((await buffer(reading)).equals(newest.bytes)).toBe(true);
    expect((await cache.read(middle)).equals(middle.bytes)).toBe(true);
    await expect(cache.read(oldest)).rejects.toThrow('not in the cache');
  });
});

describe('bundler cache', () => {
  const main = resolve(import.meta.dirname, '../../src/main.ts');
  function bundler(args: readonly string[], env: Record<string, string> = { ENROOT_CACHE_PATH: scratch.path }) {
    const { ENROOT_CACHE_PATH: _, XDG_CACHE_HOME: __, ...inherited } = process.env;
    const options = { encoding: 'utf8', env: { ...inherited, ...env } } as const;
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, 'cache', ...args], options);
    return { status, stdout, stderr };
  }

  test('list shows blobs and what is not complete', () => {
    leave(partialOf('free-abc'));
    const { status, stdout, stderr } = bundler(['list']);
    expect([status, stderr]).toEqual([0, '']);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(new RegExp(`^${oldest.digest}  +1.00 kB  \\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d UTC$`));
    expect(lines[3]).toMatch(new RegExp(`^${other.digest}  +5 bytes  not complete$`));
    expect(lines[4]).toBe(`6.00 kB in ${scratch.path}`);
    expect(JSON.parse(bundler(['list', '--json']).stdout)).toMatchObject({
      directory: scratch.path,
      partials: [{ sizeBytes: 5 }],
    });
  });

  test('prune removes what the options say', () => {
    expect(bundler(['prune', '--older-than', '60h', '--dry-run']).stdout).toBe(
      `${oldest.digest}  1.00 kB\n1.00 kB would be removed, 5.00 kB kept\n`,
    );
    const { removed, keptBytes } = JSON.parse(bundler(['prune', '--max-size', '3K', '--json']).stdout);
    expect(removed.map(({ digest }: { digest: string }) => digest)).toEqual([oldest.digest, middle.digest]);
    expect(keptBytes).toBe(3000);
    expect(bundler(['prune', '--all', '-q'])).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(listFiles(scratch.path)).toEqual([]);
  });

  test('the directory is that of enroot', () => {
    const home = join(scratch.path, 'home');
    for (const [env, directory] of [
      [{ HOME: home }, join(home, '.cache/enroot')],
      [{ HOME: home, XDG_CACHE_HOME: join(home, 'x') }, join(home, 'x/enroot')],
    ] as const) {
      expect(bundler(['list'], env).stdout).toBe(`0 bytes in ${directory}\n`);
    }
  });

  test.each([
    [[], /^bundler: a command is missing\nusage: bundler cache /],
    [
      ['prune', '--older-than', '7'],
      /^bundler: cache prune: --older-than 7: a time is .*\nusage: bundler cache prune \[options\]\n$/,
    ],
    [['prune', '--max-size', 'big'], /--max-size big: a size is/],
    [['list', 'x'], /cache list: too many arguments/],
  ])('wrong use %j gives status 125 and the usage', (args, message) => {
    const { status, stderr } = bundler(args);
    expect(status).toBe(125);
    expect(stderr).toMatch(message);
  });
});
