// SPDX-License-Identifier: Apache-2.0
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import * as z from 'zod/mini';
import { onInterrupt } from '../cleanup.ts';
import { describeSystemError, explain, Failure } from '../failure.ts';
import { parseImageConfig, platformOf } from '../source/config.ts';
import { parseJson } from '../source/json.ts';
import { refNameAnnotation } from '../source/oci-layout.ts';
import { blobPath, describeConfig, layoutFile, makeIndex, makeIndexEntry, makeManifest } from './oci-documents.ts';
import type { ExportedImage, ExportRequest } from './request.ts';
import { type StoredLayer, storeLayer } from './store-layer.ts';

type Place = 'new' | 'existing';

/**
 * Writes an image into an OCI layout: a new directory, which appears when it is whole, an empty one, or one that is a layout already, to which the image is added or where it
 * replaces the one of the same reference; other images there stay. On failure and on signals all is as it was. Throws Failure.
 */
export async function exportLayout(directory: string, request: ExportRequest): Promise<ExportedImage> {
  const target = existsSync(directory) ? realpathSync(directory) : resolve(directory);
  const place = await explain(`cannot write ${directory}`, () => examine(target, directory));
  // Beside a new layout, to be renamed as a whole; inside an existing directory, whose file system it has to be on.
  const nearby = place === 'new' ? dirname(target) : target;
  const temporary = join(
    nearby,
    `.${basename(target)}.partial-${process.pid}-${Math.random().toString(36).slice(2, 10)}`,
  );
  const made: string[] = [temporary];
  const remove = (): void => {
    for (const path of made) rmSync(path, { recursive: true, force: true });
  };
  const forget = onInterrupt(remove);
  try {
    await explain(`cannot write to the directory ${nearby}`, () => {
      mkdirSync(temporary);
      mkdirSync(join(temporary, 'blobs/sha256'), { recursive: true });
    });
    const image = await writeBlobs(temporary, request);
    await explain(`cannot write ${directory}`, () => {
      if (place !== 'new') merge(temporary, target, directory, image.entry, request.reference, made);
      else {
        writeDurably(join(temporary, 'oci-layout'), layoutFile);
        writeDurably(join(temporary, 'index.json'), makeIndex([image.entry]));
        renameSync(temporary, target);
      }
      syncDirectory(nearby);
    });
    // What was moved in stays.
    made.length = 1;
    const { entry: _entry, ...rest } = image;
    return { output: directory, ...rest };
  } finally {
    remove();
    forget();
  }
}

function examine(target: string, directory: string): Place {
  if (!existsSync(target)) return 'new';
  const names = readdirSync(target);
  if (names.length === 0 || (names.includes('oci-layout') && names.includes('index.json'))) return 'existing';
  throw new Failure(`cannot write ${directory}: it is a directory with other things in it`, {
    hint: 'name a new directory, an empty one or an OCI layout',
  });
}

type Written = Omit<ExportedImage, 'output'> & { readonly entry: object };

async function writeBlobs(directory: string, request: ExportRequest): Promise<Written> {
  const layers: StoredLayer[] = [];
  let earlierBytes = 0;
  for (const layer of request.layers) {
    let currentBytes = 0;
    const onProgress = (tarBytes: number): void => {
      currentBytes = tarBytes;
      request.onProgress?.(earlierBytes + tarBytes);
    };
    const path = join(directory, 'layer');
    const descriptor = openSync(path, 'w', 0o666);
    try {
      const stored = await storeLayer(await layer.open(), (chunk) => writeFully(descriptor, chunk, path), {
        ...request,
        onProgress,
      });
      await explain(`cannot write ${path}`, () => fsyncSync(descriptor));
      layers.push(stored);
      renameSync(path, join(directory, blobPath(stored.digest)));
    } finally {
      closeSync(descriptor);
    }
    earlierBytes += currentBytes;
  }
  const configBytes = request.makeConfig(layers.map(({ diffId }) => diffId));
  const config = describeConfig(configBytes);
  const manifest = makeManifest(config, layers);
  await explain(`cannot write ${directory}`, () => {
    writeDurably(join(directory, blobPath(config.digest)), configBytes);
    writeDurably(join(directory, blobPath(manifest.descriptor.digest)), manifest.bytes);
  });
  const platform = platformOf(parseImageConfig(configBytes, 'the configuration'));
  const blobs = new Map([config, manifest.descriptor, ...layers].map(({ digest, sizeBytes }) => [digest, sizeBytes]));
  return {
    sizeBytes: [...blobs.values()].reduce((total, sizeBytes) => total + sizeBytes, 0),
    manifestDigest: manifest.descriptor.digest,
    config,
    layers,
    entry: makeIndexEntry(manifest.descriptor, platform, request.reference),
  };
}

const entrySchema = z.looseObject({ annotations: z.nullish(z.record(z.string(), z.string())) });
const indexSchema = z.looseObject({ manifests: z.nullish(z.array(entrySchema)) });

/** Moves the blobs in, and then has the index name them. What is new there is put down in `made`. */
function merge(
  from: string,
  target: string,
  directory: string,
  entry: object,
  reference: string,
  made: string[],
): void {
  const [blobs, indexFile] = [join(target, 'blobs/sha256'), join(target, 'index.json')];
  const index = existsSync(indexFile)
    ? parseJson(readFileSync(indexFile), indexSchema, `index.json of ${directory}`)
    : { ...(JSON.parse(makeIndex([]).toString()) as object), manifests: [] };
  const others = (index.manifests ?? []).filter(
    (other) => (other.annotations?.[refNameAnnotation] ?? '') !== reference,
  );
  const move = (name: string, to: string): void => {
    if (existsSync(to)) return;
    made.push(to);
    renameSync(join(from, name), to);
  };
  const top = mkdirSync(blobs, { recursive: true });
  if (top !== undefined) made.push(top);
  for (const name of readdirSync(join(from, 'blobs/sha256'))) move(join('blobs/sha256', name), join(blobs, name));
  syncDirectory(blobs);
  writeDurably(join(from, 'oci-layout'), layoutFile);
  move('oci-layout', join(target, 'oci-layout'));
  const bytes = Buffer.from(JSON.stringify({ ...index, schemaVersion: 2, manifests: [...others, entry] }));
  writeDurably(join(from, 'index.json'), bytes);
  renameSync(join(from, 'index.json'), indexFile);
}

/** Whole, as writeSync may write less than it is given. */
function writeFully(descriptor: number, chunk: Buffer, path: string): void {
  try {
    for (let at = 0; at < chunk.length; ) at += writeSync(descriptor, chunk, at, chunk.length - at);
  } catch (error) {
    throw new Failure(`cannot write ${path}: ${describeSystemError(error)}`, { cause: error });
  }
}

function writeDurably(path: string, bytes: Buffer): void {
  const descriptor = openSync(path, 'w', 0o666);
  try {
    writeFileSync(descriptor, bytes);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function syncDirectory(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } catch {
    // Some file systems cannot do this for directories; then they need not.
  } finally {
    closeSync(descriptor);
  }
}
