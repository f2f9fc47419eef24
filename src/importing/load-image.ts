// SPDX-License-Identifier: Apache-2.0
import { lstatSync, mkdirSync, renameSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { onInterrupt } from '../cleanup.ts';
import { explain, Failure } from '../failure.ts';
import { fromText } from '../format/bytes.ts';
import { runRole } from '../launcher/role.ts';
import type { Image } from '../source/image.ts';
import { createAnonymousFile } from './anonymous-file.ts';
import { type WriteRequest, writeImage } from './import-image.ts';
import { removeTree } from './remove-tree.ts';

export interface LoadRequest extends WriteRequest {
  /** The directory of the container. */
  readonly target: string;
  readonly force: boolean;
  readonly quiet: boolean;
}

/** Of a directory's 255, with room for what it is called until it is whole. */
const maxNameBytes = 200;

/** What is fast to write and to read again, and much smaller than the files. */
const transient = {
  compressor: 'lz4',
  level: null,
  blockSizeBytes: 128 << 10,
  uncompressed: { inodes: true },
} as const;

/**
 * Unpacks an image as the root filesystem of a container, by way of a file without a name beside it. The directory appears when it is whole; files belong to the caller, or for root to
 * whom the image says. Throws Failure; then nothing is left behind but the cache.
 */
export async function loadImage(image: Image, request: LoadRequest): Promise<void> {
  const { target, force } = request;
  const parent = dirname(target);
  const name = basename(target);
  if (Buffer.byteLength(name) > maxNameBytes) {
    throw new Failure(`cannot load ${name}: the name is too long for a container`, { hint: 'give a shorter --name' });
  }
  await explain(`cannot make ${parent}`, () => mkdirSync(parent, { recursive: true, mode: 0o700 }));
  const exists = lstatSync(target, { throwIfNoEntry: false }) !== undefined;
  if (exists && !force) {
    throw new Failure(`cannot load ${name}: the container ${target} exists`, {
      hint: 'replace it with --force, or give another --name',
    });
  }
  const file = await createAnonymousFile(parent);
  try {
    const packing = { ...request.packing, options: { ...transient, threads: request.packing.options.threads } };
    const { sizeBytes } = await explain(`cannot write to ${parent}`, () =>
      writeImage(image, file.descriptor, { ...request, packing }, `to ${parent}`),
    );
    await unpack(file.path, sizeBytes, target, exists, request.quiet);
  } finally {
    file.close();
  }
}

async function unpack(
  image: string,
  sizeBytes: number,
  target: string,
  exists: boolean,
  quiet: boolean,
): Promise<void> {
  const partial = join(dirname(target), `.${basename(target)}.partial-${process.pid}`);
  // A signal that comes when the tree is whole waits until it is in its place.
  const forget = onInterrupt(() => {});
  try {
    await runRole(
      [
        ['role', 'extract'],
        ['file', fromText(image)],
        ['offset', '0'],
        ['size', String(sizeBytes)],
        ['target', fromText(partial)],
        ['quiet', quiet ? '1' : '0'],
      ],
      { show: true },
    );
    const old = exists ? `${partial}-old` : null;
    await explain(`cannot put ${target} in its place`, () => replace(partial, target, old));
    if (old !== null) {
      const hint = 'remove it as somebody who may: it is of no more use';
      await explain(`${target} is loaded, but cannot remove ${old}, what it replaced`, () => removeTree(old), hint);
    }
  } finally {
    forget();
  }
}

/** Puts a new tree in place and what was there at `old`; when that cannot be done all is as before, without the new one. */
function replace(partial: string, target: string, old: string | null): void {
  try {
    if (old !== null) renameSync(target, old);
    try {
      renameSync(partial, target);
    } catch (error) {
      if (old !== null) renameSync(old, target);
      throw error;
    }
  } catch (error) {
    removeTree(partial);
    throw error;
  }
}
