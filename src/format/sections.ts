// SPDX-License-Identifier: Apache-2.0
import { readElf } from './elf.ts';
import { FormatError, NotBundleError, TruncatedError } from './format-error.ts';
import { sha256 } from './hash-tree.ts';
import type { ReadAt } from './read-at.ts';

export const pageSizeBytes = 4096;
export const formatVersion = 1;
export const maxSections = 32;
const magic = 'BNDLRUN1';
const entriesAt = 32;
const entrySizeBytes = 72;
const nameSizeBytes = 16;
const digestAt = pageSizeBytes - 32;
const zeroPage = Buffer.alloc(pageSizeBytes);
/** The manifest is read whole at every start; a larger one is damage. */
export const maxManifestBytes = 64 << 20;

export interface Section {
  readonly name: string;
  readonly offset: number;
  readonly sizeBytes: number;
  /** Size when unpacked; the same as sizeBytes where that has no meaning. */
  readonly rawSizeBytes: number;
  /** SHA-256 of the bytes; of `payload`, the root of the hash tree. */
  readonly digest: Buffer;
}

/** A section before it has a place. */
export type SectionContent = Omit<Section, 'offset'>;

export interface SectionTable {
  /** Offset of the table page. */
  readonly tableOffset: number;
  /** Size of the whole file. */
  readonly fileSizeBytes: number;
  /** In the order of their offsets; the first is `launcher`. */
  readonly sections: readonly Section[];
}

/** The next multiple of the page size, or the offset itself. */
export function alignToPage(offset: number): number {
  return Math.ceil(offset / pageSizeBytes) * pageSizeBytes;
}

/** Where the table and every section go, from the sizes alone: first `launcher`, then the others in this order. */
export function placeSections(sizesBytes: readonly number[]): {
  tableOffset: number;
  offsets: number[];
  fileSizeBytes: number;
} {
  const tableOffset = alignToPage(sizesBytes[0] ?? 0);
  const offsets: number[] = [];
  let end = 0;
  for (const [i, size] of sizesBytes.entries()) {
    const offset = i === 0 ? 0 : i === 1 ? tableOffset + pageSizeBytes : alignToPage(end);
    offsets.push(offset);
    end = offset + size;
  }
  return { tableOffset, offsets, fileSizeBytes: offsets.length > 1 ? end : tableOffset + pageSizeBytes };
}

/** Gives sections their places, in the order given (`launcher` first). Throws FormatError when the format has no room for them. */
export function layOutSections(contents: readonly SectionContent[]): SectionTable {
  const { tableOffset, offsets, fileSizeBytes } = placeSections(contents.map((content) => content.sizeBytes));
  const sections = contents.map((content, i) => ({ ...content, offset: offsets[i] as number }));
  const table = { tableOffset, fileSizeBytes, sections };
  checkTable(table);
  return table;
}

/** The table page: 4096 bytes. */
export function encodeTable(table: SectionTable): Buffer {
  checkTable(table);
  const page = Buffer.alloc(pageSizeBytes);
  page.write(magic, 'latin1');
  page.writeUInt32LE(formatVersion, 8);
  page.writeUInt32LE(table.sections.length, 12);
  page.writeBigUInt64LE(BigInt(table.fileSizeBytes), 16);
  for (const [i, section] of table.sections.entries()) {
    const at = entriesAt + i * entrySizeBytes;
    page.write(section.name, at, 'latin1');
    page.writeBigUInt64LE(BigInt(section.offset), at + 16);
    page.writeBigUInt64LE(BigInt(section.sizeBytes), at + 24);
    page.writeBigUInt64LE(BigInt(section.rawSizeBytes), at + 32);
    section.digest.copy(page, at + 40);
  }
  sha256(page.subarray(0, digestAt)).copy(page, digestAt);
  return page;
}

/** Reads a table page and checks everything that can be checked without the rest of the file. Throws FormatError. */
export function decodeTable(page: Buffer, tableOffset: number): SectionTable {
  if (page.length !== pageSizeBytes) throw new TruncatedError('truncated: the file ends inside its section table');
  if (page.toString('latin1', 0, 8) !== magic) {
    throw new FormatError('no section table after the ELF file', 'a bundle is made with: bundler make IMAGE.sqsh');
  }
  if (!sha256(page.subarray(0, digestAt)).equals(page.subarray(digestAt))) {
    throw new FormatError('the section table is damaged: its SHA-256 does not fit', 'download or copy the file again');
  }
  const version = page.readUInt32LE(8);
  if (version !== formatVersion) {
    throw new FormatError(
      `format version ${version}; this bundler reads version ${formatVersion}`,
      'use the bundler that made the file, or a newer one',
    );
  }
  const count = page.readUInt32LE(12);
  if (count < 1 || count > maxSections) throw new FormatError(`damaged section table: ${count} sections`);
  const sections: Section[] = [];
  for (let i = 0; i < count; i++) {
    const at = entriesAt + i * entrySizeBytes;
    sections.push(decodeEntry(page.subarray(at, at + entrySizeBytes)));
  }
  if (!isZero(page.subarray(24, 32)) || !isZero(page.subarray(entriesAt + count * entrySizeBytes, digestAt))) {
    throw new FormatError('damaged section table: bytes that must be zero are not');
  }
  const table = { tableOffset, fileSizeBytes: toSize(page.readBigUInt64LE(16)), sections };
  checkTable(table);
  return table;
}

function decodeEntry(entry: Buffer): Section {
  const end = entry.subarray(0, nameSizeBytes).indexOf(0);
  const nameBytes = end < 0 ? nameSizeBytes : end;
  if (!isZero(entry.subarray(nameBytes, nameSizeBytes)))
    throw new FormatError('damaged section table: a name is not padded with NUL');
  return {
    name: entry.toString('latin1', 0, nameBytes),
    offset: toSize(entry.readBigUInt64LE(16)),
    sizeBytes: toSize(entry.readBigUInt64LE(24)),
    rawSizeBytes: toSize(entry.readBigUInt64LE(32)),
    digest: Buffer.from(entry.subarray(40, 72)),
  };
}

/** The rules of docs/format.md about names, order, places and sizes. */
function checkTable(table: SectionTable): void {
  const { sections } = table;
  const fail = (text: string): never => {
    throw new FormatError(`damaged section table: ${text}`);
  };
  if (sections.length < 1 || sections.length > maxSections) fail(`${sections.length} sections`);
  const names = new Set<string>();
  for (const section of sections) {
    if (!/^[!-~]{1,16}$/.test(section.name)) fail('a section has no proper name');
    if (names.has(section.name)) fail(`two sections are named ${section.name}`);
    if (section.digest.length !== 32) fail(`${section.name} has a digest of ${section.digest.length} bytes`);
    names.add(section.name);
  }
  if (sections[0]?.name !== 'launcher') fail('the first section is not launcher');
  const placed = placeSections(sections.map((section) => section.sizeBytes));
  if (placed.tableOffset !== table.tableOffset) {
    fail(`the launcher's ${sections[0]?.sizeBytes} bytes do not end at the table, at ${table.tableOffset}`);
  }
  for (const [i, section] of sections.entries()) {
    if (section.offset !== placed.offsets[i])
      fail(`${section.name} is at ${section.offset}, not at ${placed.offsets[i]}`);
  }
  if (placed.fileSizeBytes !== table.fileSizeBytes) {
    fail(`the sections end at ${placed.fileSizeBytes}, the file at ${table.fileSizeBytes}`);
  }
}

/**
 * Finds, reads and checks the section table of a file, its total size, the zero padding between the sections and the
 * manifest's SHA-256: what docs/format.md asks of every start. Throws FormatError (TruncatedError for a file that ends too early).
 */
export function readSections(readAt: ReadAt, fileSizeBytes: number): SectionTable {
  const elf = readElf(readAt);
  const tableOffset = alignToPage(elf.endOffset);
  if (fileSizeBytes === elf.endOffset) {
    throw new NotBundleError('an ELF file without sections', 'a bundle is made with: bundler make IMAGE.sqsh');
  }
  if (fileSizeBytes < tableOffset + pageSizeBytes) {
    throw new TruncatedError(
      `truncated: ${fileSizeBytes} bytes present, the section table ends at ${tableOffset + pageSizeBytes}`,
    );
  }
  const table = decodeTable(readAt(tableOffset, pageSizeBytes), tableOffset);
  const launcher = table.sections[0] as Section;
  if (launcher.sizeBytes !== elf.endOffset) {
    throw new FormatError(
      `the launcher was changed: it ends at ${elf.endOffset}, the section table says ${launcher.sizeBytes}`,
      'tools such as strip or patchelf must not be used on a bundle',
    );
  }
  checkFileSize(table, fileSizeBytes);
  checkPadding(readAt, table);
  const manifest = findSection(table, 'manifest');
  if (manifest !== undefined) readManifestBytes(readAt, manifest);
  return table;
}

function checkFileSize(table: SectionTable, presentBytes: number): void {
  const expectedBytes = table.fileSizeBytes;
  if (presentBytes < expectedBytes) {
    throw new TruncatedError(`truncated: ${describePair(expectedBytes, 'expected', presentBytes, 'present')}`);
  }
  if (presentBytes > expectedBytes) {
    throw new FormatError(
      `${presentBytes - expectedBytes} bytes follow the end of the bundle (${describePair(expectedBytes, 'expected', presentBytes, 'present')})`,
      'download or copy the file again; nothing may be appended to it',
    );
  }
}

function checkPadding(readAt: ReadAt, table: SectionTable): void {
  for (const [i, section] of table.sections.entries()) {
    // The last section ends the file; a launcher alone is followed by the table.
    if (i > 0 && i === table.sections.length - 1) break;
    const end = section.offset + section.sizeBytes;
    const paddingBytes = alignToPage(end) - end;
    const padding = readAt(end, paddingBytes);
    if (padding.length === paddingBytes && isZero(padding)) continue;
    throw new FormatError(
      `damaged: the padding after section ${section.name} is not zero (bytes ${end} to ${end + paddingBytes - 1})`,
      'download or copy the file again',
    );
  }
}

/** The section with this name, if the table has it. */
export function findSection(table: SectionTable, name: string): Section | undefined {
  return table.sections.find((section) => section.name === name);
}

/** The manifest's bytes, compared with their SHA-256. Throws FormatError. */
export function readManifestBytes(readAt: ReadAt, manifest: Section): Buffer {
  if (manifest.sizeBytes > maxManifestBytes) {
    throw new FormatError(`the manifest has ${manifest.sizeBytes} bytes, at most ${maxManifestBytes} are possible`);
  }
  const bytes = readAt(manifest.offset, manifest.sizeBytes);
  if (bytes.length !== manifest.sizeBytes || !sha256(bytes).equals(manifest.digest)) {
    throw new FormatError('the manifest is damaged: its SHA-256 does not fit', 'download or copy the file again');
  }
  return bytes;
}

/** For at most a page. */
function isZero(bytes: Buffer): boolean {
  return bytes.equals(zeroPage.subarray(0, bytes.length));
}

function toSize(value: bigint): number {
  if (value > 1n << 51n) throw new FormatError(`damaged section table: an offset or size of ${value} bytes`);
  return Number(value);
}

/** "594 MB expected, 210 MB present", or in bytes where both would read the same. */
function describePair(first: number, firstWord: string, second: number, secondWord: string): string {
  const inMegabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;
  if (inMegabytes(first) !== inMegabytes(second)) {
    return `${inMegabytes(first)} ${firstWord}, ${inMegabytes(second)} ${secondWord}`;
  }
  return `${first} bytes ${firstWord}, ${second} bytes ${secondWord}`;
}
