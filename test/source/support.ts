// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { parseImageUri } from '../../src/reference/image-uri.ts';
import type { Image } from '../../src/source/image.ts';
import { openLocalImage } from '../../src/source/open.ts';
import type { SourceOptions } from '../../src/source/options.ts';
import { parsePlatform } from '../../src/source/platform.ts';
import { buildImage, openStorage, type Storage } from '../support/image-tools.ts';

export function makeTemporary(): string {
  return mkdtempSync(join(tmpdir(), 'bundler-source-'));
}

export function optionsIn(directory: string, more: Partial<SourceOptions> = {}): SourceOptions {
  return { platform: null, temporaryDirectory: directory, env: {}, ...more };
}

export const arm64 = { platform: parsePlatform('arm64') };

/** Opens an image that must not come from standard input. */
export async function openImage(text: string, options: SourceOptions, stdin?: Readable): Promise<Image> {
  const uri = parseImageUri(text);
  if (uri.kind === 'docker') throw new Error(`${text} is of a registry`);
  return openLocalImage(uri, options, stdin ?? (null as unknown as Readable));
}

export async function read(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** What matters of an image, all layers read to their verified end. */
export async function summarize(image: Image) {
  const diffIds: string[] = [];
  const sizes: boolean[] = [];
  for (const layer of image.layers) {
    const stored = await read(await layer.open());
    sizes.push(layer.sizeBytes === null || layer.sizeBytes === stored.length);
    const tar = stored[0] === 0x1f && stored[1] === 0x8b ? gunzipSync(stored) : stored;
    diffIds.push(`sha256:${createHash('sha256').update(tar).digest('hex')}`);
  }
  const config = image.config === null ? null : JSON.parse(image.config.toString());
  await image.close();
  return { name: image.name, reference: image.reference, config, diffIds, rightSizes: sizes.every(Boolean) };
}

export function writeTree(directory: string, files: Readonly<Record<string, string | Buffer>>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), content);
  }
}

/** Two images, the second of two layers: `localhost/first:1` and `localhost/second:2`. */
export function buildTwoImages(directory: string): Storage {
  const storage = openStorage(join(directory, 'storage'));
  writeTree(join(directory, 'base'), {
    'bin/tool': '#!/bin/sh\n',
    'etc/name': 'base',
    big: Buffer.alloc(600_000, 'x'),
  });
  writeTree(join(directory, 'more'), { 'etc/more': 'more' });
  buildImage(
    storage,
    'scratch',
    join(directory, 'base'),
    'localhost/first:1',
    '--env',
    'A=1',
    '--entrypoint',
    '["/bin/tool"]',
  );
  buildImage(storage, 'localhost/first:1', join(directory, 'more'), 'localhost/second:2', '--cmd', 'x y');
  return storage;
}

export interface HandMade {
  readonly digest: string;
  readonly size: number;
  readonly mediaType: string;
}

/** Writes blobs of a layout by hand. */
export function makeLayout(directory: string) {
  mkdirSync(join(directory, 'blobs/sha256'), { recursive: true });
  writeFileSync(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const put = (content: string | Buffer | object, mediaType: string): HandMade => {
    const bytes = Buffer.isBuffer(content)
      ? content
      : Buffer.from(typeof content === 'string' ? content : JSON.stringify(content));
    const hex = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(join(directory, 'blobs/sha256', hex), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  };
  const putImage = (architecture: string, layer: string, variant = '') => {
    const config = put(
      { os: 'linux', architecture, ...(variant && { variant }), rootfs: { type: 'layers', diff_ids: [] } },
      ociConfig,
    );
    return put({ schemaVersion: 2, mediaType: ociManifest, config, layers: [put(layer, ociLayer)] }, ociManifest);
  };
  const putIndex = (manifests: object[]) =>
    writeFileSync(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  return { put, putImage, putIndex };
}

export const ociConfig = 'application/vnd.oci.image.config.v1+json';
export const ociManifest = 'application/vnd.oci.image.manifest.v1+json';
export const ociIndex = 'application/vnd.oci.image.index.v1+json';
export const ociLayer = 'application/vnd.oci.image.layer.v1.tar';
