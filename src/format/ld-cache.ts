// SPDX-License-Identifier: Apache-2.0
import { type Bytes, fromBuffer, toBuffer } from './bytes.ts';

/** What ldconfig knows about one name of a library. */
export interface LdCacheEntry {
  /** What programs ask for: usually DT_SONAME. */
  readonly name: Bytes;
  readonly path: Bytes;
  /** Kind and architecture, as in ldCacheFlags. */
  readonly flags: number;
  readonly osVersion: number;
  /** Bits of hardware capabilities. With hwcapName: the extension's mark and the ISA level, while the index in the low 32 bits is 0. */
  readonly hwcap: bigint;
  /** The subdirectory of glibc-hwcaps in which it lies: `x86-64-v3`; '' for none. */
  readonly hwcapName: Bytes;
}

export interface LdCache {
  /** In the file's order, which the loader's binary search relies on. */
  readonly entries: readonly LdCacheEntry[];
  /** The ldconfig that made it; '' unknown. */
  readonly generator: Bytes;
}

/** FLAG_ELF_LIBC6 with the architecture's bits (glibc's sysdeps/generic/ldconfig.h). */
export const ldCacheFlags = { x86_64: 0x0303, i386: 0x0003, aarch64: 0x0a03 } as const;

/** The mark in hwcap of an entry whose low 32 bits are an index of the names of glibc-hwcaps. */
const hwcapExtension = 1n << 62n;

const oldMagic = 'ld.so-1.7.0';
const newMagic = 'glibc-ld.so.cache1.1';
const extensionMagic = 0xeaa42174;
const littleEndian = 2;
const generatorTag = 0;
const hwcapsTag = 1;

/** Sizes of struct cache_file, file_entry, cache_file_new, file_entry_new, cache_extension and cache_extension_section. */
const sizeBytes = { oldHeader: 16, oldEntry: 12, header: 48, entry: 24, extension: 8, section: 16 };

const maxEntries = 1 << 16;
/** Longer ones are no paths: PATH_MAX. */
const maxStringBytes = 4096;

/**
 * Reads /etc/ld.so.cache in its new format, alone or behind a part in the old one (glibc's sysdeps/generic/dl-cache.h and elf/cache.c).
 * null: damaged, big-endian, or the old format alone.
 */
export function readLdCache(content: Uint8Array): LdCache | null {
  const file = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const start = findNewFormat(file);
  if (start === null) return null;
  // Strings count from the new part's header, the extensions' offsets from the file's start.
  const cache = file.subarray(start);
  const endian = cache.readUInt8(28);
  // 0 is of an ldconfig that did not say; only readers of the same order could use its file.
  if (endian !== 0 && (endian & 3) !== littleEndian) return null;
  const count = cache.readUInt32LE(20);
  if (count > maxEntries || sizeBytes.header + count * sizeBytes.entry > cache.length) return null;
  const sections = findSections(file, cache.readUInt32LE(32));
  if (sections === null) return null;
  const text = fromBuffer(cache);
  const hwcapNames = readNames(text, sections.get(hwcapsTag));
  if (hwcapNames === null) return null;
  const entries: LdCacheEntry[] = [];
  for (let at = sizeBytes.header; entries.length < count; at += sizeBytes.entry) {
    const name = readString(text, cache.readUInt32LE(at + 4));
    const path = readString(text, cache.readUInt32LE(at + 8));
    const raw = cache.readBigUInt64LE(at + 16);
    const named = isExtension(raw);
    const hwcapName = named ? hwcapNames[Number(raw & 0xffffffffn)] : '';
    if (name === null || path === null || hwcapName === undefined) return null;
    const hwcap = named ? (raw >> 32n) << 32n : raw;
    const [flags, osVersion] = [cache.readInt32LE(at), cache.readUInt32LE(at + 12)];
    entries.push({ name, path, flags, osVersion, hwcap, hwcapName });
  }
  return { entries, generator: fromBuffer(sections.get(generatorTag) ?? Buffer.alloc(0)) };
}

/**
 * Makes such a file: the new format alone, which glibc reads since 2.2, little-endian. The entries keep their order, so they must be in
 * glibc's (insertLdCache). Without a generator and names of glibc-hwcaps it has no extensions.
 */
export function writeLdCache(entries: readonly LdCacheEntry[], generator: Bytes): Buffer {
  const hwcapNames = [...new Set(entries.map(({ hwcapName }) => hwcapName))].filter((name) => name !== '').sort();
  const strings = new StringTable(sizeBytes.header + entries.length * sizeBytes.entry);
  const table = Buffer.alloc(entries.length * sizeBytes.entry);
  entries.forEach(({ name, path, flags, osVersion, hwcap, hwcapName }, index) => {
    const at = index * sizeBytes.entry;
    const value = strings.add(path);
    table.writeInt32LE(flags, at);
    // A path ends with the library's name, and so it serves for both.
    table.writeUInt32LE(path.endsWith(name) ? value + path.length - name.length : strings.add(name), at + 4);
    table.writeUInt32LE(value, at + 8);
    table.writeUInt32LE(osVersion, at + 12);
    table.writeBigUInt64LE(hwcap | BigInt(hwcapName === '' ? 0 : hwcapNames.indexOf(hwcapName)), at + 16);
  });
  const hwcaps = Buffer.alloc(4 * hwcapNames.length);
  hwcapNames.forEach((name, index) => {
    hwcaps.writeUInt32LE(strings.add(name), 4 * index);
  });
  const extensionAt = Math.ceil(strings.end / 4) * 4;
  const sections = [
    { tag: hwcapsTag, data: hwcaps },
    { tag: generatorTag, data: toBuffer(generator) },
  ].filter(({ data }) => data.length > 0);
  const header = Buffer.alloc(sizeBytes.header);
  header.write(newMagic, 'latin1');
  header.writeUInt32LE(entries.length, 20);
  header.writeUInt32LE(strings.bytes.length, 24);
  header.writeUInt8(littleEndian, 28);
  header.writeUInt32LE(sections.length > 0 ? extensionAt : 0, 32);
  const padding = Buffer.alloc(extensionAt - strings.end);
  return Buffer.concat([header, table, toBuffer(strings.bytes), padding, ...writeExtensions(sections, extensionAt)]);
}

/**
 * A cache with more libraries. Added entries replace those of the same name and flags, whatever their hwcap. The order is that of ldconfig, in which of equals the first given is first; entries of the cache keep theirs.
 */
export function insertLdCache(cache: LdCache, added: readonly LdCacheEntry[]): LdCache {
  const key = ({ name, flags }: LdCacheEntry) => `${flags} ${name}`;
  const replaced = new Set(added.map(key));
  const waiting = [...added].sort(compareLdCacheEntries).reverse();
  const entries: LdCacheEntry[] = [];
  for (const entry of cache.entries) {
    if (replaced.has(key(entry))) continue;
    for (let next = waiting.at(-1); next && compareLdCacheEntries(entry, next) > 0; next = waiting.at(-1)) {
      entries.push(next);
      waiting.pop();
    }
    entries.push(entry);
  }
  return { entries: [...entries, ...waiting.reverse()], generator: cache.generator };
}

/** The order of ldconfig (compare in glibc's elf/cache.c): names and flags descend, then come subdirectories of glibc-hwcaps, then most capabilities. */
export function compareLdCacheEntries(one: LdCacheEntry, other: LdCacheEntry): number {
  const names = compareLibraryNames(other.name, one.name);
  if (names !== 0) return names;
  if (one.flags !== other.flags) return other.flags - one.flags;
  if (one.hwcapName !== other.hwcapName) {
    if (one.hwcapName === '' || other.hwcapName === '') return one.hwcapName === '' ? 1 : -1;
    return one.hwcapName < other.hwcapName ? -1 : 1;
  }
  // The extension's value is an index and an ISA level, by which ldconfig does not sort.
  if (one.hwcapName === '' && one.hwcap !== other.hwcap) {
    const bits = countBits(other.hwcap) - countBits(one.hwcap);
    return bits !== 0 ? bits : other.hwcap > one.hwcap ? 1 : -1;
  }
  return other.osVersion - one.osVersion;
}

/**
 * Compares names as _dl_cache_libcmp of glibc's elf/dl-cache.c does, on which the loader's search relies: runs of digits by their number,
 * which overflows as a C int does there, and are more than anything else; other bytes are signed as C's char on x86.
 */
export function compareLibraryNames(one: Bytes, other: Bytes): number {
  let [i, j] = [0, 0];
  while (i < one.length) {
    const [a, b] = [charAt(one, i), charAt(other, j)];
    if (isDigit(a) !== isDigit(b)) return isDigit(a) ? 1 : -1;
    if (isDigit(a)) {
      let [left, right] = [0, 0];
      for (; isDigit(charAt(one, i)); i++) left = (Math.imul(left, 10) + charAt(one, i) - 48) | 0;
      for (; isDigit(charAt(other, j)); j++) right = (Math.imul(right, 10) + charAt(other, j) - 48) | 0;
      if (left !== right) return (left - right) | 0;
    } else if (a !== b) {
      return a - b;
    } else {
      i++;
      j++;
    }
  }
  return 0 - charAt(other, j);
}

/** The byte as a signed char; 0 at the end. */
function charAt(text: Bytes, index: number): number {
  return index < text.length ? (text.charCodeAt(index) << 24) >> 24 : 0;
}

function isDigit(char: number): boolean {
  return char >= 48 && char <= 57;
}

function countBits(value: bigint): number {
  return value.toString(2).replaceAll('0', '').length;
}

function isExtension(hwcap: bigint): boolean {
  // The ten bits above the index are the ISA level.
  return (hwcap >> 42n) << 42n === hwcapExtension;
}

/** Where the header of the new format begins; null when there is none with all its bytes. */
function findNewFormat(file: Buffer): number | null {
  let start = 0;
  if (file.length >= sizeBytes.oldHeader && file.toString('latin1', 0, oldMagic.length) === oldMagic) {
    const end = sizeBytes.oldHeader + file.readUInt32LE(12) * sizeBytes.oldEntry;
    start = Math.ceil(end / 8) * 8;
  }
  if (start + sizeBytes.header > file.length) return null;
  return file.toString('latin1', start, start + newMagic.length) === newMagic ? start : null;
}

/** The data of the extensions by their tags; null when they do not lie in the file. */
function findSections(file: Buffer, offset: number): Map<number, Buffer> | null {
  const found = new Map<number, Buffer>();
  if (offset === 0) return found;
  if (offset % 4 !== 0 || offset + sizeBytes.extension > file.length) return null;
  if (file.readUInt32LE(offset) !== extensionMagic) return null;
  const first = offset + sizeBytes.extension;
  const end = first + file.readUInt32LE(offset + 4) * sizeBytes.section;
  if (end > file.length) return null;
  for (let at = first; at < end; at += sizeBytes.section) {
    const [from, size] = [file.readUInt32LE(at + 8), file.readUInt32LE(at + 12)];
    if (from + size > file.length) return null;
    found.set(file.readUInt32LE(at), file.subarray(from, from + size));
  }
  return found;
}

/** The names of the subdirectories of glibc-hwcaps, in the order of their indices. */
function readNames(text: Bytes, section: Buffer = Buffer.alloc(0)): Bytes[] | null {
  if (section.length % 4 !== 0 || section.length / 4 > maxEntries) return null;
  const names: Bytes[] = [];
  for (let at = 0; at < section.length; at += 4) {
    const name = readString(text, section.readUInt32LE(at));
    if (name === null || name === '') return null;
    names.push(name);
  }
  return names;
}

function readString(text: Bytes, offset: number): Bytes | null {
  const length = text.slice(offset, offset + maxStringBytes + 1).indexOf('\0');
  return length < 0 ? null : text.slice(offset, offset + length);
}

/** The extension directory and its data, for a place of the file that is a multiple of four. */
function writeExtensions(sections: readonly { tag: number; data: Buffer }[], offset: number): Buffer[] {
  if (sections.length === 0) return [];
  const directory = Buffer.alloc(sizeBytes.extension + sections.length * sizeBytes.section);
  directory.writeUInt32LE(extensionMagic, 0);
  directory.writeUInt32LE(sections.length, 4);
  let dataAt = offset + directory.length;
  sections.forEach(({ tag, data }, index) => {
    const at = sizeBytes.extension + index * sizeBytes.section;
    directory.writeUInt32LE(tag, at);
    directory.writeUInt32LE(dataAt, at + 8);
    directory.writeUInt32LE(data.length, at + 12);
    dataAt += data.length;
  });
  return [directory, ...sections.map(({ data }) => data)];
}

/** Strings that end with NUL, each once, and where in the file they begin. */
class StringTable {
  readonly #start: number;
  readonly #offsets = new Map<Bytes, number>();
  bytes: Bytes = '';

  constructor(start: number) {
    this.#start = start;
  }

  get end(): number {
    return this.#start + this.bytes.length;
  }

  add(text: Bytes): number {
    const known = this.#offsets.get(text);
    if (known !== undefined) return known;
    const offset = this.end;
    this.#offsets.set(text, offset);
    this.bytes += `${text}\0`;
    return offset;
  }
}
