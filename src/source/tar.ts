// SPDX-License-Identifier: Apache-2.0
import type { Readable } from 'node:stream';
import { Failure } from '../failure.ts';
import { FormatError } from '../format/format-error.ts';
import { type ByteSource, walkArchive } from './archive-walk.ts';
import { BeyondHead, fileSource, headSource } from './byte-source.ts';
import { decompress, detectCompression, isBuiltIn } from './compression.ts';
import { openDockerArchive } from './docker-archive.ts';
import { openArchiveTree } from './file-tree.ts';
import type { Image } from './image.ts';
import { nameOfFile } from './names.ts';
import { openLayout } from './oci-layout.ts';
import { type OpenFile, openFile, readOnce, readRange } from './open-file.ts';
import type { SourceOptions } from './options.ts';
import { type Peeked, peek, spool } from './spool.ts';

/** What a tar holds: a root filesystem, or an image in one of the two forms of archives. */
export type TarKind = 'rootfs' | 'docker-archive' | 'oci-archive';

/** How much of a stream is kept in memory to see what it is. */
const headBytes = 1 << 20;

/** What archives of images have at their top, and root filesystems have not. */
const archiveName =
  /^(manifest\.json|repositories|index\.json|oci-layout|blobs|(sha256:)?[0-9a-f]{64}(\.json|\.tar)?(\.gz)?)$/;

/** Tells what a tar holds by its members' names; null when its first bytes do not tell. Throws FormatError when it is no tar. */
export function classifyTar(source: ByteSource): TarKind | null {
  const found = new Set<string>();
  try {
    for (const { path } of walkArchive(source)) {
      const [top = ''] = path.split('/');
      if (top === '') continue;
      if (!archiveName.test(top)) return 'rootfs';
      found.add(path);
    }
  } catch (error) {
    if (error instanceof BeyondHead) return null;
    throw error;
  }
  if (found.has('manifest.json')) return 'docker-archive';
  return found.has('oci-layout') && found.has('index.json') ? 'oci-archive' : 'rootfs';
}

/**
 * The image of a tar file: a root filesystem, which becomes its only layer, or an archive of docker save or of an OCI layout, told by its
 * content. It may be compressed. Throws Failure.
 * @param path of the file; '' for a stream, which is then given
 * @param source what the user wrote: `tar:FILE` or `-`
 */
export async function openTar(path: string, source: string, options: SourceOptions, stream?: Readable): Promise<Image> {
  if (stream !== undefined) return openStream(stream, 'standard input', source, options);
  const file = await openPlainFile(path);
  // A pipe or a device is read once, in order.
  if (!file.status.isFile()) return openStream(readOnce(file, path), path, source, options);
  return openRegularFile(file, path, source, options);
}

async function openPlainFile(path: string): Promise<OpenFile> {
  const file = await openFile(path);
  if (!file.status.isDirectory()) return file;
  file.close();
  throw new Failure(`cannot read ${path}: it is a directory`, {
    hint: `a root filesystem in a directory is dir:${path}`,
  });
}

async function openRegularFile(file: OpenFile, path: string, source: string, options: SourceOptions): Promise<Image> {
  let owned = true;
  const { size } = file.status;
  try {
    if (size === 0) throw new Failure(`cannot read ${path}: it is empty`);
    const stored = () => readRange(file, 0, size, path);
    const compression = detectCompression(Buffer.from(fileSource(file.descriptor, path).read(0, 8)));
    const kind =
      compression === 'none'
        ? classify(fileSource(file.descriptor, path), path)
        : await classifyStream(decompress(stored(), compression, path), path);
    if (kind === 'rootfs') {
      const open = async () => (isBuiltIn(compression) ? stored() : decompress(stored(), compression, path));
      const sizeBytes = isBuiltIn(compression) ? size : null;
      owned = false;
      return makeRootfsImage(source, nameOfFile(path), { open, sizeBytes, close: async () => file.close() });
    }
    const archive = compression === 'none' ? file : await spool(decompress(stored(), compression, path), path, options);
    owned = archive !== file;
    return await openKind(kind, archive, path, source, options);
  } finally {
    if (owned) file.close();
  }
}

async function openStream(stream: Readable, what: string, source: string, options: SourceOptions): Promise<Image> {
  const { head, all } = await peek(stream, 8);
  if (head.length === 0) throw new Failure(`cannot read ${what}: it is empty`);
  const plain = await peek(decompress(all, detectCompression(head), what), headBytes);
  const kind = classifyHead(plain, what);
  const name = what === 'standard input' ? 'image' : nameOfFile(what);
  if (kind !== 'rootfs') return openKind(kind, await spool(plain.all, what, options), what, source, options);
  let taken = false;
  const open = async (): Promise<Readable> => {
    if (taken) throw new Failure(`cannot read ${what} twice`);
    taken = true;
    return plain.all;
  };
  return makeRootfsImage(source, name, { open, sizeBytes: null, close: async () => void plain.all.destroy() });
}

function makeRootfsImage(
  source: string,
  name: string,
  layer: { open: () => Promise<Readable>; sizeBytes: number | null; close: () => Promise<void> },
): Image {
  return {
    reference: source,
    name,
    manifestDigest: '',
    config: null,
    layers: [{ digest: '', sizeBytes: layer.sizeBytes, open: layer.open }],
    close: layer.close,
  };
}

/** An archive in an uncompressed file that can be read in any order. null: what it is was not seen yet. */
async function openKind(
  kind: TarKind | null,
  file: OpenFile,
  what: string,
  source: string,
  options: SourceOptions,
): Promise<Image> {
  let seen = kind;
  if (seen === null) {
    try {
      seen = classify(fileSource(file.descriptor, what), what);
    } catch (error) {
      file.close();
      throw error;
    }
  }
  if (seen !== 'rootfs') {
    const tree = await openArchiveTree(file, what);
    return seen === 'docker-archive'
      ? openDockerArchive(tree, source, '', options)
      : openLayout(tree, source, '', options);
  }
  const { size } = file.status;
  const name = what === 'standard input' ? 'image' : nameOfFile(what);
  return makeRootfsImage(source, name, {
    open: async () => readRange(file, 0, size, what),
    sizeBytes: size,
    close: async () => file.close(),
  });
}

/** Lets go of what is refused: whoever writes it may have much more to say, and the process would wait for that. */
function classifyHead({ head, whole, all }: Peeked, what: string): TarKind | null {
  try {
    return classify(headSource(head, whole), what);
  } catch (error) {
    all.destroy();
    throw error;
  }
}

async function classifyStream(stream: Readable, what: string): Promise<TarKind | null> {
  const { head, whole, all } = await peek(stream, headBytes);
  all.destroy();
  return classify(headSource(head, whole), what);
}

function classify(source: ByteSource, what: string): TarKind | null {
  try {
    return classifyTar(source);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new Failure(`cannot read ${what}: ${error.message}`, {
      hint: 'it has to be a tar, maybe compressed',
      cause: error,
    });
  }
}

/**
 * Opens an archive for reading in any order: as it is when it is an uncompressed regular file, else from a temporary copy. Throws Failure.
 */
export async function openArchiveFile(path: string, options: SourceOptions): Promise<OpenFile> {
  const file = await openPlainFile(path);
  if (!file.status.isFile()) return spoolPlain(readOnce(file, path), path, options);
  const compression = detectCompression(Buffer.from(fileSource(file.descriptor, path).read(0, 8)));
  return compression === 'none' ? file : spoolPlain(readOnce(file, path), path, options);
}

async function spoolPlain(stream: Readable, path: string, options: SourceOptions): Promise<OpenFile> {
  const { head, all } = await peek(stream, 8);
  return spool(decompress(all, detectCompression(head), path), path, options);
}
