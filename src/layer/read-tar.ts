// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../format/bytes.ts';
import { FormatError, TruncatedError } from '../format/format-error.ts';
import { addGlobalRecords, addRecords, noAttributes, type PaxAttributes, type PaxRecord, parsePax } from './pax.ts';
import {
  checkSparseMap,
  maxSegments,
  readGnuRealSize,
  readGnuSegments,
  type SparseMap,
  SparsePrefix,
} from './sparse.ts';
import { makeEntry, type StoredEntry } from './stored-entry.ts';
import type { TarEntry } from './tar-entry.ts';
import { blockSizeBytes, decodeHeader, isZeroBlock, paddingOf, type TarHeader } from './tar-header.ts';

/** Gets what is in an archive, in order. */
export interface TarVisitor {
  /** True when the content of this file is wanted: `data` and `hole` then give sizeBytes in all, and `end` follows. Never asked for empty files. */
  entry(entry: TarEntry): boolean;
  /** Bytes of the file's content; a part of what was written, which is not changed afterwards. */
  data(chunk: Buffer): void;
  hole(sizeBytes: number): void;
  end(): void;
}

/** Of all that comes before one entry. */
const maxExtensionBytes = 1 << 20;
const empty = Buffer.alloc(0);

type State = 'header' | 'extension' | 'gnu-sparse' | 'sparse-prefix' | 'content' | 'skip' | 'done';

/**
 * Reads a tar archive that is written to it in pieces of any size: ustar, pax, GNU (long names, sparse files, base-256 numbers) and old ones. Attributes
 * keep their bytes. Methods throw FormatError, TruncatedError from `end`.
 */
export class TarReader {
  #state: State = 'header';
  /** The beginning of a block, a header's extension or a sparse map that has not come whole. */
  #held: Buffer = empty;
  /** An extension that has not come whole. */
  #parts: Buffer[] = [];
  #extensionBytes = 0;
  /** Bytes of the current extension, or stored bytes of the current content, that have not come yet; or bytes to skip. */
  #left = 0;
  #padding = 0;
  #header: TarHeader | null = null;
  #zeroBlocks = 0;
  #global: PaxAttributes = noAttributes;
  #local: PaxRecord[] = [];
  #longPath: Bytes | null = null;
  #longLink: Bytes | null = null;
  #entry: StoredEntry | null = null;
  #sparse: number[] = [];
  #prefix: SparsePrefix | null = null;
  #map: SparseMap | null = null;
  #segment = 0;
  /** Bytes of the current segment that have come, and the position in the file. */
  #inSegment = 0;
  #position = 0;
  #wanted = false;
  readonly #visitor: TarVisitor;

  constructor(visitor: TarVisitor) {
    this.#visitor = visitor;
  }

  /** True when the archive's end has come; what follows is not read. */
  get done(): boolean {
    return this.#state === 'done';
  }

  write(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#state === 'done') return;
      if (this.#state === 'content') at = this.#takeContent(chunk, at);
      else if (this.#state === 'skip') at = this.#skip(chunk, at);
      else if (this.#state === 'extension') at = this.#takeExtension(chunk, at);
      else at = this.#takeBlock(chunk, at);
    }
  }

  /** No more comes. An archive may lack the two blocks of zeros that end it, as long as no entry is cut off. */
  end(): void {
    if (this.#state === 'done' || (this.#state === 'header' && this.#held.length === 0 && this.#header === null))
      return;
    if (this.#state === 'skip' && this.#header === null) return;
    throw new TruncatedError('truncated: the archive ends inside an entry');
  }

  #takeBlock(chunk: Buffer, at: number): number {
    if (this.#held.length === 0 && chunk.length - at >= blockSizeBytes) {
      this.#handleBlock(chunk, at);
      return at + blockSizeBytes;
    }
    const part = Math.min(blockSizeBytes - this.#held.length, chunk.length - at);
    this.#held = Buffer.concat([this.#held, chunk.subarray(at, at + part)]);
    if (this.#held.length === blockSizeBytes) {
      const block = this.#held;
      this.#held = empty;
      this.#handleBlock(block, 0);
    }
    return at + part;
  }

  #handleBlock(block: Buffer, at: number): void {
    if (this.#prefix !== null) {
      this.#handleSparsePrefix(this.#prefix, block.subarray(at, at + blockSizeBytes));
      return;
    }
    if (this.#state === 'gnu-sparse') {
      const { flat, more } = readGnuSegments(block, at, 'extension');
      this.#sparse.push(...flat);
      if (this.#sparse.length > 2 * maxSegments) throw new FormatError('a sparse file with too many segments');
      if (!more) this.#beginSparse();
      return;
    }
    if (isZeroBlock(block, at)) {
      this.#zeroBlocks += 1;
      if (this.#zeroBlocks === 2) this.#finish();
      return;
    }
    if (this.#zeroBlocks > 0) throw new FormatError('a block of zeros between entries: not a tar archive, or damaged');
    this.#handleHeader(decodeHeader(block, at), block, at);
  }

  #handleHeader(header: TarHeader, block: Buffer, at: number): void {
    if ('xgXLK'.includes(header.type)) {
      if (header.type !== 'g') this.#extensionBytes += header.sizeBytes;
      if (Math.max(header.sizeBytes, this.#extensionBytes) > maxExtensionBytes)
        throw new FormatError(`an extended header of ${Math.max(header.sizeBytes, this.#extensionBytes)} bytes`);
      this.#header = header;
      this.#left = header.sizeBytes;
      this.#padding = paddingOf(header.sizeBytes);
      this.#state = 'extension';
      if (header.sizeBytes === 0) this.#handleExtension();
      return;
    }
    const attributes = this.#local.length === 0 ? this.#global : addRecords(this.#global, this.#local);
    const stored = makeEntry(header, attributes, this.#longPath, this.#longLink);
    this.#local = [];
    this.#extensionBytes = 0;
    this.#longPath = null;
    this.#longLink = null;
    if (stored === null) {
      this.#skipContent(header.sizeBytes);
      return;
    }
    this.#entry = stored;
    this.#header = header;
    this.#map = null;
    this.#left = stored.storedBytes;
    this.#padding = paddingOf(stored.storedBytes);
    if (stored.sparse === 'gnu') {
      const { flat, more } = readGnuSegments(block, at, 'header');
      this.#entry = { ...stored, entry: { ...stored.entry, sizeBytes: readGnuRealSize(block, at) } };
      this.#sparse = flat;
      if (more) this.#state = 'gnu-sparse';
      else this.#beginSparse();
    } else if (stored.sparse === 'prefix') {
      this.#state = 'sparse-prefix';
      this.#prefix = new SparsePrefix();
    } else if (stored.sparse === null) {
      this.#beginContent();
    } else {
      this.#sparse = [...stored.sparse];
      this.#beginSparse();
    }
  }

  #takeExtension(chunk: Buffer, at: number): number {
    const part = Math.min(this.#left, chunk.length - at);
    this.#parts.push(chunk.subarray(at, at + part));
    this.#left -= part;
    if (this.#left === 0) this.#handleExtension();
    return at + part;
  }

  #handleExtension(): void {
    const content = this.#parts.length === 1 ? (this.#parts[0] as Buffer) : Buffer.concat(this.#parts);
    const type = this.#header?.type;
    this.#parts = [];
    if (type === 'L') this.#longPath = upToNul(content);
    else if (type === 'K') this.#longLink = upToNul(content);
    else if (type === 'g') this.#global = addGlobalRecords(this.#global, parsePax(content));
    else for (const record of parsePax(content)) this.#local.push(record);
    this.#skipPadding();
    // An entry must follow what is about it.
    if (type === 'g') this.#header = null;
  }

  #handleSparsePrefix(prefix: SparsePrefix, block: Buffer): void {
    const complete = prefix.take(block);
    if (prefix.usedBytes > this.#left || (!complete && prefix.usedBytes === this.#left)) {
      throw new FormatError('a sparse file whose map is incomplete');
    }
    if (!complete) return;
    this.#left -= prefix.usedBytes;
    this.#sparse = prefix.flat;
    this.#prefix = null;
    this.#beginSparse();
  }

  #beginSparse(): void {
    const { entry } = this.#entry as StoredEntry;
    this.#map = checkSparseMap(this.#sparse, entry.sizeBytes, this.#left);
    this.#sparse = [];
    this.#beginContent();
  }

  #beginContent(): void {
    const { entry } = this.#entry as StoredEntry;
    this.#segment = 0;
    this.#inSegment = 0;
    this.#position = 0;
    this.#wanted = this.#visitor.entry(entry) && entry.sizeBytes > 0 && entry.kind === 'file';
    this.#state = 'content';
    if (this.#left === 0) this.#endContent();
  }

  #takeContent(chunk: Buffer, at: number): number {
    const part = Math.min(this.#left, chunk.length - at);
    if (this.#wanted) this.#giveContent(chunk, at, part);
    this.#left -= part;
    if (this.#left === 0) this.#endContent();
    return at + part;
  }

  #giveContent(chunk: Buffer, start: number, sizeBytes: number): void {
    if (this.#map === null) {
      this.#visitor.data(start === 0 && sizeBytes === chunk.length ? chunk : chunk.subarray(start, start + sizeBytes));
      return;
    }
    for (let at = start; at < start + sizeBytes; ) {
      const [offset = 0, length = 0] = this.#map[this.#segment] ?? [];
      if (offset > this.#position) {
        this.#visitor.hole(offset - this.#position);
        this.#position = offset;
      }
      const part = Math.min(length - this.#inSegment, start + sizeBytes - at);
      this.#visitor.data(chunk.subarray(at, at + part));
      at += part;
      this.#inSegment += part;
      this.#position += part;
      if (this.#inSegment === length) {
        this.#segment += 1;
        this.#inSegment = 0;
      }
    }
  }

  #endContent(): void {
    if (this.#wanted) {
      const { entry } = this.#entry as StoredEntry;
      if (this.#map !== null && this.#position < entry.sizeBytes) this.#visitor.hole(entry.sizeBytes - this.#position);
      this.#visitor.end();
    }
    this.#entry = null;
    this.#header = null;
    this.#skipPadding();
  }

  #skipContent(sizeBytes: number): void {
    this.#header = null;
    this.#left = sizeBytes + paddingOf(sizeBytes);
    this.#state = this.#left > 0 ? 'skip' : 'header';
  }

  #skipPadding(): void {
    this.#left = this.#padding;
    this.#padding = 0;
    this.#state = this.#left > 0 ? 'skip' : 'header';
  }

  #skip(chunk: Buffer, at: number): number {
    const part = Math.min(this.#left, chunk.length - at);
    this.#left -= part;
    if (this.#left === 0) this.#state = 'header';
    return at + part;
  }

  #finish(): void {
    if (this.#header !== null || this.#local.length > 0 || this.#longPath !== null || this.#longLink !== null) {
      throw new FormatError('an extended header without an entry');
    }
    this.#state = 'done';
  }
}

function upToNul(content: Buffer): Bytes {
  const end = content.indexOf(0);
  return content.toString('latin1', 0, end < 0 ? content.length : end);
}
