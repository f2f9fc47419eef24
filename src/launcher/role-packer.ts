// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { Failure } from '../failure.ts';
import type { Bytes } from '../format/bytes.ts';
import type { DirectoryEntry, InodeAttributes, Packer } from './pack.ts';
import { RecordStream } from './record-stream.ts';
import { collectFacts, type RunningRole } from './role.ts';

const operations = { begin: 1, data: 2, end: 3, hole: 4, file: 5, xattrs: 6, inode: 7, directory: 8, finish: 9 };
const types = { file: 1, dir: 2, symlink: 3, char: 4, block: 5, fifo: 6 };
const headBytes = 27;
const none = 0xffff_ffff;
const written = Promise.resolve();

/** Whether squashfs has a place for an attribute of that full name: those of user, trusted and security (fs/squashfs/xattr.c of Linux). */
export function canStoreXattr(name: Bytes): boolean {
  return /^(user|trusted|security)\../s.test(name);
}

/** The nearest time that squashfs stores. */
export function clampTime(seconds: number): number {
  return Math.min(Math.max(Math.floor(seconds), 0), none);
}

/** The role does not know what it writes to. */
function nameTarget(error: unknown, name: string): unknown {
  const pattern = /^(?:write the image: (.)|(?=the launcher (?:was )?ended ))/;
  if (!(error instanceof Failure) || !pattern.test(error.message)) return error;
  const reason = error.message.replace(pattern, (_, first: string = '') => first.toLowerCase());
  const hint = error.hint || (/no space|quota/i.test(reason) ? 'make room there, or name another place' : '');
  return new Failure(`cannot write ${name}: ${reason}`, { hint, cause: error });
}

/** Sends what it is told to the role as records (docs/plan.md, role pack). */
export class RolePacker implements Packer {
  readonly #role: RunningRole;
  /** The role's end, with the image named in what it says. */
  readonly #ended: Promise<void>;
  readonly #records: RecordStream;
  readonly #complete: () => void;
  readonly #sets = new Map<string, number>();
  #answer = new Map<string, string>();
  #contents = 0;
  readonly failed: Promise<never>;
  /** Aborted when the role has ended. */
  readonly #gone = new AbortController();

  constructor(role: RunningRole, name = 'the image') {
    this.#role = role;
    this.#ended = role.ended.catch((error: unknown) => {
      throw nameTarget(error, name);
    });
    this.#records = new RecordStream(role.input);
    this.#complete = collectFacts(role, (facts) => {
      this.#answer = new Map(facts);
    });
    const note = (): void => this.#gone.abort();
    this.#ended.then(note, note);
    this.failed = this.#ended.then(() => new Promise<never>(() => {}));
    this.failed.catch(() => {});
  }

  storeFile(content: Buffer): number {
    this.#records.begin(operations.file, content.length);
    this.#records.bytes(content);
    return this.#contents++;
  }

  beginFile(sizeBytes: number): number {
    this.#records.begin(operations.begin, 8);
    this.#records.u64(sizeBytes);
    return this.#contents++;
  }

  writeData(chunk: Buffer): void {
    this.#records.begin(operations.data, chunk.length);
    this.#records.bytes(chunk);
  }

  writeHole(sizeBytes: number): void {
    this.#records.begin(operations.hole, 8);
    this.#records.u64(sizeBytes);
  }

  endFile(): void {
    this.#records.begin(operations.end, 0);
  }

  defineXattrs(set: ReadonlyMap<Bytes, Buffer>): number {
    const pairs = [...set].filter(([name]) => canStoreXattr(name)).sort(([a], [b]) => (a < b ? -1 : 1));
    if (pairs.length === 0) return -1;
    const key = pairs.map(([name, value]) => `${name}\0${value.length}\0${value.toString('latin1')}`).join('');
    const known = this.#sets.get(key);
    if (known !== undefined) return known;
    const sizeBytes = pairs.reduce((sum, [name, value]) => sum + 6 + name.length + value.length, 4);
    this.#records.begin(operations.xattrs, sizeBytes);
    this.#records.u32(pairs.length);
    for (const [name, value] of pairs) {
      this.#records.u16(name.length);
      this.#records.u32(value.length);
      this.#records.text(name);
      this.#records.bytes(value);
    }
    this.#sets.set(key, this.#sets.size);
    return this.#sets.size - 1;
  }

  #beginInode(
    operation: number,
    number: number,
    type: number,
    attributes: InodeAttributes,
    restBytes: number,
  ): RecordStream {
    const records = this.#records;
    records.begin(operation, headBytes + restBytes);
    records.u32(number);
    records.u8(type);
    records.u16(attributes.mode);
    records.u32(attributes.uid);
    records.u32(attributes.gid);
    records.u32(clampTime(attributes.mtimeSeconds));
    records.u32(attributes.nlink);
    records.u32(attributes.xattrs < 0 ? none : attributes.xattrs);
    return records;
  }

  defineFile(number: number, attributes: InodeAttributes, content: number | null): void {
    this.#beginInode(operations.inode, number, types.file, attributes, 4).u32(content ?? none);
  }

  defineSymlink(number: number, attributes: InodeAttributes, target: Bytes): void {
    this.#beginInode(operations.inode, number, types.symlink, attributes, target.length).text(target);
  }

  defineDevice(
    number: number,
    attributes: InodeAttributes,
    kind: 'char' | 'block',
    major: number,
    minor: number,
  ): void {
    const records = this.#beginInode(operations.inode, number, types[kind], attributes, 8);
    records.u32(major);
    records.u32(minor);
  }

  defineFifo(number: number, attributes: InodeAttributes): void {
    this.#beginInode(operations.inode, number, types.fifo, attributes, 0);
  }

  defineDirectory(
    number: number,
    attributes: InodeAttributes,
    parent: number,
    entries: readonly DirectoryEntry[],
  ): void {
    const restBytes = entries.reduce((sum, { name }) => sum + 6 + name.length, 8);
    const records = this.#beginInode(operations.directory, number, types.dir, attributes, restBytes);
    records.u32(parent);
    records.u32(entries.length);
    for (const entry of entries) {
      records.u32(entry.number);
      records.u16(entry.name.length);
      records.text(entry.name);
    }
  }

  drained(): Promise<void> {
    if (this.#gone.signal.aborted) return this.#fail();
    return this.#records.isFull() ? this.#drain() : written;
  }

  async #drain(): Promise<void> {
    try {
      await once(this.#role.input, 'drain', { signal: this.#gone.signal });
    } catch {
      await this.#fail();
    }
  }

  /** The role has ended, or will at once: it says why. */
  async #fail(): Promise<void> {
    await this.#ended;
    throw new Failure('the launcher ended before the image was complete');
  }

  async finish(inodes: number, root: number): Promise<{ sizeBytes: number; bytesUsed: number }> {
    this.#records.begin(operations.finish, 8);
    this.#records.u32(inodes);
    this.#records.u32(root);
    this.#records.flush();
    this.#role.input.end();
    await this.#ended;
    this.#complete();
    const sizeBytes = Number(this.#answer.get('size'));
    const bytesUsed = Number(this.#answer.get('bytes-used'));
    if (!(sizeBytes > 0 && bytesUsed > 0)) throw new Failure('the launcher gave no answer about the image');
    return { sizeBytes, bytesUsed };
  }

  async abort(): Promise<void> {
    this.#role.stop();
    this.#role.input.destroy();
    await this.#role.ended.catch(() => {});
  }
}
