// SPDX-License-Identifier: Apache-2.0
import { FormatError } from '../format/format-error.ts';
import { parseDecimal } from './pax.ts';
import { blockSizeBytes, readNumber } from './tar-header.ts';

/** Where the stored bytes of a sparse file belong: pairs of offset and size, in order; everything else is zeros. */
export type SparseMap = readonly (readonly [offset: number, sizeBytes: number])[];

const maxSegments = 1 << 20;

/** Checks that a map is in order, fits the file's size and has as many bytes as are stored. Throws FormatError. */
export function checkSparseMap(flat: readonly number[], sizeBytes: number, storedBytes: number): SparseMap {
  if (flat.length % 2 !== 0) throw new FormatError('a sparse file whose map is incomplete');
  const map: [number, number][] = [];
  let end = 0;
  let stored = 0;
  for (let i = 0; i < flat.length; i += 2) {
    const [offset = 0, length = 0] = [flat[i], flat[i + 1]];
    if (offset < end || offset + length > sizeBytes)
      throw new FormatError('a sparse file whose map is out of order or too long');
    end = offset + length;
    stored += length;
    if (length > 0) map.push([offset, length]);
  }
  if (stored !== storedBytes)
    throw new FormatError(`a sparse file with ${storedBytes} bytes where its map has ${stored}`);
  return map;
}

/** The entries of an old GNU sparse header ('S') or of one of its extension blocks; `more` tells that another block follows. */
export function readGnuSegments(
  block: Buffer,
  at: number,
  kind: 'header' | 'extension',
): { flat: number[]; more: boolean } {
  const [start, count, flag] = kind === 'header' ? [386, 4, 482] : [0, 21, 504];
  const flat: number[] = [];
  for (let i = 0; i < count; i++) {
    const entry = at + start + i * 24;
    if (block[entry] === 0) break;
    flat.push(readNumber(block, entry, 12, 'sparse map'), readNumber(block, entry + 12, 12, 'sparse map'));
  }
  return { flat, more: block[at + flag] !== 0 };
}

/** The real size in an old GNU sparse header. */
export function readGnuRealSize(block: Buffer, at: number): number {
  return readNumber(block, at + 483, 12, 'real size');
}

/** GNU sparse format 0.1: `offset,size,offset,size`. */
export function parseSparseList(text: string): number[] {
  if (text === '') return [];
  const flat = text.split(',').map((part) => parseDecimal(part, 'sparse map'));
  if (flat.length > 2 * maxSegments) throw new FormatError('a sparse file with too many segments');
  return flat;
}

/**
 * GNU sparse format 1.0: the map stands in front of the content, a decimal number a line, the count first, filled up to whole blocks. Takes
 * what is there so far; null when there must be more, else the map and how many bytes it took. Throws FormatError.
 */
export function readSparsePrefix(content: Buffer): { flat: number[]; usedBytes: number } | null {
  let at = 0;
  const next = (): number | null => {
    const end = content.indexOf(10, at);
    if (end < 0) return null;
    const value = parseDecimal(content.toString('latin1', at, end), 'sparse map');
    at = end + 1;
    return value;
  };
  const count = next();
  if (count === null) return null;
  if (count > maxSegments) throw new FormatError('a sparse file with too many segments');
  const flat: number[] = [];
  while (flat.length < 2 * count) {
    const value = next();
    if (value === null) return null;
    flat.push(value);
  }
  const usedBytes = Math.ceil(at / blockSizeBytes) * blockSizeBytes;
  return usedBytes > content.length ? null : { flat, usedBytes };
}
