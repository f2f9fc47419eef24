// SPDX-License-Identifier: Apache-2.0
import { type Bytes, fromBuffer } from '../../src/format/bytes.ts';
import { FormatError } from '../../src/format/format-error.ts';

/** Reads a part of a file, short at its end (Observer.lookInside). */
export type ReadAt = (offset: number, sizeBytes: number) => Buffer;

/** What the loader would learn of a shared library. */
export interface DynamicFacts {
  /** ELF class. */
  readonly abi: '64' | '32';
  /** e_machine: 3 i386, 62 x86-64, 183 AArch64. */
  readonly machine: number;
  /** DT_SONAME; '' without one. */
  readonly soname: Bytes;
  /** DT_NEEDED, in the file's order. */
  readonly needed: readonly Bytes[];
  /** The newest version of glibc's symbols that it asks for, such as `2.17`; '' for none. */
  readonly needsGlibc: string;
  /** The newest one that it defines itself, as libc.so.6 does; '' for none. */
  readonly definesGlibc: string;
}

/**
 * Reads the dynamic section of a little-endian shared library and what it points to (elf(5); the versions as in the Linux Standard
 * Base's "Symbol Versioning"). It asks for few pages of the file, whatever its size. null: no such library, or one that is damaged. Errors of
 * readAt pass through.
 */
export function readDynamic(readAt: ReadAt): DynamicFacts | null {
  try {
    return readFacts(new Pages(readAt));
  } catch (error) {
    if (error instanceof FormatError) return null;
    throw error;
  }
}

/** Compares versions such as `2.9` and `2.17` number by number; what is missing counts as 0. */
export function compareVersions(one: string, other: string): number {
  const [left, right] = [one.split('.').map(Number), other.split('.').map(Number)];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

const pageBytes = 4096;
/** No library comes near; it bounds what a hostile file can make us read. */
const maxPages = 128;
const maxSegments = 256;
const maxDynamicEntries = 4096;
const maxStringBytes = 4096;
const maxVersions = 4096;
const maxFileBytes = 2 ** 40;

const sharedObject = 3;
const segment = { load: 1, dynamic: 2 };
const tag = { needed: 1, strings: 5, stringsSize: 10, soname: 14, verdef: 0x6ffffffc, verneed: 0x6ffffffe };

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly sizeBytes: number;
}

/** Numbers and bytes of a file, which is read a page at a time and each page once. */
class Pages {
  readonly #readAt: ReadAt;
  readonly #pages = new Map<number, Buffer>();

  constructor(readAt: ReadAt) {
    this.#readAt = readAt;
  }

  u16(offset: number): number {
    return this.take(offset, 2).readUInt16LE(0);
  }

  u32(offset: number): number {
    return this.take(offset, 4).readUInt32LE(0);
  }

  /** Values above 2^53 lose their lowest bits, but no offset and no size is that large. */
  u64(offset: number): number {
    return this.u32(offset + 4) * 2 ** 32 + this.u32(offset);
  }

  take(offset: number, sizeBytes: number): Buffer {
    const first = Math.floor(offset / pageBytes);
    const start = offset - first * pageBytes;
    const page = this.#page(first);
    if (start + sizeBytes <= pageBytes) {
      if (start + sizeBytes > page.length) throw new FormatError('ends too early');
      return page.subarray(start, start + sizeBytes);
    }
    const here = pageBytes - start;
    return Buffer.concat([this.take(offset, here), this.take(offset + here, sizeBytes - here)]);
  }

  /** A string that ends with NUL before a place. */
  string(offset: number, end: number): Bytes {
    let found = '';
    while (found.length <= maxStringBytes) {
      const from = offset + found.length;
      if (from >= end) break;
      const page = this.#page(Math.floor(from / pageBytes));
      const part = page.subarray(from % pageBytes, (from % pageBytes) + end - from);
      const length = part.indexOf(0);
      if (length >= 0) return found + fromBuffer(part.subarray(0, length));
      if (part.length === 0) break;
      found += fromBuffer(part);
    }
    throw new FormatError('a string without an end');
  }

  #page(index: number): Buffer {
    const known = this.#pages.get(index);
    if (known !== undefined) return known;
    if (index * pageBytes > maxFileBytes || this.#pages.size >= maxPages) throw new FormatError('scattered too far');
    const page = this.#readAt(index * pageBytes, pageBytes);
    this.#pages.set(index, page);
    return page;
  }
}

function readFacts(file: Pages): DynamicFacts {
  const ident = file.take(0, 16);
  const elfClass = ident[4];
  if (ident.readUInt32BE(0) !== 0x7f454c46 || ident[5] !== 1 || (elfClass !== 1 && elfClass !== 2)) {
    throw new FormatError('not a little-endian ELF file');
  }
  const is64 = elfClass === 2;
  if (file.u16(16) !== sharedObject) throw new FormatError('not a shared object');
  const segments = readSegments(file, is64);
  const dynamic = segments.find(({ type }) => type === segment.dynamic);
  if (dynamic === undefined) throw new FormatError('nothing dynamic');
  const values = readTags(file, dynamic, is64);
  const first = (wanted: number) => values.get(wanted)?.[0];
  const [stringsAddress, stringsBytes] = [first(tag.strings), first(tag.stringsSize)];
  if (stringsAddress === undefined || stringsBytes === undefined) throw new FormatError('no strings');
  const strings = toOffset(segments, stringsAddress);
  const readName = (offset: number) => file.string(strings + offset, strings + stringsBytes);
  const versionsAt = (wanted: number, read: (file: Pages, offset: number) => number[]): string => {
    const address = first(wanted);
    return address === undefined ? '' : newestGlibc(read(file, toOffset(segments, address)).map(readName));
  };
  const soname = first(tag.soname);
  return {
    abi: is64 ? '64' : '32',
    machine: file.u16(18),
    soname: soname === undefined ? '' : readName(soname),
    needed: (values.get(tag.needed) ?? []).map(readName),
    needsGlibc: versionsAt(tag.verneed, listNeededVersions),
    definesGlibc: versionsAt(tag.verdef, listDefinedVersions),
  };
}

function readSegments(file: Pages, is64: boolean): Segment[] {
  const start = is64 ? file.u64(32) : file.u32(28);
  const [entryBytes, count] = [file.u16(is64 ? 54 : 42), file.u16(is64 ? 56 : 44)];
  if (entryBytes < (is64 ? 56 : 32) || count > maxSegments) throw new FormatError('program headers of no use');
  return Array.from({ length: count }, (_, index): Segment => {
    const at = start + index * entryBytes;
    return is64
      ? { type: file.u32(at), offset: file.u64(at + 8), address: file.u64(at + 16), sizeBytes: file.u64(at + 32) }
      : { type: file.u32(at), offset: file.u32(at + 4), address: file.u32(at + 8), sizeBytes: file.u32(at + 16) };
  });
}

/** Where in the file an address of the loaded library is. */
function toOffset(segments: readonly Segment[], address: number): number {
  const found = segments.find(({ type, address: start, sizeBytes }) => {
    return type === segment.load && address >= start && address < start + sizeBytes;
  });
  if (found === undefined) throw new FormatError('an address outside the file');
  return found.offset + address - found.address;
}

/** The values of the tags that are of interest. */
function readTags(file: Pages, { offset, sizeBytes }: Segment, is64: boolean): Map<number, number[]> {
  const wanted = new Set(Object.values(tag));
  const values = new Map<number, number[]>();
  const entryBytes = is64 ? 16 : 8;
  const count = Math.floor(sizeBytes / entryBytes);
  if (count > maxDynamicEntries) throw new FormatError('too many dynamic entries');
  for (let at = offset; at < offset + count * entryBytes; at += entryBytes) {
    const key = is64 ? file.u64(at) : file.u32(at);
    if (key === 0) break;
    if (!wanted.has(key)) continue;
    const value = is64 ? file.u64(at + 8) : file.u32(at + 4);
    values.set(key, [...(values.get(key) ?? []), value]);
  }
  return values;
}

/** The names of all versions that are needed, of whichever library: Verneed and its list of Vernaux. */
function listNeededVersions(file: Pages, offset: number): number[] {
  const names: number[] = [];
  followList(file, offset, 12, (need) => {
    followList(file, need + file.u32(need + 8), 12, (aux) => {
      if (names.push(file.u32(aux + 8)) > maxVersions) throw new FormatError('too many versions');
    });
  });
  return names;
}

/** The names of the versions that are defined: the first Verdaux of each Verdef; the others name what it follows. */
function listDefinedVersions(file: Pages, offset: number): number[] {
  const names: number[] = [];
  followList(file, offset, 16, (definition) => {
    names.push(file.u32(definition + file.u32(definition + 12)));
  });
  return names;
}

/** Visits the elements of a list, each of which tells at nextAt how far the next is. Distances are positive, so it comes to an end. */
function followList(file: Pages, offset: number, nextAt: number, visit: (at: number) => void): void {
  let at = offset;
  for (let count = 0; ; count++) {
    if (count >= maxVersions) throw new FormatError('too many versions');
    visit(at);
    const distance = file.u32(at + nextAt);
    if (distance === 0) return;
    at += distance;
  }
}

function newestGlibc(names: readonly Bytes[]): string {
  const versions = names.flatMap((name) => /^GLIBC_(\d{1,4}(?:\.\d{1,4}){1,2})$/.exec(name)?.[1] ?? []);
  return versions.reduce((newest, version) => (compareVersions(version, newest) > 0 ? version : newest), '');
}
