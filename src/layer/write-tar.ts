// SPDX-License-Identifier: Apache-2.0
import { isUtf8 } from 'node:buffer';
import { type Bytes, toBuffer } from '../format/bytes.ts';
import { FormatError } from '../format/format-error.ts';
import type { PaxRecord } from './pax.ts';
import type { EntryKind, TarEntry } from './tar-entry.ts';
import { blockSizeBytes, paddingOf } from './tar-header.ts';

/** What ends an archive: two blocks of zeros. */
export const endOfArchive = Buffer.alloc(2 * blockSizeBytes);

const types: Readonly<Record<EntryKind, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  char: '3',
  block: '4',
  dir: '5',
  fifo: '6',
};

/** Where the fields of a header are (POSIX ustar interchange format), and how many bytes they have. */
const fields = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  link: [157, 100],
  magic: [257, 8],
  major: [329, 8],
  minor: [337, 8],
  prefix: [345, 155],
} as const;

type Field = keyof typeof fields;

/**
 * The header of an entry: one block of ustar where that can say everything, else a pax extended header in front of it. Its content, sizeBytes of
 * it, and padding follow. The same entry always gives the same bytes. Names that are not ASCII are written as the bytes they are. Throws
 * FormatError for what no tar can say: NUL in a name, a device number of more than 21 bits.
 */
export function encodeHeader(entry: TarEntry): Buffer {
  const path = pathOf(entry);
  for (const text of [path, entry.link, ...entry.xattrs.keys()]) {
    if (text.includes('\0')) throw new FormatError(`a name with a NUL in it: ${JSON.stringify(text)}`);
  }
  const records: PaxRecord[] = [];
  const split = splitPath(path);
  if (split === null) records.push(['path', path]);
  const fitsLink = entry.link.length <= fields.link[1];
  if (!fitsLink) records.push(['linkpath', entry.link]);
  const sizeBytes = entry.kind === 'file' ? entry.sizeBytes : 0;
  const numbers: [Field, number][] = [
    ['size', sizeBytes],
    ['uid', entry.uid],
    ['gid', entry.gid],
    ['mtime', entry.mtimeSeconds],
  ];
  for (const [field, value] of numbers) if (!fits(field, value)) records.push([field, String(value)]);
  const names = records.filter(([key]) => key === 'path' || key === 'linkpath');
  // Without it, POSIX has them be UTF-8.
  if (!names.every(([, value]) => isUtf8(toBuffer(value)))) records.unshift(['hdrcharset', 'BINARY']);
  for (const name of [...entry.xattrs.keys()].sort()) {
    records.push([`SCHILY.xattr.${encodeKey(name)}`, (entry.xattrs.get(name) as Buffer).toString('latin1')]);
  }
  const [prefix, name] = split ?? ['', path.slice(0, fields.name[1])];
  const block = makeBlock(types[entry.kind], prefix, name, entry.link.slice(0, fields.link[1]), entry.mode);
  for (const [field, value] of numbers) putNumber(block, field, fits(field, value) ? value : 0);
  if (entry.kind === 'char' || entry.kind === 'block') {
    for (const [field, value] of [
      ['major', entry.major],
      ['minor', entry.minor],
    ] as const) {
      if (!fits(field, value)) throw new FormatError(`${path}: a device with the ${field} number ${value}`);
      putNumber(block, field, value);
    }
  }
  sign(block);
  return records.length === 0 ? block : Buffer.concat([encodePax(name, records), block]);
}

/**
 * The header of a file in one block whatever its size: in base 256 (GNU's way, which GNU tar, libarchive, Go and Python read) where octal digits do not
 * suffice. For a writer that leaves room for it and comes back. Throws FormatError when something else does not fit.
 */
export function encodeBlock(entry: TarEntry): Buffer {
  const block = encodeHeader(fits('size', entry.sizeBytes) ? entry : { ...entry, sizeBytes: 0 });
  if (block.length !== blockSizeBytes) throw new FormatError(`${entry.path}: more than one header block`);
  if (fits('size', entry.sizeBytes)) return block;
  const [at, sizeBytes] = fields.size;
  block.fill(0, at, at + sizeBytes);
  block[at] = 0x80;
  block.writeBigUInt64BE(BigInt(entry.sizeBytes), at + sizeBytes - 8);
  sign(block);
  return block;
}

/** A directory's path ends with a slash, by which old readers know it; the root is `./`. A file's does not, or they would take it for one. */
function pathOf({ path, kind }: TarEntry): Bytes {
  if (kind === 'dir') return path === '' ? './' : path.endsWith('/') ? path : `${path}/`;
  const bare = path.replace(/\/+$/, '');
  if (bare === '') throw new FormatError(`a ${kind} without a name`);
  return bare;
}

/** The two fields that make a path with a slash between them; null when it does not fit. */
function splitPath(path: Bytes): [prefix: Bytes, name: Bytes] | null {
  const [, nameBytes] = fields.name;
  const [, prefixBytes] = fields.prefix;
  if (path.length <= nameBytes) return ['', path];
  // The name must not be empty, and the first slash of an absolute path leaves no prefix.
  for (
    let at = path.indexOf('/', path.length - nameBytes - 1);
    at >= 0 && at < path.length - 1;
    at = path.indexOf('/', at + 1)
  ) {
    if (at > 0 && at <= prefixBytes) return [path.slice(0, at), path.slice(at + 1)];
  }
  return null;
}

/** Octal digits with a NUL after them. */
function fits(field: Field, value: number): boolean {
  return value >= 0 && value < 8 ** (fields[field][1] - 1);
}

function makeBlock(type: string, prefix: Bytes, name: Bytes, link: Bytes, mode: number): Buffer {
  const block = Buffer.alloc(blockSizeBytes);
  block.write(name, fields.name[0], 'latin1');
  block.write(link, fields.link[0], 'latin1');
  block.write(prefix, fields.prefix[0], 'latin1');
  block.write(type, fields.type[0], 'latin1');
  block.write('ustar\x0000', fields.magic[0], 'latin1');
  putNumber(block, 'mode', mode & 0o7777);
  putNumber(block, 'major', 0);
  putNumber(block, 'minor', 0);
  return block;
}

function putNumber(block: Buffer, field: Field, value: number): void {
  const [at, sizeBytes] = fields[field];
  block.write(value.toString(8).padStart(sizeBytes - 1, '0'), at, 'latin1');
}

/** The sum of all bytes, with blanks for itself. */
function sign(block: Buffer): void {
  const [at, sizeBytes] = fields.checksum;
  block.fill(' ', at, at + sizeBytes);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, at, 'latin1');
}

/** An extended header with its content, padded. */
function encodePax(name: Bytes, records: readonly PaxRecord[]): Buffer {
  const content = Buffer.from(records.map(encodeRecord).join(''), 'latin1');
  // Only for readers that do not know pax, which unpack it as a file.
  const base = name.replace(/\/+$/, '').split('/').at(-1) ?? '';
  const block = makeBlock('x', '', `PaxHeaders/${base}`.slice(0, fields.name[1]), '', 0o644);
  for (const field of ['uid', 'gid', 'mtime'] as const) putNumber(block, field, 0);
  if (!fits('size', content.length)) throw new FormatError(`${name}: extended attributes of ${content.length} bytes`);
  putNumber(block, 'size', content.length);
  sign(block);
  return Buffer.concat([block, content, Buffer.alloc(paddingOf(content.length))]);
}

/** `LENGTH KEY=VALUE\n`, where the length counts its own digits. */
function encodeRecord([key, value]: PaxRecord): Bytes {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}

/** A key ends at the first `=`; GNU tar (since 1.29) writes such a name so, and reads it. */
function encodeKey(name: Bytes): Bytes {
  return name.includes('=') ? name.replaceAll('%', '%25').replaceAll('=', '%3D') : name;
}
