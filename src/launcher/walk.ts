// SPDX-License-Identifier: Apache-2.0
import { Failure } from '../failure.ts';
import { type Bytes, fromText } from '../format/bytes.ts';
import type { Fact } from '../format/wire.ts';
import { type EntryKind, noXattrs, type TarEntry } from '../layer/tar-entry.ts';
import { firstDescriptor, startRole } from './role.ts';

/** What is walked: a squashfs image inside an open file, or a directory of this host. */
export type WalkedSource =
  | { readonly descriptor: number; readonly offset: number; readonly sizeBytes: number }
  | { readonly directory: string };

/**
 * An entry with its path relative to the root, which is ''. A further name of an inode is a `hardlink` whose link is the first path;
 * everything else of it is what the inode has.
 */
export interface WalkedEntry extends TarEntry {
  /** The same for all names of an inode, and no other. */
  readonly inode: number;
  /** As the source tells it; names outside of it count too. */
  readonly nlink: number;
}

/** Parents come before what is in them, names in the order of bytes. */
export interface TreeVisitor {
  /** With 'follows' the content comes next: sizeBytes of it, in pieces. */
  entry(entry: WalkedEntry, content: 'none' | 'follows'): void;
  /** The buffer is never written again. */
  data(chunk: Buffer): void;
  /** The content is complete. */
  end?(): void;
  /** Awaited now and then: nothing more is read until it resolves. */
  drained?(): Promise<void>;
}

const operations = { entry: 1, link: 2, data: 3, end: 4 };
const kinds: readonly (EntryKind | undefined)[] = [undefined, 'file', 'dir', 'symlink', 'char', 'block', 'fifo'];

/**
 * Has the launcher's role walk read an image or a directory, and tells the visitor. What is mounted below a directory is left out.
 * Gives the number of sockets, which are left out too. Throws Failure, also for what cannot be read.
 */
export async function walkTree(source: WalkedSource, visitor: TreeVisitor): Promise<{ skippedSockets: number }> {
  const [facts, descriptors] = describeSource(source);
  const role = startRole([['role', 'walk'], ...facts], { descriptors });
  role.input.end();
  const reader = new WalkReader(visitor);
  try {
    for await (const chunk of role.output as AsyncIterable<Buffer>) {
      reader.take(chunk);
      await visitor.drained?.();
    }
  } catch (error) {
    role.stop();
    await role.ended.catch(() => {});
    throw error;
  }
  await role.ended;
  if (reader.skippedSockets === null) throw new Failure('the launcher gave an incomplete answer');
  return { skippedSockets: reader.skippedSockets };
}

function describeSource(source: WalkedSource): [Fact[], number[]] {
  if ('directory' in source) return [[['directory', fromText(source.directory)]], []];
  return [
    [
      ['source', String(firstDescriptor)],
      ['offset', String(source.offset)],
      ['size', String(source.sizeBytes)],
    ],
    [source.descriptor],
  ];
}

/** Cuts the stream into its records, wherever it is cut. Content is handed on as it comes. */
class WalkReader {
  readonly #visitor: TreeVisitor;
  /** The first path of each inode with several names. */
  readonly #paths = new Map<number, Bytes>();
  /** The beginning of a record, in the pieces in which it came, and how many bytes are wanted to go on. */
  #pieces: Buffer[] = [];
  #heldBytes = 0;
  #wantedBytes = 0;
  /** Bytes of the data record at hand, and of the content at hand, that are still to come. */
  #recordLeft = 0;
  #contentLeft = 0;
  /** null until the end has come. */
  skippedSockets: number | null = null;

  constructor(visitor: TreeVisitor) {
    this.#visitor = visitor;
  }

  take(chunk: Buffer): void {
    if (this.#pieces.length === 0) {
      this.#takeAll(chunk);
      return;
    }
    // A record of many attributes comes in many chunks: joining them each time would cost the square of its size.
    this.#pieces.push(chunk);
    this.#heldBytes += chunk.length;
    if (this.#heldBytes < this.#wantedBytes) return;
    const bytes = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#takeAll(bytes);
  }

  #takeAll(bytes: Buffer): void {
    let at = 0;
    for (;;) {
      at += this.#takeData(bytes, at);
      if (bytes.length - at < 5) break;
      const sizeBytes = bytes.readUInt32LE(at);
      if (bytes[at + 4] === operations.data) {
        this.#recordLeft = sizeBytes - 1;
        at += 5;
        continue;
      }
      if (bytes.length - at - 4 < sizeBytes) break;
      this.#takeRecord(bytes.subarray(at + 4, at + 4 + sizeBytes));
      at += 4 + sizeBytes;
    }
    if (at < bytes.length) this.#hold(bytes.subarray(at));
  }

  #hold(bytes: Buffer): void {
    this.#pieces = [bytes];
    this.#heldBytes = bytes.length;
    this.#wantedBytes = bytes.length < 5 ? 5 : 4 + bytes.readUInt32LE(0);
  }

  #takeData(bytes: Buffer, at: number): number {
    const sizeBytes = Math.min(this.#recordLeft, bytes.length - at);
    if (sizeBytes === 0) return 0;
    if (sizeBytes > this.#contentLeft) throw new Failure('the launcher sent more content than it announced');
    this.#visitor.data(bytes.subarray(at, at + sizeBytes));
    this.#recordLeft -= sizeBytes;
    this.#contentLeft -= sizeBytes;
    if (this.#contentLeft === 0) this.#visitor.end?.();
    return sizeBytes;
  }

  #takeRecord(record: Buffer): void {
    const operation = record[0];
    if (this.#contentLeft > 0) throw new Failure('the launcher sent less content than it announced');
    if (operation === operations.end) {
      this.skippedSockets = record.readUInt32LE(1);
    } else if (operation === operations.entry || operation === operations.link) {
      const entry = this.#readEntry(record, operation === operations.link);
      this.#contentLeft = entry.kind === 'file' ? entry.sizeBytes : 0;
      this.#visitor.entry(entry, this.#contentLeft > 0 ? 'follows' : 'none');
    } else {
      throw new Failure(`the launcher sent an unknown record ${operation}`);
    }
  }

  #readEntry(record: Buffer, isLink: boolean): WalkedEntry {
    const kind = kinds[record.readUInt8(1)];
    if (kind === undefined) throw new Failure('the launcher sent an entry of an unknown kind');
    const inode = Number(record.readBigUInt64LE(32));
    const nlink = record.readUInt32LE(28);
    const pathEnd = 52 + record.readUInt32LE(48);
    const linkEnd = pathEnd + 4 + record.readUInt32LE(pathEnd);
    const path = record.toString('latin1', 52, pathEnd);
    if (nlink > 1 && !isLink && kind !== 'dir') this.#paths.set(inode, path);
    return {
      path,
      kind: isLink ? 'hardlink' : kind,
      mode: record.readUInt16LE(2),
      uid: record.readUInt32LE(4),
      gid: record.readUInt32LE(8),
      mtimeSeconds: Number(record.readBigInt64LE(12)),
      sizeBytes: kind === 'file' && !isLink ? Number(record.readBigUInt64LE(20)) : 0,
      link: isLink ? (this.#paths.get(inode) ?? '') : record.toString('latin1', pathEnd + 4, linkEnd),
      major: record.readUInt32LE(40),
      minor: record.readUInt32LE(44),
      xattrs: readXattrs(record, linkEnd),
      inode,
      nlink,
    };
  }
}

function readXattrs(record: Buffer, start: number): ReadonlyMap<Bytes, Buffer> {
  const count = record.readUInt16LE(start);
  if (count === 0) return noXattrs;
  const xattrs = new Map<Bytes, Buffer>();
  let at = start + 2;
  for (let i = 0; i < count; i += 1) {
    const nameEnd = at + 6 + record.readUInt16LE(at);
    const valueEnd = nameEnd + record.readUInt32LE(at + 2);
    // A copy: the record is part of a much larger buffer.
    xattrs.set(record.toString('latin1', at + 6, nameEnd), Buffer.from(record.subarray(nameEnd, valueEnd)));
    at = valueEnd;
  }
  return xattrs;
}
