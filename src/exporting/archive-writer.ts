// SPDX-License-Identifier: Apache-2.0
import { ftruncateSync, write } from 'node:fs';
import { promisify } from 'node:util';
import { fromText } from '../format/bytes.ts';
import { type EntryKind, noXattrs, type TarEntry } from '../layer/tar-entry.ts';
import { blockSizeBytes, paddingOf } from '../layer/tar-header.ts';
import { encodeBlock, encodeHeader, endOfArchive } from '../layer/write-tar.ts';

const writeAt = promisify(write);

/**
 * Writes a tar into a seekable file, with nothing in it that differs from run to run: owner root, time 0. A member whose name and size are known only after
 * its content gets its header then.
 */
export class ArchiveWriter {
  readonly #descriptor: number;
  readonly #names = new Set<string>();
  #position = 0;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  async addDirectory(name: string): Promise<void> {
    await this.#put(encodeHeader(entryOf('dir', name, 0)));
  }

  async addFile(name: string, content: Buffer): Promise<void> {
    if (this.#names.has(name)) return;
    this.#names.add(name);
    await this.#put(encodeHeader(entryOf('file', name, content.length)));
    await this.#put(content);
    await this.#put(Buffer.alloc(paddingOf(content.length)));
  }

  /**
   * Adds a member that is written piece by piece. `fill` gets a function that appends, and gives the member's name (of at most 100 bytes). When a member of
   * that name is there already, this one is taken back.
   */
  async addStream(fill: (append: (chunk: Buffer) => Promise<void>) => Promise<string>): Promise<void> {
    const start = this.#position;
    this.#position += blockSizeBytes;
    const name = await fill((chunk) => this.#put(chunk));
    if (this.#names.has(name)) {
      this.#position = start;
      return;
    }
    this.#names.add(name);
    const sizeBytes = this.#position - start - blockSizeBytes;
    await this.#put(Buffer.alloc(paddingOf(sizeBytes)));
    await this.#putAt(encodeBlock(entryOf('file', name, sizeBytes)), start);
  }

  /** Ends the archive; gives the file's size. */
  async finish(): Promise<number> {
    await this.#put(endOfArchive);
    // A member that was taken back may have been longer.
    ftruncateSync(this.#descriptor, this.#position);
    return this.#position;
  }

  async #put(bytes: Buffer): Promise<void> {
    await this.#putAt(bytes, this.#position);
    this.#position += bytes.length;
  }

  async #putAt(bytes: Buffer, position: number): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      at += (await writeAt(this.#descriptor, bytes, at, bytes.length - at, position + at)).bytesWritten;
    }
  }
}

function entryOf(kind: EntryKind, name: string, sizeBytes: number): TarEntry {
  const mode = kind === 'dir' ? 0o755 : 0o644;
  return {
    path: fromText(name),
    kind,
    mode,
    uid: 0,
    gid: 0,
    mtimeSeconds: 0,
    sizeBytes,
    link: '',
    major: 0,
    minor: 0,
    xattrs: noXattrs,
  };
}
