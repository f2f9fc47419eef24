// SPDX-License-Identifier: Apache-2.0
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';

export interface LayoutBlob {
  readonly mediaType: string;
  readonly digest: string;
  readonly sizeBytes: number;
  readonly bytes: Buffer;
}

export interface Layout {
  /** skopeo's name of it: `oci:DIR:TAG`. */
  readonly source: string;
  readonly config: LayoutBlob;
  readonly layers: readonly LayoutBlob[];
}

/** A layer that does not compress, of about this size: gzip of random bytes (no tar; registries do not look inside). */
export function randomLayer(sizeBytes: number): Buffer {
  return gzipSync(randomBytes(sizeBytes), { level: 1 });
}

/** Writes an image of these layers (gzip) as an OCI layout (image-spec, image-layout.md) into a directory. */
export function writeLayout(directory: string, tag: string, layers: readonly Buffer[]): Layout {
  const diffIds = layers.map((bytes) => digestOf(gunzipSync(bytes)));
  const config = blob(
    'application/vnd.oci.image.config.v1+json',
    Buffer.from(
      JSON.stringify({ architecture: 'amd64', os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: diffIds } }),
    ),
  );
  const blobs = layers.map((bytes) => blob('application/vnd.oci.image.layer.v1.tar+gzip', bytes));
  const manifest = blob(
    'application/vnd.oci.image.manifest.v1+json',
    Buffer.from(JSON.stringify({ schemaVersion: 2, config: describe(config), layers: blobs.map(describe) })),
  );
  mkdirSync(path.join(directory, 'blobs/sha256'), { recursive: true });
  for (const { digest, bytes } of [config, manifest, ...blobs]) {
    writeFileSync(path.join(directory, 'blobs/sha256', digest.slice('sha256:'.length)), bytes);
  }
  const annotations = { 'org.opencontainers.image.ref.name': tag };
  const index = { schemaVersion: 2, manifests: [{ ...describe(manifest), annotations }] };
  writeFileSync(path.join(directory, 'index.json'), JSON.stringify(index));
  writeFileSync(path.join(directory, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  return { source: `oci:${directory}:${tag}`, config, layers: blobs };
}

export function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function blob(mediaType: string, bytes: Buffer): LayoutBlob {
  return { mediaType, digest: digestOf(bytes), sizeBytes: bytes.length, bytes };
}

function describe({ mediaType, digest, sizeBytes }: LayoutBlob): object {
  return { mediaType, digest, size: sizeBytes };
}
