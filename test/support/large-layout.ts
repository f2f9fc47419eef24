// SPDX-License-Identifier: Apache-2.0
// Images that are large when they are unpacked, and quickly made.
import { createHash, randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { type StoredLayer, writeLayout } from './oci-layout.ts';
import { makeRawTar, member, type RawEntry } from './raw-tar.ts';

const unitBytes = 8 << 20;
const repeatBytes = 4096;

/** Bytes that compress about 40 to 1: random ones that come again and again, but never quite the same. */
function makeUnit(): Buffer {
  const unit = Buffer.alloc(unitBytes);
  let random = randomBytes(repeatBytes);
  for (let at = 0; at < unitBytes; at += repeatBytes) {
    if (at % (64 * repeatBytes) === 0) random = randomBytes(repeatBytes);
    random.copy(unit, at);
    unit.writeUInt32LE(at, at);
  }
  return unit;
}

/**
 * A layer of one file of that size (a multiple of 8 MiB). Its blob is put together of gzip members (RFC 1952, 2.2), the same again and again, so that
 * only one has to be compressed.
 */
function makeLargeLayer(name: string, sizeBytes: number): StoredLayer {
  const unit = makeUnit();
  const [header = Buffer.alloc(0)] = member({ name, size: sizeBytes }, Buffer.alloc(0));
  const end = Buffer.alloc(1024);
  const units = sizeBytes / unitBytes;
  const hash = createHash('sha256').update(header);
  for (let i = 0; i < units; i++) hash.update(unit);
  const compressed = gzipSync(unit, { level: 1 });
  const blob = Buffer.concat([gzipSync(header), ...Array<Buffer>(units).fill(compressed), gzipSync(end)]);
  return { blob, diffId: `sha256:${hash.update(end).digest('hex')}`, encoding: 'gzip' };
}

/** Writes a layout of layers of one large file each (`layer-0`, ..). */
export function writeLargeLayout(dir: string, layers: number, layerBytes: number): void {
  writeLayout(
    dir,
    Array.from({ length: layers }, (_, index) => makeLargeLayer(`layer-${index}`, layerBytes)),
  );
}

/** Writes a layout of three layers with that many small files in all, 100 a directory, as packages of scripts have them. */
export function writeManyFilesLayout(dir: string, files: number): void {
  const layers = Array.from({ length: 3 }, (_, layer) => {
    const entries: RawEntry[] = [];
    for (let i = 0; i < files / 3; i++) {
      const directory = `usr/lib/modules-of-layer-${layer}/package-${Math.floor(i / 100)}/`;
      if (i % 100 === 0) entries.push({ name: directory });
      entries.push({
        name: `${directory}module-file-${i}.js`,
        content: `export const x = ${i};\n`.repeat((i % 40) + 1),
      });
    }
    return { tar: makeRawTar(entries) };
  });
  writeLayout(dir, layers);
}
