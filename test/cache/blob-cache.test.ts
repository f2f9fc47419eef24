// SPDX-License-Identifier: Apache-2.0
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type BlobCache, openCache } from '../../src/cache/blob-cache.ts';
import { noteFailedTry } from '../../src/cache/failed-try.ts';
import { blobPath, keyOf, leaseDirectory, partialDirectory } from '../../src/cache/layout.ts';
import type { PartialBlob } from '../../src/cache/partial.ts';
import { Failure } from '../../src/failure.ts';
import { identifyHost, nameWriter } from '../../src/host.ts';
import { listFiles, makeBlob, makeScratch, type SampleBlob } from './rig.ts';

let scratch: ReturnType<typeof makeScratch>;
let cache: BlobCache;
const blob = makeBlob(3_000_001);
beforeEach(async () => {
  scratch = makeScratch();
  cache = await openCache(scratch.path);
});
afterEach(() => {
  cache.close();
  scratch.remove();
});

/** A download from memory, in pieces, up to an offset. */
function deliver(sample: SampleBlob, end = sample.sizeBytes) {
  return async (partial: PartialBlob) => {
    while (partial.sizeBytes < end) {
      const next = Math.min(partial.sizeBytes + 65_536, end);
      await partial.append(sample.bytes.subarray(partial.sizeBytes, next));
    }
  };
}

const fail = () => Promise.reject(new Failure('no network'));
const neverCalled = () => Promise.reject(new Error('it was called'));

/** What a process that was killed leaves. */
function leavePartial(sample: SampleBlob, bytes: Buffer, owner = 'free-x'): string {
  const path = join(partialDirectory(scratch.path), `${keyOf(sample.digest)}.${owner}`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
  return path;
}

const finalName = (sample: SampleBlob) => `blobs/${sample.digest.replace(':', '/')}`;

describe('obtain', () => {
  test.each(['sha256', 'sha512'] as const)('a blob by %s is downloaded once and then there', async (algorithm) => {
    const sample = makeBlob(1_000_003, 5, algorithm);
    expect(await cache.has(sample.digest)).toBe(false);
    expect(await cache.obtain(sample, deliver(sample))).toBe('downloaded');
    expect(await cache.has(sample.digest)).toBe(true);
    expect(await cache.obtain(sample, neverCalled)).toBe('cached');
    expect(await (await openCache(scratch.path)).obtain(sample, neverCalled)).toBe('cached');
    expect((await cache.read(sample)).equals(sample.bytes)).toBe(true);
    expect(listFiles(scratch.path)).toEqual([finalName(sample)]);
  });

  test('calls for one digest share one download, and each sees the progress', async () => {
    const download = vi.fn(deliver(blob));
    const seen: number[][] = [[], []];
    const calls = seen.map((list) => cache.obtain(blob, download, { onProgress: (bytes) => list.push(bytes) }));
    expect(await Promise.all(calls)).toEqual(['downloaded', 'downloaded']);
    expect(download).toHaveBeenCalledTimes(1);
    for (const list of seen) {
      expect(list.at(-1)).toBe(blob.sizeBytes);
      expect(list.every((bytes, i) => i === 0 || bytes >= (list[i - 1] as number))).toBe(true);
    }
  });

  test('two caches of one process on one directory wait for each other as processes do', async () => {
    const other = await openCache(scratch.path);
    const download = vi.fn(deliver(blob));
    const outcomes = await Promise.all([cache.obtain(blob, download), other.obtain(blob, download)]);
    expect(outcomes.sort()).toEqual(['downloaded', 'waited']);
    expect(download).toHaveBeenCalledTimes(1);
  });

  test('a failed download is passed on, and the next try goes on from its bytes', async () => {
    await expect(
      cache.obtain(blob, async (partial) => {
        await deliver(blob, 1_000_000)(partial);
        await fail();
      }),
    ).rejects.toThrow('no network');
    expect(await cache.has(blob.digest)).toBe(false);
    const offsets: number[] = [];
    await cache.obtain(blob, (partial) => {
      offsets.push(partial.sizeBytes);
      return deliver(blob)(partial);
    });
    expect(offsets).toEqual([1_000_000]);
    expect(listFiles(scratch.path)).toEqual([finalName(blob)]);
  });

  test('bytes with another digest are removed, and the failure names both digests', async () => {
    const wrong = makeBlob(blob.sizeBytes, 2);
    const failure = await cache.obtain(blob, deliver(wrong)).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Failure);
    expect(String(failure)).toContain(blob.digest);
    expect(String(failure)).toContain(wrong.digest);
    expect(listFiles(scratch.path).filter((path) => !path.startsWith('leases/'))).toEqual([]);
    expect(await cache.obtain(blob, deliver(blob))).toBe('downloaded');
  });

  test('too many bytes are refused while they come, too few at the end', async () => {
    const short = { ...blob, sizeBytes: 100 };
    await expect(cache.obtain(short, deliver(blob))).rejects.toThrow('more bytes');
    await expect(cache.obtain(blob, deliver(blob, 100))).rejects.toThrow(`got 100 bytes for ${blob.digest}`);
    expect(await cache.has(blob.digest)).toBe(false);
  });

  test('an empty blob needs no download', async () => {
    expect(await cache.obtain(makeBlob(0), neverCalled)).toBe('downloaded');
    expect(await cache.read(makeBlob(0))).toHaveLength(0);
  });

  test('restart forgets what came, as when a server cannot resume', async () => {
    leavePartial(blob, blob.bytes.subarray(0, 500_000));
    await cache.obtain(blob, async (partial) => {
      expect(partial.sizeBytes).toBe(500_000);
      await partial.restart();
      expect(partial.sizeBytes).toBe(0);
      await deliver(blob)(partial);
    });
    expect((await cache.read(blob)).equals(blob.bytes)).toBe(true);
    expect(listFiles(scratch.path)).toEqual([finalName(blob)]);
  });

  test('the longest of the earlier files is adopted, whole ones need no download', async () => {
    leavePartial(blob, blob.bytes.subarray(0, 5), 'free-a');
    leavePartial(blob, blob.bytes, 'free-b');
    leavePartial(blob, Buffer.concat([blob.bytes, blob.bytes]), 'free-c');
    expect(await cache.obtain(blob, neverCalled)).toBe('downloaded');
    expect(listFiles(scratch.path)).toEqual([finalName(blob)]);
  });

  test('bad bytes of an earlier process cost one more download and are not taken for the blob', async () => {
    const bad = Buffer.from(blob.bytes.subarray(0, 2_000_000));
    bad.fill(0, 1_000_000);
    leavePartial(blob, bad);
    const download = vi.fn(deliver(blob));
    expect(await cache.obtain(blob, download)).toBe('downloaded');
    expect(download).toHaveBeenCalledTimes(2);
    expect((await cache.read(blob)).equals(blob.bytes)).toBe(true);
  });

  test('a file that its writer may still write to is copied, not taken', async () => {
    const elsewhere = nameWriter({ name: 'b', key: 'b'.repeat(16) });
    for (const owner of [elsewhere, nameWriter(identifyHost())]) {
      const path = leavePartial(blob, blob.bytes.subarray(0, 1_000_000), owner);
      const before = statSync(path).ino;
      await cache.obtain(blob, async (partial) => {
        expect(partial.sizeBytes).toBe(1_000_000);
        await deliver(blob)(partial);
      });
      expect(statSync(blobPath(scratch.path, blob.digest)).ino).not.toBe(before);
      rmSync(blobPath(scratch.path, blob.digest));
    }
  });

  test('an abort ends the download only when nobody else wants it, and gives the lease back', async () => {
    const [one, two] = [new AbortController(), new AbortController()];
    const begun = Promise.withResolvers<AbortSignal>();
    const download = async (_: PartialBlob, signal: AbortSignal) => {
      begun.resolve(signal);
      await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    };
    const calls = [one, two].map(({ signal }) => cache.obtain(blob, download, { signal }));
    const signal = await begun.promise;
    one.abort(new Error('first'));
    await expect(calls[0]).rejects.toThrow('first');
    expect(signal.aborted).toBe(false);
    two.abort(new Error('second'));
    const third = cache.obtain(blob, deliver(blob));
    await expect(calls[1]).rejects.toThrow('second');
    expect(await third).toBe('downloaded');
    expect(listFiles(scratch.path)).toEqual([finalName(blob)]);
  });

  test('a waiter that saw several others fail gives up instead of finding out itself', async () => {
    const end = Promise.withResolvers<void>();
    const owner = cache.obtain(blob, () => end.promise).catch(() => {});
    const waiting = await openCache(scratch.path);
    // Each look of the waiter finds that one more has failed.
    const onProgress = () => noteFailedTry(leaseDirectory(scratch.path), keyOf(blob.digest), identifyHost());
    await expect(waiting.obtain(blob, neverCalled, { onProgress })).rejects.toThrow('3 other processes tried');
    end.resolve();
    await owner;
  });

  test('a waiter tries itself when one other failed', async () => {
    const end = Promise.withResolvers<void>();
    const owner = cache.obtain(blob, () => end.promise.then(fail)).catch(() => {});
    const waiting = await openCache(scratch.path);
    // It waits already when the owner fails.
    const outcome = waiting.obtain(blob, deliver(blob), { onProgress: () => end.resolve() });
    expect(await outcome).toBe('downloaded');
    await owner;
  });

  test('a digest that is none never becomes a path', async () => {
    for (const digest of ['sha256:../../x', 'md5:00', `sha256:${'A'.repeat(64)}`, 'sha256:']) {
      await expect(cache.obtain({ ...blob, digest }, neverCalled)).rejects.toThrow('not a digest');
      await expect(cache.has(digest)).rejects.toThrow('not a digest');
    }
  });
});

describe('open, read and put', () => {
  test('a damaged blob ends the stream with a failure and is removed, so that the next import heals', async () => {
    await cache.obtain(blob, deliver(blob));
    const path = blobPath(scratch.path, blob.digest);
    const bytes = readFileSync(path);
    bytes.writeUInt8(bytes.readUInt8(2_999_999) ^ 1, 2_999_999);
    writeFileSync(path, bytes);
    await expect(buffer(await cache.open(blob))).rejects.toThrow(/is damaged in the cache/);
    expect(await cache.has(blob.digest)).toBe(false);
    expect(await cache.obtain(blob, deliver(blob))).toBe('downloaded');
    expect((await buffer(await cache.open(blob))).equals(blob.bytes)).toBe(true);
  });

  test('a blob of another size is as good as none', async () => {
    await cache.obtain(blob, deliver(blob));
    truncateSync(blobPath(scratch.path, blob.digest), 5);
    await expect(cache.open(blob)).rejects.toThrow('has 5 bytes');
    expect(await cache.obtain(blob, deliver(blob))).toBe('downloaded');
    truncateSync(blobPath(scratch.path, blob.digest), 5);
    expect(await cache.obtain(blob, deliver(blob))).toBe('downloaded');
  });

  test('what is not there is a failure', async () => {
    await expect(cache.read(blob)).rejects.toThrow(`${blob.digest} is not in the cache`);
    await expect(cache.openFollowing(blob)).rejects.toThrow('is not in the cache');
  });

  test('what obtain got stays readable when it is removed', async () => {
    await cache.obtain(blob, deliver(blob));
    rmSync(blobPath(scratch.path, blob.digest));
    expect((await cache.read(blob)).equals(blob.bytes)).toBe(true);
  });

  test('reading notes the use', async () => {
    const small = makeBlob(10);
    await cache.put(small.digest, small.bytes);
    const path = blobPath(scratch.path, small.digest);
    for (const use of [
      () => cache.read(small),
      () => cache.obtain(small, neverCalled),
      () => cache.put(small.digest, small.bytes),
    ]) {
      utimesSync(path, 1000, 1000);
      await use();
      expect(Math.abs(Date.now() - statSync(path).mtimeMs)).toBeLessThan(10_000);
    }
  });

  test('put checks the digest', async () => {
    const small = makeBlob(10);
    await expect(cache.put(small.digest, Buffer.from('x'))).rejects.toThrow('have another digest');
    await cache.put(small.digest, small.bytes);
    expect(listFiles(scratch.path)).toEqual([finalName(small)]);
  });

  test("enroot's own files in the directory are left alone", async () => {
    const own = join(scratch.path, blob.digest.slice('sha256:'.length));
    writeFileSync(own, 'zstd');
    expect(await cache.has(blob.digest)).toBe(false);
    await cache.obtain(blob, deliver(blob));
    expect(readFileSync(own, 'utf8')).toBe('zstd');
  });
});

describe('what is in the way is told with the cure', () => {
  const cure = /ENROOT_CACHE_PATH=DIRECTORY/;

  test('a file instead of the directory, or of a part of it', async () => {
    const file = join(mkdtempSync(join(scratch.path, 'x-')), 'file');
    writeFileSync(file, '');
    await expect(openCache(file)).rejects.toMatchObject({
      message: expect.stringContaining('in the way'),
      hint: cureOf(cure),
    });
    await expect(openCache(join(file, 'below'))).rejects.toMatchObject({ hint: cureOf(cure) });
    writeFileSync(join(scratch.path, 'blobs'), '');
    await expect(cache.obtain(blob, deliver(blob))).rejects.toMatchObject({
      message: expect.stringContaining(`${join(scratch.path, 'blobs')} is in the way`),
      hint: cureOf(cure),
    });
  });

  test('a directory instead of a blob', async () => {
    mkdirSync(blobPath(scratch.path, blob.digest), { recursive: true });
    await expect(cache.obtain(blob, deliver(blob))).rejects.toMatchObject({
      message: expect.stringContaining('is not a regular file'),
      hint: cureOf(cure),
    });
  });
});

function cureOf(pattern: RegExp): unknown {
  return expect.stringMatching(pattern);
}
