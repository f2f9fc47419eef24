// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fromText } from '../../src/format/bytes.ts';
import { TarReader } from '../../src/layer/read-tar.ts';
import { type EntryKind, noXattrs, type TarEntry } from '../../src/layer/tar-entry.ts';
import { paddingOf } from '../../src/layer/tar-header.ts';
import { encodeBlock, encodeHeader, endOfArchive } from '../../src/layer/write-tar.ts';
import { testNeeding } from '../support/features.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'bundler-write-tar-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const entry = (path: string, kind: EntryKind = 'file', more: Partial<TarEntry> = {}): TarEntry => ({
  path,
  kind,
  mode: kind === 'dir' ? 0o755 : 0o644,
  uid: 0,
  gid: 0,
  mtimeSeconds: 0,
  sizeBytes: 0,
  link: '',
  major: 0,
  minor: 0,
  xattrs: noXattrs,
  ...more,
});

/** An archive of entries; a file's content is one letter again and again. */
function pack(...entries: TarEntry[]): Buffer {
  const parts = entries.flatMap((each) => [
    encodeHeader(each),
    Buffer.alloc(each.sizeBytes, 'x'),
    Buffer.alloc(paddingOf(each.sizeBytes)),
  ]);
  return Buffer.concat([...parts, endOfArchive]);
}

function startReader(entries: TarEntry[]): TarReader {
  return new TarReader({
    entry(each) {
      entries.push(each);
      return false;
    },
    data() {},
    hole() {},
    end() {},
  });
}

function readBack(archive: Buffer): TarEntry[] {
  const entries: TarEntry[] = [];
  const reader = startReader(entries);
  reader.write(archive);
  reader.end();
  expect(reader.done).toBe(true);
  return entries;
}

/** The path as it is written. */
function written(each: TarEntry): TarEntry {
  if (each.kind === 'dir') return { ...each, path: each.path === '' ? './' : `${each.path.replace(/\/$/, '')}/` };
  return each;
}

const bytes = (minLength: number, maxLength: number) =>
  fc.uint8Array({ min: 1, minLength, maxLength }).map((array) => Buffer.from(array).toString('latin1'));
const segment = fc
  .oneof(
    fc.stringMatching(/^[a-z._-]{1,12}$/),
    fc.stringMatching(/^[a-z]{60,120}$/),
    bytes(1, 20),
    fc.constant(fromText('größe')),
  )
  .map((text) => text.replaceAll('/', '_'))
  .filter((text) => text !== '.' && text !== '..');
const path = fc.array(segment, { minLength: 1, maxLength: 8 }).map((parts) => parts.join('/'));
const link = fc.oneof(path, fc.constant('l'.repeat(100)), fc.constant('l'.repeat(101)));
const id = fc.oneof(fc.nat(0xffffffff), fc.constantFrom(0, 1000, 0o7777777, 0o10000000, 0xffffffff));
const time = fc.oneof(
  fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
  fc.constantFrom(0, -1, 2 ** 33 - 1, 2 ** 33, 2 ** 33 + 1),
);
const xattrs = fc
  .array(
    fc.tuple(
      fc.constantFrom('user.a', 'user.b', 'security.capability', 'trusted.x', `user.${fromText('ü')}`),
      fc.uint8Array({ maxLength: 40 }),
    ),
    { maxLength: 3 },
  )
  .map((pairs) => new Map(pairs.map(([name, value]) => [name, Buffer.from(value)])));
const someEntry = fc
  .record({
    path,
    kind: fc.constantFrom<EntryKind>('file', 'dir', 'symlink', 'hardlink', 'char', 'block', 'fifo'),
    mode: fc.nat(0o7777),
    uid: id,
    gid: id,
    mtimeSeconds: time,
    sizeBytes: fc.nat(1500),
    link,
    major: fc.nat(4095),
    minor: fc.nat(1048575),
    xattrs,
  })
  .map((each): TarEntry => {
    const isLink = each.kind === 'symlink' || each.kind === 'hardlink';
    const isDevice = each.kind === 'char' || each.kind === 'block';
    return {
      ...each,
      sizeBytes: each.kind === 'file' ? each.sizeBytes : 0,
      link: isLink ? each.link : '',
      major: isDevice ? each.major : 0,
      minor: isDevice ? each.minor : 0,
    };
  });

describe('an archive that is written', () => {
  test('is read back as it was by our own reader', () => {
    fc.assert(
      fc.property(fc.array(someEntry, { maxLength: 5 }), (entries) => {
        const archive = pack(...entries);
        expect(readBack(archive)).toEqual(entries.map(written));
        expect(pack(...entries)).toEqual(archive);
      }),
      { numRuns: 200 },
    );
  });

  test('has one block for what ustar can say', () => {
    const prefix = 'p'.repeat(155);
    const name = 'n'.repeat(100);
    for (const each of [
      entry('a'),
      entry(name),
      entry(`${prefix}/${name}`),
      entry(`/${'a/'.repeat(70)}${name}`),
      entry(fromText('größe')),
      entry('\xff\xfe'),
      entry('d', 'symlink', { link: name }),
      entry('d', 'file', { uid: 0o7777777, gid: 0o7777777, mtimeSeconds: 0o77777777777, sizeBytes: 0o77777777777 }),
      entry('d', 'char', { major: 4095, minor: 1048575 }),
    ]) {
      expect(encodeHeader(each)).toHaveLength(512);
    }
    for (const each of [
      entry(`${name}n`),
      entry(`${prefix}p/${name}`),
      entry(`${prefix}/${name}n`),
      entry(name, 'dir'),
      entry(`/${name}`, 'dir'),
      entry('d', 'symlink', { link: `${name}n` }),
      entry('d', 'file', { uid: 0o10000000 }),
      entry('d', 'file', { sizeBytes: 0o100000000000 }),
      entry('d', 'file', { mtimeSeconds: -1 }),
      entry('d', 'file', { xattrs: new Map([['user.x', Buffer.alloc(0)]]) }),
    ]) {
      expect(encodeHeader(each)).toHaveLength(3 * 512);
    }
  });

  test('says that names are no UTF-8 where only pax can hold them', () => {
    const long = 'x'.repeat(300);
    expect(encodeHeader(entry(`${long}\xff`)).toString('latin1')).toContain('21 hdrcharset=BINARY\n');
    expect(encodeHeader(entry(`${long}${fromText('ü')}`)).toString('latin1')).not.toContain('hdrcharset');
  });

  test('has the attributes in the order of their names', () => {
    const given = new Map([
      ['user.b', Buffer.from('2')],
      ['user.a', Buffer.from('1')],
    ]);
    const turned = new Map([...given].toReversed());
    expect(encodeHeader(entry('a', 'file', { xattrs: given }))).toEqual(
      encodeHeader(entry('a', 'file', { xattrs: turned })),
    );
  });

  test.each<[TarEntry, RegExp]>([
    [entry('a\0b'), /NUL/],
    [entry('a', 'symlink', { link: '\0' }), /NUL/],
    [entry(''), /without a name/],
    [entry('/', 'symlink', { link: 'x' }), /without a name/],
    [entry('a', 'char', { major: 2 ** 21 }), /major number 2097152/],
  ])('is refused where no tar can say it: %j', (each, message) => {
    expect(() => encodeHeader(each)).toThrow(message);
  });
});

const long = `${'directory/'.repeat(20)}${'n'.repeat(120)}`;
const many = [
  entry('', 'dir', { mode: 0o1777, mtimeSeconds: 1_700_000_000 }),
  entry('bin', 'dir'),
  entry('bin/tool', 'file', { mode: 0o4755, uid: 1000, gid: 3_000_000_000, sizeBytes: 700, mtimeSeconds: -86_400 }),
  entry(long, 'file', { sizeBytes: 512 }),
  entry(fromText('größe'), 'file', { sizeBytes: 1 }),
  entry('no-utf8-\xff', 'file', { sizeBytes: 3 }),
  entry('hard', 'hardlink', { link: long }),
  entry('soft', 'symlink', { link: 't'.repeat(150), mode: 0o777 }),
  entry('null', 'char', { major: 1, minor: 3, mode: 0o666 }),
  entry('disk', 'block', { major: 259, minor: 70_000 }),
  entry('pipe', 'fifo'),
  entry('late', 'file', { mtimeSeconds: 2 ** 34, xattrs: new Map([['user.note', Buffer.from([0, 255, 10, 61, 0])]]) }),
];

describe('an archive that others read', () => {
  test('is listed by GNU tar', () => {
    const list = execFileSync(
      'tar',
      ['--numeric-owner', '--full-time', '--utc', '--quoting-style=literal', '-tvf', '-'],
      {
        input: pack(...many),
        encoding: 'latin1',
      },
    );
    const lines = list
      .trimEnd()
      .split('\n')
      .map((line) => line.replace(/ +/g, ' '));
    expect(lines).toEqual([
      'drwxrwxrwt 0/0 0 2023-11-14 22:13:20 ./',
      'drwxr-xr-x 0/0 0 1970-01-01 00:00:00 bin/',
      '-rwsr-xr-x 1000/3000000000 700 1969-12-31 00:00:00 bin/tool',
      `-rw-r--r-- 0/0 512 1970-01-01 00:00:00 ${long}`,
      `-rw-r--r-- 0/0 1 1970-01-01 00:00:00 ${fromText('größe')}`,
      '-rw-r--r-- 0/0 3 1970-01-01 00:00:00 no-utf8-\xff',
      `hrw-r--r-- 0/0 0 1970-01-01 00:00:00 hard link to ${long}`,
      `lrwxrwxrwx 0/0 0 1970-01-01 00:00:00 soft -> ${'t'.repeat(150)}`,
      'crw-rw-rw- 0/0 1,3 1970-01-01 00:00:00 null',
      'brw-r--r-- 0/0 259,70000 1970-01-01 00:00:00 disk',
      'prw-r--r-- 0/0 0 1970-01-01 00:00:00 pipe',
      '-rw-r--r-- 0/0 0 2514-05-30 01:53:04 late',
    ]);
  });

  testNeeding('root')('is unpacked by GNU tar, attributes and all', () => {
    const target = join(dir, 'unpacked');
    execFileSync('mkdir', [target]);
    execFileSync('tar', ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-C', target, '-xpf', '-'], {
      input: pack(...many),
    });
    expect(lstatSync(join(target, 'bin/tool'))).toMatchObject({
      uid: 1000,
      gid: 3_000_000_000,
      mode: 0o104755,
      size: 700,
      mtimeMs: -86_400_000,
    });
    expect(lstatSync(join(target, 'hard')).ino).toBe(lstatSync(join(target, long)).ino);
    expect(readlinkSync(join(target, 'soft'))).toBe('t'.repeat(150));
    expect(readFileSync(join(target, 'größe'), 'utf8')).toBe('x');
    expect(lstatSync(Buffer.from(`${target}/no-utf8-\xff`, 'latin1')).size).toBe(3);
    const file = join(dir, 'again.tar');
    execFileSync('tar', ['--xattrs', '--xattrs-include=user.*', '--format=pax', '-C', target, '-cf', file, 'late']);
    expect(readBack(readFileSync(file))[0]?.xattrs).toEqual(many.at(-1)?.xattrs);
  });

  testNeeding('bsdtar')('is read by libarchive', () => {
    const file = join(dir, 'many.tar');
    writeFileSync(file, pack(...many));
    const list = execFileSync('bsdtar', ['-tf', file], { encoding: 'latin1', env: { LC_ALL: 'C.UTF-8' } });
    expect(list.trimEnd().split('\n')).toHaveLength(many.length);
    expect(list).toContain(`${long}\n`);
    // Written anew by libarchive, read by us: what it understood.
    const again = execFileSync('bsdtar', ['--format=pax', '-cf', '-', `@${file}`], {
      env: { LC_ALL: 'C.UTF-8' },
      maxBuffer: 1 << 26,
    });
    const understood = readBack(again);
    for (const [i, each] of understood.entries()) {
      const { xattrs, ...rest } = written(many[i] as TarEntry);
      expect(each).toMatchObject(rest);
      for (const [name, value] of xattrs) expect(each.xattrs.get(name)).toEqual(value);
    }
    expect(understood).toHaveLength(many.length);
  });

  test('may have more than 8 GiB of a file', () => {
    const huge = entry('huge', 'file', { sizeBytes: 9 * 2 ** 30 });
    expect(encodeBlock(huge)).toHaveLength(512);
    expect(encodeBlock(entry('a', 'file', { sizeBytes: 5 }))).toEqual(
      encodeHeader(entry('a', 'file', { sizeBytes: 5 })),
    );
    expect(() => encodeBlock(entry('a'.repeat(101)))).toThrow('more than one header block');
    for (const input of [encodeHeader(huge), encodeBlock(huge)]) {
      // GNU tar lists a header whose content is missing before it complains.
      const list = execFileSync('sh', ['-c', 'tar -tvf - 2>/dev/null || true'], { input, encoding: 'latin1' });
      expect(list).toContain(' 9663676416 ');
      const entries: TarEntry[] = [];
      startReader(entries).write(input);
      expect(entries).toEqual([huge]);
    }
  });
});
