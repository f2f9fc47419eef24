// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../format/bytes.ts';
import { FormatError } from '../format/format-error.ts';
import { type PaxAttributes, parseDecimal, parseTime, readXattrs } from './pax.ts';
import { parseSparseList } from './sparse.ts';
import { type EntryKind, noXattrs, type TarEntry } from './tar-entry.ts';
import type { TarHeader } from './tar-header.ts';

/** An entry, and how its content lies in the archive. */
export interface StoredEntry {
  readonly entry: TarEntry;
  readonly storedBytes: number;
  /** A sparse file: its map in pairs; or where it is: in the GNU header and the blocks after it, or in front of the content. null: not sparse. */
  readonly sparse: readonly number[] | 'gnu' | 'prefix' | null;
}

const kinds: Readonly<Record<string, EntryKind>> = {
  '0': 'file',
  '7': 'file',
  S: 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'dir',
  D: 'dir',
  '6': 'fifo',
};

/**
 * The entry that a header and the extended headers before it describe; null for what is no file (a volume's label). Throws FormatError for kinds
 * that no layer has (a part of a file of another volume).
 */
export function makeEntry(
  header: TarHeader,
  attributes: PaxAttributes,
  longPath: Bytes | null,
  longLink: Bytes | null,
): StoredEntry | null {
  const { values } = attributes;
  if (header.type === 'V') return null;
  let kind = kinds[header.type];
  if (kind === undefined)
    throw new FormatError(`an entry of the unknown kind ${JSON.stringify(header.type)}: ${header.path}`);
  const number = (key: string, otherwise: number): number => {
    const text = values.get(key);
    return text === undefined ? otherwise : parseDecimal(text, key);
  };
  const path = values.get('GNU.sparse.name') ?? values.get('path') ?? longPath ?? header.path;
  // Archives older than ustar have no kind for directories.
  if (header.type === '0' && path.endsWith('/')) kind = 'dir';
  const time = values.get('mtime');
  const storedBytes = number('size', header.sizeBytes);
  const sparse = header.type === 'S' ? 'gnu' : kind === 'file' ? findSparse(attributes) : null;
  const realSize = values.get('GNU.sparse.realsize') ?? values.get('GNU.sparse.size');
  const xattrs = values.size === 0 ? noXattrs : readXattrs(values);
  const isLink = kind === 'symlink' || kind === 'hardlink';
  const entry: TarEntry = {
    path,
    kind,
    mode: header.mode & 0o7777,
    uid: checkId(number('uid', header.uid), path),
    gid: checkId(number('gid', header.gid), path),
    mtimeSeconds: time === undefined ? header.mtimeSeconds : parseTime(time),
    sizeBytes:
      kind !== 'file' ? 0 : sparse !== null && realSize !== undefined ? parseDecimal(realSize, 'size') : storedBytes,
    link: isLink ? (values.get('linkpath') ?? longLink ?? header.link) : '',
    major: header.major,
    minor: header.minor,
    xattrs,
  };
  // Writers put sizes on links and devices that have no content: only files (and GNU's dumped directories) do.
  return { entry, storedBytes: kind === 'file' || header.type === 'D' ? storedBytes : 0, sparse };
}

function findSparse({ values, map }: PaxAttributes): StoredEntry['sparse'] {
  if (values.get('GNU.sparse.major') === '1') return 'prefix';
  const list = values.get('GNU.sparse.map');
  if (list !== undefined) return parseSparseList(list);
  return map.length > 0 || values.has('GNU.sparse.numblocks') ? map : null;
}

/** User and group ids have 32 bits; some writers give -1 or nobody's as a negative number. */
function checkId(id: number, path: Bytes): number {
  if (id < 0 && id >= -2) return id + 2 ** 32;
  if (id < 0 || id > 0xffffffff) throw new FormatError(`${path}: an owner with the number ${id}`);
  return id;
}
