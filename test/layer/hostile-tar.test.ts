// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { FormatError } from '../../src/format/format-error.ts';
import { walkArchive } from '../../src/source/archive-walk.ts';
import { headSource } from '../../src/source/byte-source.ts';
import { makeRawTar, member, type RawEntry } from '../support/raw-tar.ts';
import { collectTar } from './collect-tar.ts';

const kib = 1024;

/** A header of extensions with a size of its own making. */
const extension = (type: string, content: string | Buffer, size?: number): Buffer =>
  Buffer.concat(member({ name: 'pax', type, ...(size === undefined ? {} : { size }) }, Buffer.from(content)));

const rest = makeRawTar([{ name: 'x', content: 'x' }]);

/** A record of a pax header. */
function record(key: string, valueBytes: number): string {
  const body = ` ${key}=${'v'.repeat(valueBytes)}\n`;
  return `${String(body.length + 6).padStart(6, '0')}${body}`;
}

const readers: Record<string, (archive: Buffer) => unknown> = {
  'as a layer': (archive) => collectTar(archive, () => 64 * kib),
  'as an archive of an image': (archive) => [...walkArchive(headSource(archive, true))],
};

describe.each(Object.entries(readers))('an archive read %s', (_, read) => {
  test.each(['0', '5', '2', '3', 'V', 'S', 'x', 'g', 'L', 'K'])(
    'is refused when an entry of kind %s has a negative size: it would lead back',
    (type) => {
      for (const size of [-1, -512, -1024]) {
        expect(() => read(Buffer.concat([extension(type, '', size), rest]))).toThrow('size is negative');
      }
    },
  );

  test.each<Partial<RawEntry>>([{ major: -1 }, { minor: -1 }])(
    'is refused with a device of the number %j',
    (number) => {
      expect(() => read(makeRawTar([{ name: 'd', type: '3', ...number }]))).toThrow('is negative');
    },
  );

  test('may have a pax header with as many records as fit', () => {
    const archive = Buffer.concat([extension('x', '5 a=\n'.repeat(200_000)), rest]);
    expect(read(archive)).toMatchObject([{}]);
  });

  test('is refused when what is about one entry is too much, in however many headers', () => {
    const part = extension('x', Array.from({ length: 100 }, (_, i) => record(`key${i}`, kib)).join(''));
    expect(() => read(Buffer.concat([...Array<Buffer>(20).fill(part), rest]))).toThrow(/1 MiB|extended header of/);
    const name = extension('L', 'n'.repeat(600 * kib));
    expect(() => read(Buffer.concat([name, name, rest]))).toThrow(/1 MiB|extended header of/);
  });

  test('is refused when what is about all entries is too much', () => {
    const many = Array.from({ length: 1100 }, (_, i) => record(`key${i}`, 1)).join('');
    expect(() => read(Buffer.concat([extension('g', many), rest]))).toThrow('too many records');
    const large = Array.from({ length: 3 }, (_, i) => extension('g', record(`key${i}`, 400 * kib)));
    expect(() => read(Buffer.concat([...large, rest]))).toThrow('too many records');
  });

  test('may have a header for all entries before each of them', () => {
    const each = Buffer.concat([extension('g', record('comment', 900 * kib)), rest.subarray(0, kib)]);
    expect(read(Buffer.concat([each, each, each, rest]))).toHaveLength(4);
  });
});

describe('a layer', () => {
  test('with a long pax header that comes in tiny pieces is read in no time', () => {
    const archive = Buffer.concat([extension('x', record('comment', 900 * kib)), rest]);
    expect(collectTar(archive, () => 7)).toHaveLength(1);
  }, 3000);

  test.each([
    [[0, -5, -5, 10], 5],
    [[-5, 5], 5],
    [[0, 5], -5],
  ])('with a sparse file whose map has negative numbers is refused: %j', (map, realBytes) => {
    const [header = Buffer.alloc(0), content = Buffer.alloc(0), padding = Buffer.alloc(0)] = member(
      { name: 'sparse', type: 'S' },
      Buffer.from('12345'),
    );
    const put = (at: number, value: number): void => {
      header.fill(value < 0 ? 0xff : 0, at, at + 12);
      header.writeBigInt64BE(BigInt(value), at + 4);
      header[at] = value < 0 ? 0xff : 0x80;
    };
    for (const [i, value] of map.entries()) put(386 + 12 * i, value);
    put(483, realBytes);
    header.fill(' ', 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    const read = () => collectTar(Buffer.concat([header, content, padding, rest]));
    expect(read).toThrow(FormatError);
    expect(read).toThrow('is negative');
  });
});
