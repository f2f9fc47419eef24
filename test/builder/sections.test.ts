// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readElf } from '../../src/format/elf.ts';
import { FormatError } from '../../src/format/format-error.ts';
import { sha256 } from '../../src/format/hash-tree.ts';
import { readAtBuffer } from '../../src/format/read-at.ts';
import {
  alignToPage,
  encodeTable,
  layOutSections,
  pageSizeBytes,
  readSections,
  type SectionContent,
} from '../../src/format/sections.ts';
import { assembleBundle, makeElf } from './support.ts';

const nameArbitrary = fc
  .stringMatching(/^[a-z][a-z0-9-]{0,15}$/)
  .filter((name) => name !== 'launcher' && name !== 'manifest');

const contentsArbitrary = fc
  .uniqueArray(fc.record({ name: nameArbitrary, data: fc.uint8Array({ maxLength: 9000 }) }), {
    selector: (section) => section.name,
    maxLength: 6,
  })
  .map((sections) => [...sections, { name: 'manifest', data: Buffer.from('{}') }]);

describe('sections', () => {
  test('whatever is written is read back the same', () => {
    fc.assert(
      fc.property(contentsArbitrary, fc.integer({ min: 128, max: 9000 }), (contents, launcherSizeBytes) => {
        const bytes = assembleBundle(makeElf(launcherSizeBytes), contents);
        const table = readSections(readAtBuffer(bytes), bytes.length);
        expect(table.sections.map((section) => section.name)).toEqual([
          'launcher',
          ...contents.map(({ name }) => name),
        ]);
        for (const [i, { data }] of contents.entries()) {
          const section = table.sections[i + 1];
          expect(section?.offset).toSatisfy((offset: number) => offset % pageSizeBytes === 0);
          const offset = section?.offset ?? 0;
          expect(Buffer.from(data).equals(bytes.subarray(offset, offset + (section?.sizeBytes ?? 0)))).toBe(true);
        }
        expect(encodeTable(table).equals(bytes.subarray(table.tableOffset, table.tableOffset + pageSizeBytes))).toBe(
          true,
        );
      }),
      { numRuns: 60 },
    );
  });

  test('a file cut off anywhere is refused', () => {
    const bytes = sample();
    for (let size = 0; size < bytes.length; size += size % 97 === 0 ? 1 : 13) {
      expect(() => readSections(readAtBuffer(bytes.subarray(0, size)), size), `cut to ${size}`).toThrow(FormatError);
    }
    expect(() => readSections(readAtBuffer(bytes.subarray(0, -1)), bytes.length - 1)).toThrow(
      /truncated.* expected,.* present/,
    );
  });

  test('appended bytes are refused', () => {
    const bytes = Buffer.concat([sample(), Buffer.alloc(1)]);
    expect(() => readSections(readAtBuffer(bytes), bytes.length)).toThrow('1 bytes follow the end of the bundle');
  });

  test('any bit flipped in the table, the padding or the manifest is refused', () => {
    const bytes = sample();
    const table = readSections(readAtBuffer(bytes), bytes.length);
    const covered = new Uint8Array(bytes.length);
    covered.fill(1, table.tableOffset, table.tableOffset + pageSizeBytes);
    for (const [i, section] of table.sections.entries()) {
      const end = section.offset + section.sizeBytes;
      if (section.name === 'manifest') covered.fill(1, section.offset, end);
      if (i < table.sections.length - 1) covered.fill(1, end, alignToPage(end));
    }
    let tried = 0;
    for (let at = 0; at < bytes.length; at++) {
      if (covered[at] === 0) continue;
      const bit = 1 << (at % 8);
      bytes[at] = (bytes[at] as number) ^ bit;
      expect(() => readSections(readAtBuffer(bytes), bytes.length), `bit ${at % 8} of byte ${at}`).toThrow(FormatError);
      bytes[at] = (bytes[at] as number) ^ bit;
      tried++;
    }
    expect(tried).toBeGreaterThan(pageSizeBytes);
    expect(readSections(readAtBuffer(bytes), bytes.length)).toEqual(table);
  });

  test.each<[string, (contents: SectionContent[]) => void, RegExp]>([
    ['two sections with one name', (c) => void c.push({ ...(c[1] as SectionContent) }), /two sections are named/],
    ['a name that is too long', (c) => void c.splice(1, 1, content('seventeen-letters')), /no proper name/],
    ['an empty name', (c) => void c.splice(1, 1, content('')), /no proper name/],
    ['33 sections', (c) => void c.push(...Array.from({ length: 31 }, (_, i) => content(`s${i}`))), /33 sections/],
    ['another first section', (c) => void c.reverse(), /first section is not launcher/],
  ])('%s cannot be written', (_title, change, message) => {
    const contents = [content('launcher'), content('manifest')];
    change(contents);
    expect(() => layOutSections(contents)).toThrow(message);
  });

  test('a table that is whole but breaks a rule is refused', () => {
    const good = sample();
    const table = readSections(readAtBuffer(good), good.length);
    const page = good.subarray(table.tableOffset, table.tableOffset + pageSizeBytes);
    const changed = (change: (page: Buffer) => void): Buffer => {
      const copy = Buffer.from(page);
      change(copy);
      sha256(copy.subarray(0, 4064)).copy(copy, 4064);
      const bytes = Buffer.from(good);
      copy.copy(bytes, table.tableOffset);
      return bytes;
    };
    const cases: [(page: Buffer) => void, RegExp][] = [
      [(p) => p.writeUInt32LE(2, 8), /format version 2/],
      [(p) => p.writeUInt32LE(0, 12), /0 sections/],
      [(p) => p.writeUInt32LE(1, 12), /must be zero/],
      [(p) => p.writeUInt32LE(1, 24), /must be zero/],
      [(p) => p.writeUInt32LE(1, 4060), /must be zero/],
      [(p) => p.write('x', 32 + 15), /not padded with NUL/],
      [(p) => p.writeBigUInt64LE(4096n, 32 + 16), /launcher is at 4096/],
      [(p) => p.writeBigUInt64LE(1n << 60n, 32 + 72 + 24), /offset or size of/],
      [(p) => p.writeBigUInt64LE(BigInt(good.length) + 1n, 16), /the sections end at/],
    ];
    for (const [change, message] of cases) {
      const bytes = changed(change);
      expect(() => readSections(readAtBuffer(bytes), bytes.length)).toThrow(message);
    }
  });
});

describe('the end of an ELF file', () => {
  test('is the size of a real one', () => {
    const bytes = readFileSync(process.execPath);
    expect(readElf(readAtBuffer(bytes))).toEqual({ endOffset: bytes.length, machine: 62 });
  });

  test('does not change when bytes follow', () => {
    const elf = makeElf(777);
    expect(readElf(readAtBuffer(elf)).endOffset).toBe(777);
    expect(readElf(readAtBuffer(Buffer.concat([elf, Buffer.alloc(5000, 1)]))).endOffset).toBe(777);
  });

  test.each<[string, Buffer, RegExp]>([
    ['a text', Buffer.from('#!/bin/sh\n'), /not an ELF file/],
    ['nothing', Buffer.alloc(0), /not an ELF file/],
    ['a cut header', makeElf(777).subarray(0, 63), /first header/],
    ['cut section headers', makeElf(777).subarray(0, 700), /section headers/],
  ])('is refused for %s', (_title, bytes, message) => {
    expect(() => readElf(readAtBuffer(bytes))).toThrow(message);
  });
});

function content(name: string): SectionContent {
  return { name, sizeBytes: 1, rawSizeBytes: 1, digest: Buffer.alloc(32) };
}

function sample(): Buffer {
  return assembleBundle(makeElf(5000), [
    { name: 'runtime', data: Buffer.alloc(4097, 0xa5) },
    { name: 'payload', data: Buffer.alloc(0) },
    { name: 'manifest', data: Buffer.from('{"manifestVersion":1}') },
    { name: 'hashtree', data: Buffer.alloc(64, 0x5a) },
  ]);
}
