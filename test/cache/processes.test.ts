// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { blobPath } from '../../src/cache/layout.ts';
import {
  type BlobServer,
  findWrongBlobs,
  listFiles,
  makeBlob,
  makeScratch,
  type SampleBlob,
  serveBlob,
  startDriver,
  stopDrivers,
} from './rig.ts';

let scratch: ReturnType<typeof makeScratch>;
let server: BlobServer | undefined;
beforeEach(() => {
  scratch = makeScratch();
});
afterEach(async () => {
  stopDrivers();
  await server?.close();
  server = undefined;
  scratch.remove();
});

/** What is left after all is done: the blob alone. */
function expectOnly(blob: SampleBlob): void {
  expect(listFiles(scratch.path)).toEqual([`blobs/${blob.digest.replace(':', '/')}`]);
  expect(findWrongBlobs(scratch.path)).toEqual([]);
}

const hostA = 'a'.repeat(16);
const hostB = 'b'.repeat(16);

describe('many processes that want one blob', () => {
  test('128 processes make one download, and all get the blob', { timeout: 180_000 }, async () => {
    const blob = makeBlob(8 << 20);
    const all = Promise.withResolvers<void>();
    server = await serveBlob(blob, 64 << 10, () => all.promise);
    const { url } = server;
    const options = { directory: scratch.path, url, digest: blob.digest, sizeBytes: blob.sizeBytes };
    const drivers = Array.from({ length: 128 }, () => startDriver(options));
    // Nobody gets a byte before all have asked.
    await Promise.all(drivers.map(({ says }) => says('asking')));
    all.resolve();
    const ends = await Promise.all(drivers.map(({ ended }) => ended));
    expect(ends.filter(({ code }) => code !== 0)).toEqual([]);
    expect(server.offsets).toEqual([0]);
    const outcomes = drivers.map(({ lines }) => lines.at(-1));
    expect(outcomes.filter((outcome) => outcome === 'downloaded')).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === 'waited' || outcome === 'cached')).toHaveLength(127);
    expectOnly(blob);
  });

  test('two hosts that see each other only through the directory make one download', async () => {
    const blob = makeBlob(2 << 20);
    server = await serveBlob(blob, 64 << 10, () => sleep(20));
    const common = { directory: scratch.path, url: server.url, digest: blob.digest, sizeBytes: blob.sizeBytes };
    const times = { heartbeatMs: 50, staleMs: 400 };
    const drivers = [hostA, hostB, hostA, hostB].map((hostKey) => startDriver({ ...common, ...times, hostKey }));
    const ends = await Promise.all(drivers.map(({ ended }) => ended));
    expect(ends.map(({ code }) => code)).toEqual([0, 0, 0, 0]);
    expect(server.offsets).toEqual([0]);
    expectOnly(blob);
  });
});

describe('an owner that dies', () => {
  test('killed at 20 moments, another process takes over and goes on from what was there', {
    timeout: 180_000,
  }, async () => {
    const blob = makeBlob(4 << 20);
    const piece = 32 << 10;
    const resumed: number[] = [];
    for (let round = 0; round < 20; round++) {
      const directory = join(scratch.path, `round-${round}`);
      server = await serveBlob(blob, piece, () => sleep(1));
      const options = { directory, url: server.url, digest: blob.digest, sizeBytes: blob.sizeBytes };
      const owner = startDriver(options);
      await owner.says('downloading 0');
      const waiter = startDriver(options);
      // Any moment will do, also one while the waiter starts: the more different the better.
      while (server.sentBytes < (blob.sizeBytes * (round + Math.random())) / 20) await sleep(1);
      const writtenBytes = partialBytes(directory);
      owner.child.kill('SIGKILL');
      expect(findWrongBlobs(directory)).toEqual([]);
      await owner.ended;
      expect(await waiter.ended).toMatchObject({ code: 0, errors: '' });
      expect(findWrongBlobs(directory)).toEqual([]);
      expect(server.offsets.length).toBeLessThanOrEqual(2);
      // What was in the file is not asked for again. (The owner was through with it, when nobody asked a second time.)
      const [, resumedAt = blob.sizeBytes] = server.offsets;
      expect(resumedAt).toBeGreaterThanOrEqual(writtenBytes);
      resumed.push(resumedAt);
      await server.close();
      server = undefined;
    }
    expect(resumed.filter((offset) => offset > 0 && offset < blob.sizeBytes).length).toBeGreaterThan(10);
  });

  test('on another host it is taken over when its lease does not change any more', async () => {
    const blob = makeBlob(2 << 20);
    let open = false;
    server = await serveBlob(blob, 64 << 10, async (at) => {
      while (at >= 1 << 20 && !open) await sleep(5);
    });
    const common = { directory: scratch.path, url: server.url, digest: blob.digest, sizeBytes: blob.sizeBytes };
    const times = { heartbeatMs: 50, staleMs: 500 };
    const owner = startDriver({ ...common, ...times, hostKey: hostA });
    await owner.says('downloading 0');
    while (partialBytes(scratch.path) < 1 << 20) await sleep(5);
    const waiter = startDriver({ ...common, ...times, hostKey: hostB });
    // As long as the owner lives, it is left alone for longer than it takes to be found dead.
    await sleep(1200);
    expect(waiter.lines).toEqual(['asking']);
    owner.child.kill('SIGKILL');
    open = true;
    expect(await waiter.ended).toMatchObject({ code: 0, errors: '' });
    expect(waiter.lines).toEqual(['asking', `downloading ${1 << 20}`, 'downloaded']);
    expect(server.offsets).toEqual([0, 1 << 20]);
    expectOnly(blob);
  });

  test('suspended and taken over it harms nothing when it wakes up', async () => {
    const blob = makeBlob(4 << 20);
    let open = false;
    server = await serveBlob(blob, 64 << 10, async (at) => {
      while (at >= 1 << 20 && !open) await sleep(5);
    });
    const common = { directory: scratch.path, url: server.url, digest: blob.digest, sizeBytes: blob.sizeBytes };
    const times = { heartbeatMs: 50, staleMs: 500 };
    const sleeper = startDriver({ ...common, ...times });
    await sleeper.says('downloading 0');
    while (partialBytes(scratch.path) < 1 << 20) await sleep(5);
    sleeper.child.kill('SIGSTOP');
    const successor = startDriver({ ...common, ...times });
    await successor.says(`downloading ${1 << 20}`);
    // Both are served now; the sleeper finds megabytes in its socket when it wakes, in the middle of the successor's download.
    open = true;
    sleeper.child.kill('SIGCONT');
    expect(await successor.ended).toMatchObject({ code: 0, errors: '' });
    expect(await sleeper.ended).toMatchObject({ code: 0, errors: '' });
    expectOnly(blob);
    expect(readFileSync(blobPath(scratch.path, blob.digest)).equals(blob.bytes)).toBe(true);
  });

  test('interrupted it gives the lease back at once, and what it had is gone on with', async () => {
    const blob = makeBlob(2 << 20);
    let open = false;
    server = await serveBlob(blob, 64 << 10, async (at) => {
      while (at >= 1 << 20 && !open) await sleep(5);
    });
    const options = { directory: scratch.path, url: server.url, digest: blob.digest, sizeBytes: blob.sizeBytes };
    const first = startDriver(options);
    await first.says('downloading 0');
    while (partialBytes(scratch.path) < 1 << 20) await sleep(5);
    first.child.kill('SIGINT');
    expect(await first.ended).toMatchObject({ signal: 'SIGINT' });
    expect(listFiles(scratch.path)).toEqual([expect.stringMatching(/^partial\/sha256-/)]);
    open = true;
    const second = startDriver(options);
    expect(await second.ended).toMatchObject({ code: 0 });
    expect(server.offsets).toEqual([0, 1 << 20]);
    expectOnly(blob);
  });
});

test('30 processes that find the same dead owner make one download of the rest', async () => {
  const blob = makeBlob(1 << 20);
  let open = false;
  server = await serveBlob(blob, 64 << 10, async (at) => {
    while (at >= 1 << 19 && !open) await sleep(5);
  });
  const options = { directory: scratch.path, url: server.url, digest: blob.digest, sizeBytes: blob.sizeBytes };
  const owner = startDriver(options);
  await owner.says('downloading 0');
  while (partialBytes(scratch.path) < 1 << 19) await sleep(5);
  const waiters = Array.from({ length: 30 }, () => startDriver(options));
  await Promise.all(waiters.map(({ says }) => says('asking')));
  owner.child.kill('SIGKILL');
  open = true;
  const ends = await Promise.all(waiters.map(({ ended }) => ended));
  expect(ends.filter(({ code }) => code !== 0)).toEqual([]);
  expect(server.offsets).toEqual([0, 1 << 19]);
  expectOnly(blob);
});

describe('modes', () => {
  test('with umask 077 the cache is private, and a second process can use it', async () => {
    const blob = makeBlob(100_000);
    server = await serveBlob(blob);
    const directory = join(scratch.path, 'new', 'cache');
    const options = { directory, url: server.url, digest: blob.digest, sizeBytes: blob.sizeBytes, umask: 0o077 };
    for (const outcome of ['downloaded', 'cached']) {
      const driver = startDriver(options);
      expect(await driver.ended).toMatchObject({ code: 0, errors: '' });
      expect(driver.lines.at(-1)).toBe(outcome);
    }
    expect(modeOf(directory)).toBe('700');
    expect(modeOf(blobPath(directory, blob.digest))).toBe('600');
  });

  test('a directory that all may write to is shared, whatever the umask', async () => {
    const blob = makeBlob(100_000);
    server = await serveBlob(blob);
    const directory = join(scratch.path, 'shared');
    const old = process.umask(0);
    mkdirSync(directory, { mode: 0o1777 });
    process.umask(old);
    const common = { directory, url: server.url, digest: blob.digest, sizeBytes: blob.sizeBytes };
    expect(await startDriver({ ...common, umask: 0o022 }).ended).toMatchObject({ code: 0, errors: '' });
    for (const part of ['blobs', 'blobs/sha256', 'partial', 'leases'])
      expect(modeOf(join(directory, part))).toBe('1777');
    expect(modeOf(blobPath(directory, blob.digest))).toBe('644');
  });
});

function modeOf(path: string): string {
  return (statSync(path).mode & 0o7777).toString(8);
}

function partialBytes(directory: string): number {
  const sizes = listFiles(directory)
    .filter((path) => path.startsWith('partial/'))
    .map((path) => statSync(join(directory, path), { throwIfNoEntry: false })?.size ?? 0);
  return Math.max(0, ...sizes);
}
