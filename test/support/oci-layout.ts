// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';

export type LayerEncoding = 'gzip' | 'zstd' | 'none';

export interface LayoutLayer {
  readonly tar: Buffer;
  readonly encoding?: LayerEncoding;
}

/** A layer that is compressed already. */
export interface StoredLayer {
  readonly blob: Buffer;
  readonly diffId: string;
  readonly encoding: LayerEncoding;
}

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  annotations?: Record<string, string>;
}

/** Writes an OCI image layout (OCI image-spec, image-layout.md) of these layers, lowest first, under the reference `latest`. */
export function writeLayout(
  dir: string,
  layers: readonly (LayoutLayer | StoredLayer)[],
  config: Readonly<Record<string, unknown>> = {},
): void {
  mkdirSync(path.join(dir, 'blobs/sha256'), { recursive: true });
  const put = (mediaType: string, bytes: Buffer): Descriptor => {
    const hex = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(path.join(dir, 'blobs/sha256', hex), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  };
  const json = (mediaType: string, value: unknown): Descriptor => put(mediaType, Buffer.from(JSON.stringify(value)));
  const stored = layers.map((layer) => ('blob' in layer ? layer : compress(layer)));
  const descriptors = stored.map(({ blob, encoding }) =>
    put(`application/vnd.oci.image.layer.v1.tar${encoding === 'none' ? '' : `+${encoding}`}`, blob),
  );
  const imageConfig = json('application/vnd.oci.image.config.v1+json', {
    created: '2001-09-09T01:46:40.123456789Z',
    architecture: 'amd64',
    os: 'linux',
    config,
    history: layers.map((_, index) => ({ created: '2001-09-09T01:46:40Z', created_by: `step ${index}` })),
    rootfs: {
      type: 'layers',
      diff_ids: stored.map(({ diffId }) => diffId),
    },
  });
  const manifest = json('application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: imageConfig,
    layers: descriptors,
  });
  manifest.annotations = { 'org.opencontainers.image.ref.name': 'latest' };
  writeFileSync(path.join(dir, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [manifest] }));
  writeFileSync(path.join(dir, 'oci-layout'), '{"imageLayoutVersion": "1.0.0"}');
}

function compress({ tar, encoding = 'gzip' }: LayoutLayer): StoredLayer {
  const blob = encoding === 'gzip' ? gzipSync(tar) : encoding === 'zstd' ? zstdCompressSync(tar) : tar;
  return { blob, diffId: `sha256:${createHash('sha256').update(tar).digest('hex')}`, encoding };
}
