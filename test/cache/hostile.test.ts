// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type BlobCache, openCache } from '../../src/cache/blob-cache.ts';
import { blobPath, keyOf, leaseDirectory, partialDirectory } from '../../src/cache/layout.ts';
import { startWatch, tryLease } from '../../src/cache/lease.ts';
import type { PartialBlob } from '../../src/cache/partial.ts';
import { identifyHost, nameWriter } from '../../src/host.ts';
import { makeBlob, makeScratch } from './rig.ts';

/* What others who may write to the same directory could put there, and images that lie. */

const blob = makeBlob(1_000_000);
const key = keyOf(blob.digest);
let scratch: ReturnType<typeof makeScratch>;
let cache: BlobCache;
beforeEach(async () => {
  scratch = makeScratch();
  cache = await openCache(scratch.path, { heartbeatMs: 20, staleMs: 100 });
});
afterEach(() => {
  cache.close();
  scratch.remove();
});

async function deliver(partial: PartialBlob): Promise<void> {
  await partial.append(blob.bytes.subarray(partial.sizeBytes));
}

/** A partial file of somebody else. */
function plantPartial(bytes: Buffer, owner: string): string {
  mkdirSync(partialDirectory(scratch.path), { recursive: true });
  const path = join(partialDirectory(scratch.path), `${key}.${owner}`);
  writeFileSync(path, bytes);
  return path;
}

const elsewhere = nameWriter({ name: 'b', key: 'b'.repeat(16) });

describe('what is no file', () => {
  test.each([
    ['a FIFO for a lease', (path: string) => execFileSync('mkfifo', [path])],
    ['a link for a lease', (path: string) => symlinkSync('/etc/passwd', path)],
    ['a directory for a lease', (path: string) => mkdirSync(path)],
  ])('%s is passed over after a while', async (_, plant) => {
    mkdirSync(leaseDirectory(scratch.path));
    const hex = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
    plant(join(leaseDirectory(scratch.path), `sha256-${hex}.1`));
    // In a process of its own: a FIFO that is opened holds the whole process, and its timers.
    const url = new URL('../../src/cache/blob-cache.ts', import.meta.url).href;
    const script = `
      const { openCache } = await import(${JSON.stringify(url)});
      const cache = await openCache(process.argv[1], { heartbeatMs: 20, staleMs: 100 });
      const blob = { mediaType: '', digest: 'sha256:${hex}', sizeBytes: 3 };
      console.log(await cache.obtain(blob, (partial) => partial.append(Buffer.from('abc'))));`;
    const argv = ['--input-type=module', '-e', script, scratch.path];
    expect(execFileSync(process.execPath, argv, { timeout: 50_000, encoding: 'utf8' })).toBe('downloaded\n');
  });

  test('a FIFO for the note of a failed try is no note', async () => {
    mkdirSync(leaseDirectory(scratch.path));
    execFileSync('mkfifo', [join(leaseDirectory(scratch.path), `${key}.failed`)]);
    const url = new URL('../../src/cache/failed-try.ts', import.meta.url).href;
    const script = `const { readFailedTry } = await import(${JSON.stringify(url)});
      console.log(readFailedTry(process.argv[1], process.argv[2]) === '');`;
    const argv = ['--input-type=module', '-e', script, leaseDirectory(scratch.path), key];
    expect(execFileSync(process.execPath, argv, { timeout: 50_000, encoding: 'utf8' })).toBe('true\n');
  });

  test('a lease with the last number is told, not waited for', async () => {
    mkdirSync(leaseDirectory(scratch.path));
    const last = join(leaseDirectory(scratch.path), `${key}.999999999`);
    writeFileSync(last, '');
    const signal = AbortSignal.timeout(5000);
    await expect(cache.obtain(blob, deliver, { signal })).rejects.toThrow(`somebody put ${last} there`);
  });

  test('a lease that cannot be read is nobody', () => {
    const dir = join(scratch.path, 'leases');
    mkdirSync(dir);
    symlinkSync('nowhere', join(dir, `${key}.1`));
    const watch = startWatch();
    const times = { heartbeatMs: 1000, staleMs: 0 };
    tryLease(dir, key, { host: identifyHost(), times, watch })?.release();
    expect(existsSync(join(dir, `${key}.2`))).toBe(false);
  });
});

describe("somebody else's partial file", () => {
  test('that all may write to is copied into one that only we may write to', async () => {
    chmodSync(plantPartial(blob.bytes.subarray(0, 500_000), elsewhere), 0o666);
    let present = 0;
    await cache.obtain(blob, async (partial) => {
      present = partial.sizeBytes;
      await deliver(partial);
    });
    expect(present).toBe(500_000);
    expect(statSync(blobPath(scratch.path, blob.digest)).mode & 0o022).toBe(0);
  });

  test('that is another file of ours is not written to', async () => {
    const own = join(scratch.path, 'letter');
    writeFileSync(own, 'my own words');
    mkdirSync(partialDirectory(scratch.path), { recursive: true });
    linkSync(own, join(partialDirectory(scratch.path), `${key}.free-abc`));
    await cache.obtain(blob, deliver);
    expect(readFileSync(own, 'utf8')).toBe('my own words');
  });

  test('that takes the place of ours is not what a reader of the download gets', async () => {
    const half = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    const done = cache.obtain(blob, async (partial) => {
      await partial.append(blob.bytes.subarray(0, 500_000));
      half.resolve();
      await go.promise;
      await deliver(partial);
    });
    done.catch(() => {});
    await half.promise;
    const [name = ''] = readdirSync(partialDirectory(scratch.path));
    const path = join(partialDirectory(scratch.path), name);
    writeFileSync(`${path}x`, Buffer.alloc(blob.sizeBytes, 'evil'));
    renameSync(`${path}x`, path);
    const read = cache.openFollowing(blob).then(buffer);
    read.catch(() => {});
    go.resolve();
    const [got] = await Promise.allSettled([read, done]);
    if (got.status === 'fulfilled') expect(got.value.equals(blob.bytes)).toBe(true);
  });
});

describe('an image that lies', () => {
  test('about the size of a blob does not take it from the cache', async () => {
    await cache.obtain(blob, deliver);
    await expect(cache.obtain({ ...blob, sizeBytes: 7 }, deliver)).rejects.toThrow(
      `${blob.digest} has 1000000 bytes, not the 7 that its descriptor says`,
    );
    await expect(cache.open({ ...blob, sizeBytes: 7 })).rejects.toThrow('not the 7');
    expect(await cache.has(blob.digest)).toBe(true);
  });

  test('and names a layer as its manifest does not have it read into memory', async () => {
    const large = makeBlob((8 << 20) + 1);
    await cache.obtain(large, async (partial) => {
      await partial.append(large.bytes);
    });
    await expect(cache.read(large)).rejects.toThrow('it is no manifest or configuration');
  });
});
