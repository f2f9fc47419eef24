// SPDX-License-Identifier: Apache-2.0
import { FormatError, NotBundleError, TruncatedError } from './format-error.ts';
import type { ReadAt } from './read-at.ts';

const headerSizeBytes = 64;
const sectionTypeNoBits = 8;

/** What the header of an ELF file says. */
export interface ElfFacts {
  /** Offset of the first byte after everything that the headers describe (docs/format.md, "Finding the table"). */
  readonly endOffset: number;
  readonly machine: number;
}

/** True when the first bytes are those of an ELF file, of whatever kind. */
export function startsAsElf(head: Uint8Array): boolean {
  return head.length >= 4 && head[0] === 0x7f && head[1] === 0x45 && head[2] === 0x4c && head[3] === 0x46;
}

/**
 * Finds where a 64-bit little-endian ELF file ends, from its headers alone (elf(5)): the file may go on after that.
 * Throws FormatError for other files, TruncatedError when a header lies beyond the end of the file.
 */
export function readElf(readAt: ReadAt): ElfFacts {
  const header = readAt(0, headerSizeBytes);
  if (!startsAsElf(header)) throw new NotBundleError('not an ELF file');
  if (header.length < headerSizeBytes) throw new TruncatedError('truncated: the file ends inside its first header');
  if (header[4] !== 2 || header[5] !== 1) throw new FormatError('not a 64-bit little-endian ELF file');
  const machine = header.readUInt16LE(18);
  const programs = readTable(readAt, header, {
    offsetAt: 32,
    sizeAt: 54,
    countAt: 56,
    minSizeBytes: 56,
    what: 'program',
  });
  const sections = readTable(readAt, header, {
    offsetAt: 40,
    sizeAt: 58,
    countAt: 60,
    minSizeBytes: 64,
    what: 'section',
  });

  let endOffset = Math.max(header.readUInt16LE(52), programs.endOffset, sections.endOffset);
  for (const entry of programs.entries) {
    endOffset = Math.max(endOffset, toNumber(entry.readBigUInt64LE(8)) + toNumber(entry.readBigUInt64LE(32)));
  }
  for (const entry of sections.entries) {
    if (entry.readUInt32LE(4) === sectionTypeNoBits) continue;
    endOffset = Math.max(endOffset, toNumber(entry.readBigUInt64LE(24)) + toNumber(entry.readBigUInt64LE(32)));
  }
  return { endOffset, machine };
}

interface TableFields {
  readonly offsetAt: number;
  readonly sizeAt: number;
  readonly countAt: number;
  readonly minSizeBytes: number;
  readonly what: string;
}

function readTable(readAt: ReadAt, header: Buffer, fields: TableFields): { endOffset: number; entries: Buffer[] } {
  const offset = toNumber(header.readBigUInt64LE(fields.offsetAt));
  const entrySizeBytes = header.readUInt16LE(fields.sizeAt);
  const count = header.readUInt16LE(fields.countAt);
  if (count === 0) return { endOffset: 0, entries: [] };
  if (entrySizeBytes < fields.minSizeBytes) {
    throw new FormatError(`damaged ELF header: ${fields.what} headers of ${entrySizeBytes} bytes`);
  }
  const table = readAt(offset, count * entrySizeBytes);
  if (table.length < count * entrySizeBytes) {
    throw new TruncatedError(`truncated: the file ends before its ELF ${fields.what} headers`);
  }
  const entries: Buffer[] = [];
  for (let i = 0; i < count; i++) entries.push(table.subarray(i * entrySizeBytes, (i + 1) * entrySizeBytes));
  return { endOffset: offset + table.length, entries };
}

function toNumber(value: bigint): number {
  // No file is larger than this; it also keeps sums of two exact.
  if (value > 1n << 51n) throw new FormatError(`damaged ELF header: an offset or size of ${value} bytes`);
  return Number(value);
}
