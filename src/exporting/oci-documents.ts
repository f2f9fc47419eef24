// SPDX-License-Identifier: Apache-2.0
import { digestOf } from '../source/digest.ts';
import type { Descriptor, Platform } from '../source/image.ts';
import { mediaTypes } from '../source/manifest.ts';
import { refNameAnnotation } from '../source/oci-layout.ts';

export interface Document {
  readonly bytes: Buffer;
  readonly descriptor: Descriptor;
}

/** The file that makes a directory a layout (OCI image-spec, image-layout.md). */
export const layoutFile = Buffer.from('{"imageLayoutVersion":"1.0.0"}');

/** Where a blob is in a layout. */
export function blobPath(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`;
}

/** The descriptor of a configuration. */
export function describeConfig(bytes: Buffer): Descriptor {
  return { mediaType: mediaTypes.ociConfig, digest: digestOf(bytes), sizeBytes: bytes.length };
}

/** An OCI manifest (image-spec, manifest.md). The same arguments give the same bytes. */
export function makeManifest(config: Descriptor, layers: readonly Descriptor[]): Document {
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: toJson(config),
      layers: layers.map(toJson),
    }),
  );
  return { bytes, descriptor: { mediaType: mediaTypes.ociManifest, digest: digestOf(bytes), sizeBytes: bytes.length } };
}

/** An entry of index.json. */
export function makeIndexEntry(manifest: Descriptor, platform: Platform | null, reference: string): object {
  return {
    ...toJson(manifest),
    ...(platform !== null && {
      platform: {
        architecture: platform.architecture,
        os: platform.os,
        ...(platform.variant !== '' && { variant: platform.variant }),
      },
    }),
    ...(reference !== '' && { annotations: { [refNameAnnotation]: reference } }),
  };
}

/** index.json of these entries. */
export function makeIndex(entries: readonly object[]): Buffer {
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: entries }));
}

function toJson({ mediaType, digest, sizeBytes }: Descriptor): object {
  return { mediaType, digest, size: sizeBytes };
}
