// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { DirectoryEntry, InodeAttributes, Packer } from '../../src/launcher/pack.ts';

interface Recorded {
  readonly kind: 'file' | 'symlink' | 'dir';
  readonly attributes: InodeAttributes;
  readonly text: string;
  readonly entries: readonly DirectoryEntry[];
}

/** A packer that keeps in memory what it is told, and refuses what the real one does. */
export class RecordingPacker implements Packer {
  readonly contents: string[] = [];
  readonly failed = new Promise<never>(() => undefined);
  readonly #inodes = new Map<number, Recorded>();
  readonly #used = new Set<number>();
  #left = 0;

  storeFile(content: Buffer): number {
    return this.contents.push(content.toString('latin1')) - 1;
  }

  beginFile(sizeBytes: number): number {
    this.#left = sizeBytes;
    return this.contents.push('') - 1;
  }

  writeData(chunk: Buffer): void {
    this.#left -= chunk.length;
    this.contents[this.contents.length - 1] += chunk.toString('latin1');
  }

  writeHole(sizeBytes: number): void {
    this.writeData(Buffer.alloc(sizeBytes));
  }

  endFile(): void {
    if (this.#left !== 0) throw new Error(`a file with ${this.#left} bytes too few`);
  }

  defineXattrs(): number {
    return -1;
  }

  defineFile(number: number, attributes: InodeAttributes, content: number | null): void {
    const text = content === null ? '' : this.contents[content];
    if (text === undefined) throw new Error(`no content ${content}`);
    if (content !== null && this.#used.has(content)) throw new Error(`content ${content} in two files`);
    if (content !== null) this.#used.add(content);
    this.#define(number, { kind: 'file', attributes, text, entries: [] });
  }

  defineSymlink(number: number, attributes: InodeAttributes, target: Bytes): void {
    this.#define(number, { kind: 'symlink', attributes, text: target, entries: [] });
  }

  defineDevice(): void {
    throw new Error('a device');
  }

  defineFifo(): void {
    throw new Error('a fifo');
  }

  defineDirectory(
    number: number,
    attributes: InodeAttributes,
    _parent: number,
    entries: readonly DirectoryEntry[],
  ): void {
    for (const entry of entries) if (!this.#inodes.has(entry.number)) throw new Error(`${entry.name} comes later`);
    this.#define(number, { kind: 'dir', attributes, text: '', entries });
  }

  async drained(): Promise<void> {}

  finish(): Promise<{ sizeBytes: number; bytesUsed: number }> {
    return Promise.reject(new Error('not asked for'));
  }

  async abort(): Promise<void> {}

  #define(number: number, inode: Recorded): void {
    if (this.#inodes.has(number)) throw new Error(`inode ${number} comes twice`);
    this.#inodes.set(number, inode);
  }

  /** Lines like the naive extractor's. Throws when a count of links is wrong. */
  list(root: number): string[] {
    const lines: string[] = [];
    const first = new Map<number, string>();
    const links = new Map<number, number>();
    const visit = (path: string, number: number): void => {
      const { kind, attributes, text, entries } = this.#inodes.get(number) as Recorded;
      const { mode, mtimeSeconds, uid } = attributes;
      if (!first.has(number)) first.set(number, path);
      links.set(number, (links.get(number) ?? 0) + 1);
      lines.push(`${path} ${kind} ${mode} ${mtimeSeconds} ${uid} ${text} ${first.get(number)}`);
      for (const entry of entries) visit(`${path}/${entry.name}`, entry.number);
    };
    visit('', root);
    for (const [number, { kind, attributes, entries }] of this.#inodes) {
      const directories = entries.filter((entry) => this.#inodes.get(entry.number)?.kind === 'dir').length;
      const expected = kind === 'dir' ? 2 + directories : links.get(number);
      if (attributes.nlink !== expected) throw new Error(`${first.get(number)} has ${attributes.nlink} links`);
    }
    return lines;
  }
}
