// SPDX-License-Identifier: Apache-2.0
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { explain, Failure } from '../failure.ts';
import { FormatError } from '../format/format-error.ts';
import { cleanPath, type Member, walkArchive } from './archive-walk.ts';
import { fileSource } from './byte-source.ts';
import { type OpenFile, openFile, readOnce, readRange } from './open-file.ts';

/** The files of an image that is stored on this machine, by their path in it: a directory, or an archive that is never unpacked. */
export interface FileTree {
  /** As the user named it, for messages. */
  readonly what: string;
  /** Size of a regular file, links followed; null when there is none. */
  sizeOf(path: string): Promise<number | null>;
  /** Throws Failure when there is no such file. May be called again and at the same time. */
  open(path: string): Promise<Readable>;
  close(): Promise<void>;
}

const maxLinks = 16;

/** The tree of a directory. Throws Failure when it is none. */
export async function openDirectoryTree(directory: string, what: string): Promise<FileTree> {
  const status = await explain(`cannot read ${what}`, () => stat(directory));
  if (!status.isDirectory()) throw new Failure(`cannot read ${what}: ${directory} is not a directory`);
  return {
    what,
    async sizeOf(path) {
      const found = await stat(join(directory, cleanPath(path))).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
        return explain(`cannot read ${path} of ${what}`, () => Promise.reject(error));
      });
      return found?.isFile() ? found.size : null;
    },
    async open(path) {
      const file = join(directory, cleanPath(path));
      return readOnce(await openFile(file), file);
    },
    async close() {},
  };
}

/**
 * The tree of an uncompressed tar, of which only the headers are read now. Of members with the same path the last counts, as when it is unpacked.
 * Closes the file in the end. Throws Failure when it is no tar, or is cut short.
 */
export async function openArchiveTree(file: OpenFile, what: string): Promise<FileTree> {
  const members = new Map<string, Member>();
  const { size } = file.status;
  try {
    for (const member of walkArchive(fileSource(file.descriptor, what))) {
      if (member.offset + member.sizeBytes > size) throw new FormatError(`it ends inside ${member.path}`);
      members.set(member.path, member);
    }
  } catch (error) {
    file.close();
    if (error instanceof FormatError)
      throw new Failure(`cannot read ${what}: ${error.message}`, { hint: 'get it again' });
    throw error;
  }
  const find = (path: string): Member | null => {
    let at = cleanPath(path);
    for (let hops = 0; hops < maxLinks; hops++) {
      const member = members.get(at);
      if (member?.kind === 'file') return member;
      if (member?.kind !== 'symlink' && member?.kind !== 'hardlink') return null;
      at = cleanPath(member.kind === 'symlink' ? `${at}/../${member.link}` : member.link);
    }
    return null;
  };
  return {
    what,
    async sizeOf(path) {
      return find(path)?.sizeBytes ?? null;
    },
    async open(path) {
      const member = find(path);
      if (member === null) throw new Failure(`cannot read ${what}: it has no file ${path}`);
      return readRange(file, member.offset, member.sizeBytes, what);
    },
    async close() {
      file.close();
    },
  };
}

/** A whole small file. Throws Failure when it is missing or larger than the limit. */
export async function readSmallFile(tree: FileTree, path: string, maxBytes: number): Promise<Buffer> {
  const sizeBytes = await tree.sizeOf(path);
  if (sizeBytes === null) throw new Failure(`cannot read ${tree.what}: it has no file ${path}`);
  if (sizeBytes > maxBytes)
    throw new Failure(`cannot read ${tree.what}: its ${path} is larger than ${maxBytes >> 20} MiB`);
  return collect(await tree.open(path));
}

/** All bytes of a stream. */
export async function collect(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
