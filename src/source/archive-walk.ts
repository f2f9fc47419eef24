// SPDX-License-Identifier: Apache-2.0
import { type Bytes, toText } from '../format/bytes.ts';
import { FormatError } from '../format/format-error.ts';
import { addGlobalRecords, addRecords, noAttributes, parseDecimal, parsePax } from '../layer/pax.ts';
import { blockSizeBytes, decodeHeader, isZeroBlock, type TarHeader } from '../layer/tar-header.ts';

/** Where the headers of an archive are read from. */
export interface ByteSource {
  /** The bytes at an offset; fewer only at the end. Offsets never go down. */
  read(offset: number, sizeBytes: number): Buffer;
}

/** A member of an archive that holds an image (not of a layer). */
export interface Member {
  /** Without `./` and a slash at the end; `..` resolved inside the archive. */
  readonly path: string;
  readonly kind: 'file' | 'symlink' | 'hardlink' | 'other';
  readonly link: string;
  /** Of its content in the archive. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Long names and pax headers are small; what is larger is no archive of an image. */
const maxExtensionBytes = 1 << 20;

/**
 * The members of a tar in order, reading headers only. Ends at two zero blocks or at the end of the file. Throws FormatError.
 * Source: tar(5): ustar, GNU long names ('L', 'K'), pax headers ('x', 'g').
 */
export function* walkArchive(source: ByteSource): Generator<Member> {
  let global = noAttributes;
  let local = noAttributes;
  let longPath = '';
  let longLink = '';
  let extensionBytes = 0;
  for (let at = 0; ; ) {
    const block = source.read(at, blockSizeBytes);
    if (block.length === 0 || (block.length === blockSizeBytes && isZeroBlock(block, 0))) return;
    if (block.length < blockSizeBytes) throw new FormatError('the archive ends in the middle of a header');
    const header = decodeHeader(block, 0);
    const content = at + blockSizeBytes;
    if ('xgLK'.includes(header.type)) {
      if (header.type !== 'g') extensionBytes += header.sizeBytes;
      if (extensionBytes > maxExtensionBytes) throw new FormatError('names and pax headers of more than 1 MiB');
      const bytes = readExtension(source, content, header);
      if (header.type === 'x') local = addRecords(local, parsePax(bytes));
      else if (header.type === 'g') global = addGlobalRecords(global, parsePax(bytes));
      else if (header.type === 'L') longPath = cutAtNul(bytes);
      else longLink = cutAtNul(bytes);
      at = content + roundUp(header.sizeBytes);
      continue;
    }
    const attribute = (key: string): Bytes | undefined => local.values.get(key) ?? global.values.get(key);
    const size = attribute('size');
    const sizeBytes = hasContent(header.type)
      ? size === undefined
        ? header.sizeBytes
        : parseDecimal(size, 'size')
      : 0;
    const path = toText(attribute('path') ?? (longPath || header.path));
    const link = toText(attribute('linkpath') ?? (longLink || header.link));
    yield { path: cleanPath(path), kind: kindOf(header.type, path), link, offset: content, sizeBytes };
    at = content + roundUp(sizeBytes);
    local = noAttributes;
    longPath = '';
    longLink = '';
    extensionBytes = 0;
  }
}

function readExtension(source: ByteSource, offset: number, { sizeBytes }: TarHeader): Buffer {
  if (sizeBytes > maxExtensionBytes) throw new FormatError('a name or pax header of more than 1 MiB');
  const bytes = source.read(offset, sizeBytes);
  if (bytes.length < sizeBytes) throw new FormatError('the archive ends in the middle of a header');
  return bytes;
}

function cutAtNul(bytes: Buffer): Bytes {
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end);
}

function roundUp(sizeBytes: number): number {
  return Math.ceil(sizeBytes / blockSizeBytes) * blockSizeBytes;
}

/** Links, devices, directories and pipes have none, whatever their size says. */
function hasContent(type: string): boolean {
  return !'123456'.includes(type);
}

function kindOf(type: string, path: string): Member['kind'] {
  if (type === '2') return 'symlink';
  if (type === '1') return 'hardlink';
  return (type === '0' || type === '7') && !path.endsWith('/') ? 'file' : 'other';
}

/** A path with `.`, `..` and empty parts resolved; nothing is above its top. */
export function cleanPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}
