// SPDX-License-Identifier: Apache-2.0
import { FormatError } from '../format/format-error.ts';
import { parseDecimal } from './pax.ts';
import { readCount } from './tar-header.ts';

/** Where the stored bytes of a sparse file belong: pairs of offset and size, in order; everything else is zeros. */
export type SparseMap = readonly (readonly [offset: number, sizeBytes: number])[];

/** Of a sparse file; refused where they come one by one, before all are here. */
export const maxSegments = 1 << 20;

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
    flat.push(readCount(block, entry, 12, 'sparse map'), readCount(block, entry + 12, 12, 'sparse map'));
  }
  return { flat, more: block[at + flag] !== 0 };
}

/** The real size in an old GNU sparse header. */
export function readGnuRealSize(block: Buffer, at: number): number {
  return readCount(block, at + 483, 12, 'real size');
}

/** GNU sparse format 0.1: `offset,size,offset,size`. */
export function parseSparseList(text: string): number[] {
  if (text === '') return [];
  const flat = text.split(',').map((part) => parseDecimal(part, 'sparse map'));
  if (flat.length > 2 * maxSegments) throw new FormatError('a sparse file with too many segments');
  return flat;
}

/** Reads the map of GNU sparse format 1.0, which stands in front of the content: a decimal number a line, the count first, filled up to whole blocks. */
export class SparsePrefix {
  readonly flat: number[] = [];
  /** Bytes of the map so far. */
  usedBytes = 0;
  #count: number | null = null;
  /** The digits of a number that goes on in the next block. */
  #digits = '';

  /** Takes the next block; true when the map is complete. Throws FormatError. */
  take(block: Buffer): boolean {
    this.usedBytes += block.length;
    for (let at = 0; ; ) {
      const end = block.indexOf(10, at);
      this.#digits += block.toString('latin1', at, end < 0 ? block.length : end);
      if (end < 0) break;
      at = end + 1;
      if (this.#takeNumber()) return true;
    }
    // No number has more digits.
    if (this.#digits.length > 16) parseDecimal(this.#digits, 'sparse map');
    return false;
  }

  #takeNumber(): boolean {
    const value = parseDecimal(this.#digits, 'sparse map');
    this.#digits = '';
    if (this.#count === null) this.#count = value;
    else this.flat.push(value);
    if (this.#count > maxSegments) throw new FormatError('a sparse file with too many segments');
    return this.flat.length === 2 * this.#count;
  }
}
