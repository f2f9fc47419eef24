// SPDX-License-Identifier: Apache-2.0
import { closeSync, existsSync, openSync, readdirSync, readlinkSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type BlobCache, openCache } from '../../src/cache/blob-cache.ts';
import { blobPath, keyOf, leaseDirectory, partialDirectory } from '../../src/cache/layout.ts';
import type { PartialBlob } from '../../src/cache/partial.ts';
import { makeBlob, makeScratch } from './rig.ts';

let scratch: ReturnType<typeof makeScratch>;
let cache: BlobCache;
const blob = makeBlob(2_000_000);
beforeEach(async () => {
  scratch = makeScratch();
  cache = await openCache(scratch.path, { heartbeatMs: 20, staleMs: 60_000 });
});
afterEach(() => {
  cache.close();
  scratch.remove();
});

/** A download that goes on when it is told to. */
function startControlled() {
  const begun = Promise.withResolvers<PartialBlob>();
  const end = Promise.withResolvers<void>();
  const outcome = cache.obtain(blob, async (partial, signal) => {
    begun.resolve(partial);
    signal.addEventListener('abort', () => end.reject(signal.reason));
    await end.promise;
  });
  outcome.catch(() => {});
  return { partial: begun.promise, end, outcome };
}

/** Reads until so many bytes have come. */
async function take(iterator: AsyncIterator<Buffer>, sizeBytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  while (bytes < sizeBytes) {
    const { value, done } = await iterator.next();
    if (done) break;
    parts.push(value as Buffer);
    bytes += (value as Buffer).length;
  }
  return Buffer.concat(parts);
}

test('it delivers what is there, then what comes, and ends when all is verified', async () => {
  const { partial, end, outcome } = startControlled();
  const download = await partial;
  await download.append(blob.bytes.subarray(0, 700_000));
  const iterator = (await cache.openFollowing(blob))[Symbol.asyncIterator]();
  const first = await take(iterator, 700_000);
  expect(first.equals(blob.bytes.subarray(0, 700_000))).toBe(true);
  await download.append(blob.bytes.subarray(700_000));
  const second = await take(iterator, 1_300_000);
  expect(Buffer.concat([first, second]).equals(blob.bytes)).toBe(true);
  let ended = false;
  const last = iterator.next().then((result) => {
    ended = true;
    return result;
  });
  expect(ended).toBe(false);
  end.resolve();
  expect((await last).done).toBe(true);
  expect(await outcome).toBe('downloaded');
});

test('several may follow at their own speed, and a slow one does not hold the download up', async () => {
  const { partial, end, outcome } = startControlled();
  const download = await partial;
  const slow = await cache.openFollowing(blob);
  const fast = buffer(await cache.openFollowing(blob));
  await download.append(blob.bytes);
  end.resolve();
  await outcome;
  expect((await fast).equals(blob.bytes)).toBe(true);
  expect((await buffer(slow)).equals(blob.bytes)).toBe(true);
  expect((await buffer(await cache.openFollowing(blob))).equals(blob.bytes)).toBe(true);
});

test('it fails when the download fails', async () => {
  const { partial, end, outcome } = startControlled();
  const download = await partial;
  const followed = buffer(await cache.openFollowing(blob));
  await download.append(blob.bytes.subarray(0, 100));
  end.reject(new Error('cut'));
  await expect(followed).rejects.toThrow('cut');
  await expect(outcome).rejects.toThrow('cut');
});

test('it fails at the end when the digest is wrong', async () => {
  const { partial, end, outcome } = startControlled();
  const download = await partial;
  const followed = buffer(await cache.openFollowing(blob));
  await download.append(makeBlob(blob.sizeBytes, 3).bytes);
  end.resolve();
  await expect(followed).rejects.toThrow('not those that were asked for');
  await expect(outcome).rejects.toThrow();
});

test('after a restart it goes on where it was, when the bytes are the same', async () => {
  const { partial, end } = startControlled();
  const download = await partial;
  await download.append(blob.bytes.subarray(0, 900_000));
  const iterator = (await cache.openFollowing(blob))[Symbol.asyncIterator]();
  const first = await take(iterator, 900_000);
  await download.restart();
  await download.append(blob.bytes.subarray(0, 1_000_000));
  await download.restart();
  await download.append(blob.bytes);
  end.resolve();
  const rest = await take(iterator, blob.sizeBytes);
  expect(Buffer.concat([first, rest]).equals(blob.bytes)).toBe(true);
});

test('after two restarts it goes on where it was, also with what was delivered between them', async () => {
  const { partial, end } = startControlled();
  const download = await partial;
  await download.append(blob.bytes.subarray(0, 900_000));
  const iterator = (await cache.openFollowing(blob))[Symbol.asyncIterator]();
  const first = await take(iterator, 900_000);
  await download.restart();
  await download.append(blob.bytes.subarray(0, 1_000_000));
  const second = await take(iterator, 100_000);
  await download.restart();
  await download.append(blob.bytes);
  end.resolve();
  const rest = await take(iterator, blob.sizeBytes);
  expect(Buffer.concat([first, second, rest]).equals(blob.bytes)).toBe(true);
});

test('after a restart with other bytes it fails, though the download succeeds', async () => {
  const { partial, end, outcome } = startControlled();
  const download = await partial;
  await download.append(Buffer.alloc(900_000, 1));
  const iterator = (await cache.openFollowing(blob))[Symbol.asyncIterator]();
  await take(iterator, 900_000);
  await download.restart();
  await download.append(blob.bytes);
  end.resolve();
  await expect(take(iterator, blob.sizeBytes)).rejects.toThrow('came differently');
  expect(await outcome).toBe('downloaded');
});

/** A follower that has read 900,000 bytes when another process takes the download over and completes it. */
async function followTakeover() {
  const { partial, outcome } = startControlled();
  const download = await partial;
  await download.append(blob.bytes.subarray(0, 900_000));
  const iterator = (await cache.openFollowing(blob))[Symbol.asyncIterator]();
  const first = await take(iterator, 900_000);
  // A process on another host found us dead, and died itself. Only `successor` has so little patience as to see that.
  const lease = join(leaseDirectory(scratch.path), `${keyOf(blob.digest)}.2`);
  writeFileSync(lease, `host other\nwriter ${'c'.repeat(16)}-5-5-${'d'.repeat(16)}\nbeat 0000000000\n`);
  const successor = await openCache(scratch.path, { staleMs: 200 });
  const theirs = successor.obtain(blob, async (mine) => mine.append(blob.bytes.subarray(mine.sizeBytes)));
  expect(await Promise.all([outcome, theirs])).toEqual(['waited', 'downloaded']);
  successor.close();
  return { iterator, first };
}

test('when another process took over, it goes on with what that one downloaded', async () => {
  const { iterator, first } = await followTakeover();
  const rest = await take(iterator, blob.sizeBytes);
  expect(Buffer.concat([first, rest]).equals(blob.bytes)).toBe(true);
});

test('what another process downloaded is removed when it went bad', async () => {
  const { iterator } = await followTakeover();
  const path = blobPath(scratch.path, blob.digest);
  const descriptor = openSync(path, 'r+');
  writeSync(descriptor, Buffer.from([(blob.bytes.at(-1) as number) ^ 1]), 0, 1, blob.sizeBytes - 1);
  closeSync(descriptor);
  await expect(take(iterator, blob.sizeBytes)).rejects.toMatchObject({
    message: expect.stringContaining('is damaged in the cache'),
    hint: expect.stringContaining('it was removed from the cache'),
  });
  expect(existsSync(path)).toBe(false);
});

test('one that nobody reads any more lets go, also while it waits', async () => {
  const { partial, end, outcome } = startControlled();
  const download = await partial;
  const stream = await cache.openFollowing(blob);
  await download.append(blob.bytes.subarray(0, 100));
  const iterator = stream[Symbol.asyncIterator]();
  await take(iterator, 100);
  void iterator.next().catch(() => {});
  const closed = new Promise<void>((resolve) => stream.once('close', resolve));
  stream.destroy();
  await closed;
  expect(countDescriptors()).toBe(1);
  await download.append(blob.bytes.subarray(100));
  end.resolve();
  expect(await outcome).toBe('downloaded');
});

/** How often this process has the partial file open. */
function countDescriptors(): number {
  const targets = readdirSync('/proc/self/fd').map((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`);
    } catch {
      return '';
    }
  });
  return targets.filter((target) => target.startsWith(partialDirectory(scratch.path))).length;
}
