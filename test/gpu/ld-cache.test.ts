// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromBuffer, fromText } from '../../src/format/bytes.ts';
import {
  compareLdCacheEntries,
  compareLibraryNames,
  insertLdCache,
  type LdCacheEntry,
  ldCacheFlags,
  readLdCache,
  writeLdCache,
} from '../../src/format/ld-cache.ts';

const level = 1n << 62n;

function entry(name: string, more: Partial<LdCacheEntry> = {}): LdCacheEntry {
  return { name, path: `/lib/${name}`, flags: ldCacheFlags.x86_64, osVersion: 0, hwcap: 0n, hwcapName: '', ...more };
}

const text = fc.uint8Array({ minLength: 1, maxLength: 30 }).map((bytes) => fromBuffer(bytes).replaceAll('\0', 'x'));
const hwcaps = fc.oneof(
  fc.constant({ hwcap: 0n, hwcapName: '' }),
  fc.record({ hwcap: fc.bigInt({ min: 0n, max: level - 1n }), hwcapName: fc.constant('') }),
  fc.record({ hwcap: fc.bigInt({ min: 0n, max: 1023n }).map((isa) => level | (isa << 32n)), hwcapName: text }),
);
const anyEntry: fc.Arbitrary<LdCacheEntry> = fc
  .record({
    name: fc.oneof(text, fc.stringMatching(/^lib[a-c0-2]{0,3}\.so(\.[0-9]{1,3})?$/)),
    dir: fc.oneof(text, fc.constant('/usr/lib/')),
    flags: fc.oneof(fc.constantFrom(...Object.values(ldCacheFlags)), fc.integer()),
    osVersion: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 2 ** 32 - 1 })),
    hwcaps,
    pathHasName: fc.boolean(),
  })
  .map(({ name, dir: at, flags, osVersion, hwcaps: caps, pathHasName }) => {
    return { name, path: pathHasName ? at + name : at, flags, osVersion, ...caps };
  });
const anyCache = fc.record({ entries: fc.array(anyEntry), generator: fc.oneof(fc.constant(''), text) });

test('what was written is what is read', () => {
  fc.assert(
    fc.property(anyCache, (cache) => {
      expect(readLdCache(writeLdCache(cache.entries, cache.generator))).toEqual(cache);
    }),
  );
});

describe('insertion', () => {
  const sorted = anyCache.map(({ entries, generator }) => insertLdCache({ entries: [], generator }, entries));

  test('leaves a sorted cache sorted, with all that was added and nothing that was replaced', () => {
    fc.assert(
      fc.property(sorted, fc.array(anyEntry), (cache, more) => {
        const added = [...more, ...cache.entries.slice(0, 1)];
        const { entries } = insertLdCache(cache, added);
        for (const [i, one] of entries.entries()) {
          if (i > 0) expect(compareLdCacheEntries(entries[i - 1] as LdCacheEntry, one)).toBeLessThanOrEqual(0);
        }
        expect(entries).toEqual(expect.arrayContaining(added));
        const isKept = (old: LdCacheEntry) =>
          !added.some(({ name, flags }) => name === old.name && flags === old.flags);
        expect(entries.filter((one) => !added.includes(one))).toEqual(cache.entries.filter(isKept));
      }),
    );
  });

  test('replaces a library of the same name and architecture, also one for better processors, and no other', () => {
    const better = entry('libcuda.so.1', { hwcap: level, hwcapName: 'x86-64-v3' });
    const narrow = entry('libcuda.so.1', { flags: ldCacheFlags.i386 });
    const cache = { entries: [better, entry('libcuda.so.1'), narrow, entry('libc.so.6')], generator: 'g' };
    const ours = entry('libcuda.so.1', { path: '/ours' });
    expect(insertLdCache(cache, [ours])).toEqual({ entries: [ours, narrow, entry('libc.so.6')], generator: 'g' });
  });

  test('keeps the order of a cache that was sorted otherwise', () => {
    const entries = ['liba.so', 'libz.so', 'libm.so'].map((name) => entry(name));
    const merged = insertLdCache({ entries, generator: '' }, [entry('libb.so')]).entries;
    expect(merged.map(({ name }) => name)).toEqual(['libb.so', 'liba.so', 'libz.so', 'libm.so']);
  });
});

test.each([
  ['libfoo.so.2', 'libfoo.so.10', -1],
  ['libfoo.so.10', 'libfoo.so.10', 0],
  ['libfoo.so.010', 'libfoo.so.10', 0],
  ['libfoo.so', 'libfoo.so.1', -1],
  ['libfoo1', 'libfoo.so', 1],
  ['libfoo1', 'libfoo~', 1],
  ['libFoo', 'libfoo', -1],
  ['lib.so.99999999999', 'lib.so.3', 1],
  ['lib.so.2147483648', 'lib.so.3', 1],
  ['lib.so.4294967297', 'lib.so.3', -1],
  ['lib.so.4294967299', 'lib.so.3', 0],
  ['lib.so.4294967299.5', 'lib.so.3.4', 1],
  [fromText('ä'), 'a', -1],
])('as names, %s and %s compare to %i', (one, other, expected) => {
  expect(Math.sign(compareLibraryNames(one, other))).toBe(expected);
  expect(Math.sign(compareLibraryNames(other, one)) + expected).toBe(0);
});

test('of one name come first the better processors, then most capabilities, then newer kernels', () => {
  const more: Partial<LdCacheEntry>[] = [
    { flags: 0x0a03, osVersion: 1 },
    { hwcap: level | (1n << 32n), hwcapName: 'x86-64-v3' },
    { hwcap: level | (2n << 32n), hwcapName: 'x86-64-v4' },
    { hwcap: 0b0111n },
    { hwcap: 0b1010n },
    { hwcap: 0b0011n, osVersion: 7 },
    { hwcap: 0b0011n, osVersion: 6 },
    { hwcap: 1n << 40n },
    {},
  ];
  const entries = more.map((parts) => entry('libz.so.1', parts));
  const given = [...entries].reverse();
  expect(insertLdCache({ entries: [], generator: '' }, given).entries).toEqual(entries);
});

describe('damage', () => {
  const entries = [
    entry('libz.so.1', { hwcap: level | (3n << 32n), hwcapName: 'x86-64-v3' }),
    entry('libz.so.1'),
    entry('libc.so.6'),
  ];
  const good = writeLdCache(entries, 'a generator');
  const old = Buffer.alloc(28);
  old.write('ld.so-1.7.0');
  old.writeUInt32LE(1, 12);
  /** Behind an old part of odd length: strings keep their places, extensions move with the file. */
  const behind = Buffer.concat([old, Buffer.alloc(4), good]);
  const shift = (at: number) => behind.writeUInt32LE(behind.readUInt32LE(at) + 32, at);
  shift(32 + 32);
  const extensions = behind.readUInt32LE(32 + 32);
  shift(extensions + 8 + 8);
  shift(extensions + 8 + 16 + 8);

  test('is none in an old part of odd length', () => {
    expect(readLdCache(behind)).toEqual({ entries, generator: 'a generator' });
  });

  test.each([
    ['is none where the order of bytes is not told', 0, true],
    ['is an invalid order of bytes', 1, false],
    ['is a big-endian file', 3, false],
  ])('%s', (_, endian, isRead) => {
    const cache = Buffer.from(good);
    cache[28] = endian;
    expect(readLdCache(cache)?.entries.length).toBe(isRead ? entries.length : undefined);
  });

  test('is an extension that is not aligned', () => {
    const at = good.readUInt32LE(32);
    const moved = (by: number) => {
      const cache = Buffer.concat([good.subarray(0, at), Buffer.alloc(by), good.subarray(at)]);
      for (const offset of [32, at + by + 8 + 8, at + by + 8 + 16 + 8]) {
        cache.writeUInt32LE(cache.readUInt32LE(offset) + by, offset);
      }
      return readLdCache(cache);
    };
    expect([moved(4), moved(1)]).toEqual([{ entries, generator: 'a generator' }, null]);
  });

  test('is a number of entries that no system has', () => {
    const withCount = (count: number) => readLdCache(writeLdCache(Array(count).fill(entry('libc.so.6')), ''));
    expect([withCount(60_000)?.entries.length, withCount(70_000)]).toEqual([60_000, null]);
  });

  test('gives null or a cache that can be written, and nothing outside the file is read', () => {
    const change = fc.record({ at: fc.nat(behind.length - 1), byte: fc.nat(255) });
    let refused = 0;
    const check = (file: Buffer, changes: { at: number; byte: number }[], end: number) => {
      // What follows the file in memory would end any string.
      const memory = Buffer.concat([file, Buffer.alloc(8192)]);
      for (const { at, byte } of changes) if (at < end) memory[at] = byte;
      const found = readLdCache(memory.subarray(0, end));
      expect(found).toEqual(readLdCache(Buffer.from(memory.subarray(0, end))));
      if (found === null) refused++;
      else expect(readLdCache(writeLdCache(found.entries, found.generator))).toEqual(found);
    };
    fc.assert(
      fc.property(
        fc.constantFrom(good, behind),
        fc.array(change, { maxLength: 3 }),
        fc.option(fc.nat(), { freq: 2 }),
        (file, changes, cut) => check(file, changes, cut === null ? file.length : cut % (file.length + 1)),
      ),
      { numRuns: 3000 },
    );
    expect(refused).toBeGreaterThan(500);
    for (let end = 0; end < good.length; end++) expect(readLdCache(good.subarray(0, end))).toBeNull();
  });
});
