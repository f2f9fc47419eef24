// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../format/bytes.ts';
import { FormatError } from '../format/format-error.ts';

/** A tar consists of blocks of this size. */
export const blockSizeBytes = 512;

/** How many bytes of zeros follow a content of this size. */
export function paddingOf(sizeBytes: number): number {
  return (blockSizeBytes - (sizeBytes % blockSizeBytes)) % blockSizeBytes;
}

/** One header block of a tar as it stands (POSIX ustar interchange format; tar(5)), before extensions change it. */
export interface TarHeader {
  /** With the ustar prefix in front. */
  readonly path: Bytes;
  /** The type's character; '0' for the NUL of old archives. */
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes that follow in the archive. */
  readonly sizeBytes: number;
  readonly mtimeSeconds: number;
  readonly link: Bytes;
  readonly major: number;
  readonly minor: number;
}

/** True when a block is all zeros: the mark of an archive's end. */
export function isZeroBlock(block: Buffer, at: number): boolean {
  for (let i = at; i < at + blockSizeBytes; i++) if (block[i] !== 0) return false;
  return true;
}

/** Reads the header block at an offset of a buffer. Throws FormatError when its checksum or one of its numbers is wrong. */
export function decodeHeader(block: Buffer, at: number): TarHeader {
  const checksum = readNumber(block, at + 148, 8, 'checksum');
  if (!matchesChecksum(block, at, checksum))
    throw new FormatError('a header with a wrong checksum: not a tar archive, or damaged');
  const magic = block.toString('latin1', at + 257, at + 265);
  const prefix = magic.startsWith('ustar\0') ? readText(block, at + 345, 155) : '';
  const name = readText(block, at, 100);
  const type = block.toString('latin1', at + 156, at + 157);
  const isDevice = type === '3' || type === '4';
  return {
    path: prefix === '' ? name : `${prefix}/${name}`,
    type: type === '\0' ? '0' : type,
    mode: readNumber(block, at + 100, 8, 'mode'),
    uid: readNumber(block, at + 108, 8, 'uid'),
    gid: readNumber(block, at + 116, 8, 'gid'),
    sizeBytes: readCount(block, at + 124, 12, 'size'),
    mtimeSeconds: readNumber(block, at + 136, 12, 'mtime'),
    link: readText(block, at + 157, 100),
    // Some writers leave them blank or fill them with rubbish where they mean nothing.
    major: isDevice ? readCount(block, at + 329, 8, 'major number') : 0,
    minor: isDevice ? readCount(block, at + 337, 8, 'minor number') : 0,
  };
}

/** The sum of the header's bytes with blanks for the checksum itself; very old writers summed signed bytes. */
function matchesChecksum(block: Buffer, at: number, checksum: number): boolean {
  let sum = 8 * 32;
  let signed = 8 * 32;
  for (let i = 0; i < blockSizeBytes; i++) {
    if (i >= 148 && i < 156) continue;
    const byte = block[at + i] as number;
    sum += byte;
    signed += byte < 128 ? byte : byte - 256;
  }
  return checksum === sum || checksum === signed;
}

/** Bytes up to the first NUL. */
function readText(block: Buffer, at: number, sizeBytes: number): Bytes {
  const end = block.indexOf(0, at);
  return block.toString('latin1', at, end < 0 || end > at + sizeBytes ? at + sizeBytes : end);
}

/**
 * A number in octal with blanks or NULs around it, or in base 256 (GNU: first bit set; a second one for negative numbers). Empty is 0.
 * Throws FormatError when it is neither, or too large to be exact.
 */
export function readNumber(block: Buffer, at: number, sizeBytes: number, what: string): number {
  const first = block[at] as number;
  if ((first & 0x80) !== 0) return readBinary(block, at, sizeBytes, what);
  let value = 0;
  let i = at;
  const end = at + sizeBytes;
  while (i < end && (block[i] === 32 || block[i] === 0)) i++;
  for (; i < end && block[i] !== 32 && block[i] !== 0; i++) {
    const digit = (block[i] as number) - 48;
    if (digit < 0 || digit > 7)
      throw new FormatError(`a header whose ${what} is no number: not a tar archive, or damaged`);
    value = value * 8 + digit;
  }
  if (!Number.isSafeInteger(value)) throw new FormatError(`a header whose ${what} is too large`);
  return value;
}

/** The same for what is never negative: with a negative size a reader would go back, and round and round. */
export function readCount(block: Buffer, at: number, sizeBytes: number, what: string): number {
  const value = readNumber(block, at, sizeBytes, what);
  if (value < 0) throw new FormatError(`a header whose ${what} is negative`);
  return value;
}

function readBinary(block: Buffer, at: number, sizeBytes: number, what: string): number {
  const negative = ((block[at] as number) & 0x40) !== 0;
  let value = BigInt((block[at] as number) & (negative ? 0xff : 0x7f));
  for (let i = 1; i < sizeBytes; i++) value = (value << 8n) | BigInt(block[at + i] as number);
  if (negative) value = BigInt.asIntN(sizeBytes * 8, value);
  if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER)) {
    throw new FormatError(`a header whose ${what} is too large`);
  }
  return Number(value);
}
