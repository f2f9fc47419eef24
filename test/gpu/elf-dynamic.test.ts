// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareVersions, type DynamicFacts, readDynamic } from '../../runtime/gpu/elf-dynamic.ts';
import { Observer } from '../../runtime/observer.ts';
import { makeElf } from '../../scripts/build/make-elf.ts';
import { fromBuffer } from '../../src/format/bytes.ts';

const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
const libraryDirs = [`/lib/${triplet}`, '/lib64', '/lib32', '/lib/i386-linux-gnu'];
const isElf = (path: string) =>
  new Observer().lookInside(path, (readAt) => readAt(0, 4).toString('latin1')) === '\x7fELF';

/** A dozen of each of the machine's library directories, besides those that define versions: every so many, for variety. */
const libraries = libraryDirs.filter(existsSync).flatMap((dir) => {
  const all = readdirSync(dir).filter((name) => /^lib.*\.so/.test(name) && isElf(join(dir, name)));
  const step = Math.ceil(all.length / 12);
  const chosen = all.filter(
    (name, i) => i % step === 0 || /^lib(c\.so\.6|m\.so\.6|stdc\+\+\.so\.6|gcc_s.*)$/.test(name),
  );
  return [...new Set(chosen.map((name) => realpathSync(join(dir, name))))];
});

/** The same facts from binutils' readelf. */
function askReadelf(path: string): DynamicFacts {
  const text = execFileSync('readelf', ['-hdVW', path], { encoding: 'latin1', stdio: ['ignore', 'pipe', 'ignore'] });
  const partOf = (title: string) =>
    text.split('\n\n').find((part) => part.startsWith(`Version ${title} section`)) ?? '';
  const newest = (part: string) =>
    [...part.matchAll(/ Name: GLIBC_(\d+(?:\.\d+)+)(?=\s|$)/g)]
      .map(([, version = '']) => version)
      .sort(compareVersions)
      .at(-1) ?? '';
  const machines = { 'X86-64': 62, 80386: 3, AArch64: 183 };
  const machine = Object.entries(machines).find(([name]) => new RegExp(`Machine:.*${name}`).test(text));
  return {
    abi: /Class: +ELF64/.test(text) ? '64' : '32',
    machine: machine?.[1] ?? 0,
    soname: /\(SONAME\) .*\[(.*)\]/.exec(text)?.[1] ?? '',
    needed: [...text.matchAll(/\(NEEDED\) .*\[(.*)\]/g)].map(([, name = '']) => name),
    needsGlibc: newest(partOf('needs')),
    definesGlibc: newest(partOf('definition')),
  };
}

/** Reads a file, and how many bytes were asked for. */
function read(path: string) {
  let askedBytes = 0;
  const facts = new Observer().lookInside(path, (readAt) =>
    readDynamic((offset, sizeBytes) => {
      askedBytes += sizeBytes;
      return readAt(offset, sizeBytes);
    }),
  );
  return { facts, askedBytes };
}

describe("the machine's libraries", () => {
  test('are enough to compare', () => {
    expect(libraries.length).toBeGreaterThan(12);
  });

  test.each(libraries)('%s: the same as from readelf, in a few pages', (path) => {
    const { facts, askedBytes } = read(path);
    expect(facts).toEqual(askReadelf(path));
    expect(askedBytes).toBeLessThanOrEqual(96 << 10);
  });

  test('a library of many megabytes costs no more than a small one', () => {
    const sizeBytes = (path: string) => statSync(path).size;
    const dir = `/lib/${triplet}`;
    const all = readdirSync(dir).map((name) => join(dir, name));
    const largest = all
      .filter((path) => path.includes('.so') && isElf(path))
      .reduce((one, other) => (sizeBytes(other) > sizeBytes(one) ? other : one));
    expect(sizeBytes(largest)).toBeGreaterThan(2 << 20);
    expect(read(largest).facts?.soname).not.toBe('');
    expect(read(largest).askedBytes).toBeLessThanOrEqual(96 << 10);
  });
});

const readBuffer = (file: Buffer) => readDynamic((offset, sizeBytes) => file.subarray(offset, offset + sizeBytes));

const made = {
  soname: 'libcuda.so.1',
  needed: ['libm.so.6', 'libc.so.6'],
  needs: [['GLIBC_2.2.5', 'GLIBC_2.9'], ['GLIBC_2.17', 'GLIBC_PRIVATE', 'GCC_3.0'], ['GLIBC_2.3.4']],
  defines: ['libcuda.so.1', 'GLIBC_2.4', 'GLIBC_2.36', 'GLIBC_2.36.1', 'GLIBC_2.5'],
};

describe.each([true, false])('a made library (64 bits: %s)', (is64) => {
  const kind = { abi: is64 ? '64' : '32', machine: is64 ? 62 : 3 };

  test('tells its names, and versions of glibc by number', () => {
    const { soname, needed } = made;
    const facts = { ...kind, soname, needed, needsGlibc: '2.17', definesGlibc: '2.36.1' };
    expect(readBuffer(makeElf({ is64, ...made }))).toEqual(facts);
  });

  test('may have nothing of this', () => {
    const facts = { ...kind, soname: '', needed: [], needsGlibc: '', definesGlibc: '' };
    expect(readBuffer(makeElf({ is64 }))).toEqual(facts);
  });

  test('may have strings that go on in the next page, and none that end nowhere', () => {
    const file = makeElf({ is64, soname: `lib${'x'.repeat(40)}.so`, stringsAt: 4096 - 20 });
    expect(readBuffer(file)?.soname).toHaveLength(46);
    const long = makeElf({ is64, soname: 'y' });
    long.fill('y', long.indexOf('y\0'));
    expect(readBuffer(long)).toBeNull();
  });

  test('is none when it is a program, big-endian or no ELF file', () => {
    const change = (at: number, byte: number) => {
      const file = makeElf({ is64, ...made });
      file[at] = byte;
      return readBuffer(file);
    };
    expect([change(16, 2), change(5, 2), change(0, 0), change(4, 3), change(8, 1)]).toEqual([
      ...[null, null, null, null],
      expect.objectContaining({ soname: made.soname }),
    ]);
  });

  test('gives facts or null when it is damaged, after a bounded number of reads', () => {
    const good = makeElf({ is64, ...made });
    let refused = 0;
    const change = fc.record({ at: fc.nat(0x900), byte: fc.constantFrom(0, 1, 0x7f, 0x80, 0xff) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), fc.option(fc.nat(good.length)), (changes, cut) => {
        const file = Buffer.from(good.subarray(0, cut ?? good.length));
        for (const { at, byte } of changes) if (at < file.length) file[at] = byte;
        let reads = 0;
        const facts = readDynamic((offset, sizeBytes) => {
          reads++;
          expect(offset).toBeLessThanOrEqual(2 ** 41);
          return file.subarray(offset, offset + sizeBytes);
        });
        expect(reads).toBeLessThanOrEqual(128);
        if (facts === null) refused++;
        else expect(facts.machine).toBe(file.readUInt16LE(18));
      }),
      { numRuns: 3000 },
    );
    expect(refused).toBeGreaterThan(500);
  });

  test('is null wherever it is cut off before the end of its strings', () => {
    const good = makeElf({ is64, ...made });
    const end = good.lastIndexOf('libcuda.so.1') + 13;
    for (let at = 0; at < 0x800; at += 7) expect(readBuffer(good.subarray(0, at))).toBeNull();
    expect(readBuffer(good.subarray(0, end + 64))).not.toBeNull();
  });
});

test('a list of versions that is longer than any is given up, and one that leaves the file', () => {
  const withVersions = (count: number) => {
    const file = makeElf({ is64: true, needs: [['GLIBC_2.30']], stringsAt: 0x40000 });
    // All of them have the name of the first.
    const name = file.readUInt32LE(0x400 + 16 + 8);
    file.writeUInt32LE(0x400, 0x400 + 8);
    for (let i = 0; i < count; i++) {
      file.writeUInt32LE(name, 0x800 + 16 * i + 8);
      file.writeUInt32LE(i + 1 < count ? 16 : 0, 0x800 + 16 * i + 12);
    }
    return file;
  };
  expect(readBuffer(withVersions(4000))?.needsGlibc).toBe('2.30');
  expect(readBuffer(withVersions(5000))).toBeNull();
  const withDefinitions = (count: number) => {
    const file = makeElf({ is64: true, defines: ['GLIBC_2.30'], stringsAt: 0x40000 });
    const name = file.readUInt32LE(0x600 + 20);
    for (let i = 0; i < count; i++) {
      const at = 0x600 + 28 * i;
      file.writeUInt32LE(20, at + 12);
      file.writeUInt32LE(i + 1 < count ? 28 : 0, at + 16);
      file.writeUInt32LE(name, at + 20);
    }
    return readBuffer(file);
  };
  expect([withDefinitions(4000)?.definesGlibc, withDefinitions(5000)]).toEqual(['2.30', null]);
  const leaving = withVersions(1);
  leaving.writeUInt32LE(0xffffff00, 0x400 + 12);
  expect(readBuffer(leaving)).toBeNull();
});

test('versions are counted over all lists, which may share their elements', () => {
  const withLists = (count: number) => {
    const file = makeElf({ is64: true, needs: [['GLIBC_2.30']], stringsAt: 0x40000 });
    const [name, shared] = [file.readUInt32LE(0x400 + 16 + 8), 0x10000];
    for (let i = 0; i < count; i++) {
      const at = i === 0 ? 0x400 : 0x800 + 16 * i;
      file.writeUInt32LE(shared - at, at + 8);
      file.writeUInt32LE(i + 1 === count ? 0 : i === 0 ? 0x410 : 16, at + 12);
    }
    for (let i = 0; i < 20; i++) {
      file.writeUInt32LE(name, shared + 16 * i + 8);
      file.writeUInt32LE(i < 19 ? 16 : 0, shared + 16 * i + 12);
    }
    return readBuffer(file);
  };
  expect([withLists(200)?.needsGlibc, withLists(210)]).toEqual(['2.30', null]);
});

test('names that lie in more pages than those of any library are given up', () => {
  const scattered = (count: number) => {
    const file = Buffer.concat([
      makeElf({ is64: true, needed: Array<string>(count).fill(''), stringsAt: 0x4000 }),
      Buffer.alloc(1 << 20),
    ]);
    for (let i = 0; i < count; i++) file.writeBigUInt64LE(BigInt(4096 * i), 0x200 + 16 * i + 8);
    // DT_STRSZ follows DT_STRTAB.
    file.writeBigUInt64LE(1n << 20n, 0x200 + 16 * (count + 1) + 8);
    return readBuffer(file);
  };
  expect(scattered(20)?.needed).toHaveLength(20);
  expect(scattered(90)?.needed).toHaveLength(90);
  expect(scattered(200)).toBeNull();
});

test('a name behind the end of the strings is none', () => {
  const file = makeElf({ is64: true, soname: 'y', stringsAt: 4090 });
  file.writeBigUInt64LE(100n, 0x208);
  expect(readBuffer(file)).toBeNull();
});

test('more headers or dynamic entries than any library has are given up', () => {
  const file = () => makeElf({ is64: true, soname: 'y', stringsAt: 0x40000 });
  const withCount = (count: number) => {
    const changed = file();
    changed.writeUInt16LE(count, 56);
    return readBuffer(changed);
  };
  expect([withCount(9)?.soname, withCount(300)]).toEqual(['y', null]);
  const withDynamicBytes = (sizeBytes: number) => {
    const changed = file();
    changed.writeBigUInt64LE(BigInt(sizeBytes), 64 + 56 + 32);
    return readBuffer(changed);
  };
  expect([withDynamicBytes(60_000)?.soname, withDynamicBytes(70_000)]).toEqual(['y', null]);
});

test('an error of reading is passed on', () => {
  const fail = () => {
    throw new Error('EIO');
  };
  expect(() => readDynamic(fail)).toThrow('EIO');
});

test.each([
  ['2.9', '2.17', -1],
  ['2.17', '2.17.0', 0],
  ['3', '2.99', 1],
  ['', '2.0', -1],
])('version %s compared to %s is %i', (one, other, expected) => {
  expect(Math.sign(compareVersions(one, other))).toBe(expected);
});

test('names of versions are bytes', () => {
  expect(readBuffer(makeElf({ is64: true, soname: fromBuffer(Buffer.from([0xff, 0xe4])) }))?.soname).toBe('\xff\xe4');
});
