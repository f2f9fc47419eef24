// SPDX-License-Identifier: Apache-2.0
import { closeSync, fstatSync, openSync } from 'node:fs';
import { explain, Failure } from '../failure.ts';
import { startsAsElf } from '../format/elf.ts';
import { FormatError, NotBundleError } from '../format/format-error.ts';
import type { Manifest } from '../format/manifest.ts';
import { type ReadAt, readAtDescriptor } from '../format/read-at.ts';
import { findSection, readManifestBytes, readSections, type SectionTable } from '../format/sections.ts';
import { readSuperblock, type Superblock, startsAsSquashfs } from '../image/superblock.ts';

/** An open regular file. */
export interface OpenFile {
  readonly path: string;
  readonly descriptor: number;
  readonly readAt: ReadAt;
  readonly sizeBytes: number;
  close(): void;
}

/** A bundle (or the tool itself) with its checked table, or a plain squashfs image. */
export type Opened =
  | { readonly kind: 'bundle'; readonly file: OpenFile; readonly table: SectionTable; readonly manifest: Manifest }
  | { readonly kind: 'image'; readonly file: OpenFile; readonly superblock: Superblock };

/** Opens a regular file for reading. Throws Failure when that cannot be done. */
export async function openFile(path: string): Promise<OpenFile> {
  return await explain(`cannot open ${path}`, () => {
    const descriptor = openSync(path, 'r');
    const close = () => closeSync(descriptor);
    const status = fstatSync(descriptor);
    if (!status.isFile()) {
      close();
      throw new Failure(`cannot use ${path}: ${status.isDirectory() ? 'it is a directory' : 'not a regular file'}`);
    }
    return { path, descriptor, readAt: readAtDescriptor(descriptor), sizeBytes: status.size, close };
  });
}

/** Opens a bundle or an image and makes the checks of every start. Throws Failure; damage is a FormatError that names the file. */
export async function openBundle(path: string): Promise<Opened> {
  const file = await openFile(path);
  try {
    return await identify(file);
  } catch (error) {
    file.close();
    throw error instanceof FormatError ? nameFile(error, path) : error;
  }
}

async function identify(file: OpenFile): Promise<Opened> {
  const head = file.readAt(0, 4);
  if (startsAsSquashfs(head)) return { kind: 'image', file, superblock: readSuperblock(file.readAt, file.sizeBytes) };
  if (!startsAsElf(head)) throw new NotBundleError('neither a bundle nor a squashfs image');
  const table = readSections(file.readAt, file.sizeBytes);
  const section = findSection(table, 'manifest');
  if (section === undefined) throw new FormatError('damaged: it has no manifest section');
  // The validator is only loaded for those who read a manifest.
  const { decodeManifest } = await import('./manifest.ts');
  return { kind: 'bundle', file, table, manifest: decodeManifest(readManifestBytes(file.readAt, section)) };
}

/** The same error with the file's name in front. */
export function nameFile(error: FormatError, path: string): FormatError {
  const Kind = error instanceof NotBundleError ? NotBundleError : FormatError;
  return new Kind(`${path}: ${error.message}`, error.hint);
}
