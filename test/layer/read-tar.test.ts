// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { FormatError, TruncatedError } from '../../src/format/format-error.ts';
import { TarReader } from '../../src/layer/read-tar.ts';
import { testNeeding } from '../support/features.ts';
import { compileProgram } from '../support/programs.ts';
import { makeRawTar } from '../support/raw-tar.ts';
import { collectTar } from './collect-tar.ts';

const dirs: string[] = [];
const scratch = (): string => {
  const dir = mkdtempSync(path.join(tmpdir(), 'bundler-test-tar-'));
  dirs.push(dir);
  return dir;
};
afterAll(() => {
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true });
});

const tar = (cwd: string, ...args: string[]): Buffer =>
  execFileSync('tar', ['-C', cwd, '-cf', '-', ...args], { maxBuffer: 1 << 28 });

const longName = `${'d'.repeat(120)}/${'f'.repeat(140)}`;

/** Files of all sizes around a block, long names, links, times. */
function fill(dir: string, long: boolean): void {
  for (const sizeBytes of [0, 1, 511, 512, 513, 5000])
    writeFileSync(path.join(dir, `size-${sizeBytes}`), Buffer.alloc(sizeBytes, (sizeBytes % 250) + 1));
  linkSync(path.join(dir, 'size-513'), path.join(dir, 'zz-again'));
  symlinkSync('size-1', path.join(dir, 'link'));
  mkdirSync(path.join(dir, 'dir'), { mode: 0o700 });
  execFileSync('mkfifo', [path.join(dir, 'fifo')]);
  utimesSync(path.join(dir, 'size-0'), 1, 1234567890.5);
  if (!long) return;
  mkdirSync(path.dirname(path.join(dir, longName)), { recursive: true });
  writeFileSync(path.join(dir, longName), 'long');
  symlinkSync('t'.repeat(3000), path.join(dir, 'long-link'));
}

describe('a tar archive', () => {
  for (const format of ['v7', 'ustar', 'gnu', 'oldgnu', 'posix']) {
    test(`of GNU tar in the format ${format} is read as it is, in pieces of any size`, () => {
      const dir = scratch();
      const long = !['v7', 'ustar'].includes(format);
      fill(dir, long);
      const exclude = format === 'v7' ? ['--exclude=./fifo'] : [];
      const archive = tar(dir, `--format=${format}`, '--sort=name', '--owner=1234', '--group=5678', ...exclude, '.');
      const whole = collectTar(archive);
      fc.assert(
        fc.property(fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 20 }), (sizes) => {
          let i = 0;
          expect(collectTar(archive, () => sizes[i++ % sizes.length] ?? 1)).toEqual(whole);
        }),
        { numRuns: 20 },
      );
      const found = new Map(whole.map((each) => [each.entry.path.replace(/^\.\//, ''), each]));
      for (const sizeBytes of [0, 1, 511, 512, 513, 5000]) {
        const { entry, content } = found.get(`size-${sizeBytes}`) ?? {};
        expect(entry).toMatchObject({ kind: 'file', sizeBytes, uid: 1234, gid: 5678, mode: 0o644 });
        expect(content).toEqual(sizeBytes === 0 ? null : readFileSync(path.join(dir, `size-${sizeBytes}`)));
      }
      expect(found.get('size-0')?.entry.mtimeSeconds).toBe(1234567890);
      expect(found.get('zz-again')?.entry).toMatchObject({ kind: 'hardlink', link: './size-513', sizeBytes: 0 });
      expect(found.get('link')?.entry).toMatchObject({ kind: 'symlink', link: 'size-1' });
      expect(found.get('dir/')?.entry).toMatchObject({ kind: 'dir', mode: 0o700 });
      if (format !== 'v7') expect(found.get('fifo')?.entry.kind).toBe('fifo');
      if (long) {
        expect(found.get(longName)?.content?.toString()).toBe('long');
        expect(found.get('long-link')?.entry.link).toBe('t'.repeat(3000));
      }
    });
  }

  for (const [name, ...args] of [
    ['old GNU', '--format=gnu'],
    ['0.0', '--format=posix', '--sparse-version=0.0'],
    ['0.1', '--format=posix', '--sparse-version=0.1'],
    ['1.0', '--format=posix', '--sparse-version=1.0'],
  ]) {
    test(`with sparse files of format ${name} gives their real content, the holes as holes`, () => {
      const dir = scratch();
      const file = path.join(dir, 'sparse');
      const fd = openSync(file, 'w');
      // More segments than one header or one block of a map takes.
      for (let i = 0; i < 60; i++) writeSync(fd, Buffer.alloc(4096, i + 1), 0, 4096, i * 65536 + 8192);
      closeSync(fd);
      truncateSync(file, 5 << 20);
      writeFileSync(path.join(dir, 'after'), 'after');
      const archive = tar(dir, ...args, '--sparse', 'sparse', 'after');
      expect(archive.length).toBeLessThan(1 << 20);
      for (const step of [archive.length, 1000, 513, 7]) {
        const [sparse, after] = collectTar(archive, () => step);
        expect(sparse?.entry).toMatchObject({ path: 'sparse', kind: 'file', sizeBytes: 5 << 20 });
        expect(sparse?.content?.equals(readFileSync(file))).toBe(true);
        expect(sparse?.holes).toBeGreaterThan(50);
        expect(after?.content?.toString()).toBe('after');
      }
    });
  }

  /** A file of format 1.0 with a map as it is given; every second byte is a hole. */
  const withMap = (map: string, bytes: number) =>
    makeRawTar([
      {
        name: 'x',
        content: Buffer.concat([
          Buffer.from(map),
          Buffer.alloc((512 - (map.length % 512)) % 512),
          Buffer.alloc(bytes, 'x'),
        ]),
        pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': String(2 * bytes) },
      },
    ]);

  test('with a map of many segments takes no longer for each of them', () => {
    const count = 300_000;
    const lines = Array.from({ length: count }, (_, i) => `${2 * i}\n1\n`);
    let bytes = 0;
    const reader = new TarReader({
      entry: () => true,
      data(chunk) {
        bytes += chunk.length;
      },
      hole: () => {},
      end: () => {},
    });
    reader.write(withMap(`${count}\n${lines.join('')}`, count));
    reader.end();
    expect(bytes).toBe(count);
  });

  test.each([
    ['too few numbers', '2\n0\n1\n'],
    ['a number that is none', '1\n0\nx\n'],
    ['a number without end', '9'.repeat(5000)],
    ['more segments than any', '2000000\n'],
  ])('with a map with %s is refused', (_, map) => {
    expect(() => collectTar(withMap(map, 2))).toThrow(FormatError);
  });

  testNeeding('root')('keeps extended attributes byte for byte, file capabilities too', () => {
    const dir = scratch();
    writeFileSync(path.join(dir, 'ping'), 'x');
    // cap_setuid: a byte above 0x7f, which is no UTF-8.
    const capability = Buffer.from('0100000280000000000000000000000000000000', 'hex');
    execFileSync('python3', [
      '-c',
      'import os,sys; os.setxattr(sys.argv[1], "security.capability", bytes.fromhex(sys.argv[2]))',
      path.join(dir, 'ping'),
      capability.toString('hex'),
    ]);
    execFileSync(compileProgram('set-xattr'), [path.join(dir, 'ping'), 'user.note', 'line one']);
    const [found] = collectTar(tar(dir, '--format=posix', '--xattrs', '--xattrs-include=*', 'ping'));
    expect(found?.entry.xattrs.get('security.capability')).toEqual(capability);
    expect(found?.entry.xattrs.get('user.note')?.toString()).toBe('line one');
  });

  test('with large numbers and negative times is read', () => {
    const dir = scratch();
    writeFileSync(path.join(dir, 'x'), '');
    for (const format of ['gnu', 'posix']) {
      const [found] = collectTar(
        tar(dir, `--format=${format}`, '--owner=4294967294', '--group=3000000000', '--mtime=@-5.5', 'x'),
      );
      expect(found?.entry).toMatchObject({ uid: 4294967294, gid: 3000000000, mtimeSeconds: -6 });
    }
  });

  test('without its two blocks of zeros is whole when no entry is cut off', () => {
    const dir = scratch();
    fill(dir, true);
    const archive = tar(dir, '--format=posix', '-b1', '.');
    const whole = collectTar(archive);
    let end = archive.length;
    while (archive.subarray(end - 512, end).every((byte) => byte === 0)) end -= 512;
    expect(collectTar(archive.subarray(0, end))).toEqual(whole);
  });

  test('that is cut off anywhere is refused or gives fewer entries, never others', () => {
    const dir = scratch();
    fill(dir, true);
    const archive = tar(dir, '--format=posix', '--sort=name', '.');
    const whole = collectTar(archive);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: archive.length - 1 }), (end) => {
        try {
          const part = collectTar(archive.subarray(0, end));
          expect(part).toEqual(whole.slice(0, part.length));
        } catch (error) {
          expect(error).toBeInstanceOf(TruncatedError);
        }
      }),
    );
  });

  test('with damaged bytes is read or refused with a FormatError, and nothing else happens', () => {
    const dir = scratch();
    fill(dir, true);
    const archive = tar(dir, '--format=posix', '--sort=name', '.');
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: archive.length - 1 }), fc.integer({ min: 0, max: 255 })), {
          minLength: 1,
          maxLength: 8,
        }),
        (changes) => {
          const damaged = Buffer.from(archive);
          for (const [at, byte] of changes) damaged[at] = byte;
          try {
            collectTar(damaged, () => 4096);
          } catch (error) {
            if (!(error instanceof FormatError)) throw error;
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test('that is something else is refused at once', () => {
    const reader = new TarReader({ entry: () => true, data: () => {}, hole: () => {}, end: () => {} });
    expect(() => reader.write(Buffer.from('{"errors": []}'.padEnd(2048)))).toThrow(/not a tar archive/);
  });
});
