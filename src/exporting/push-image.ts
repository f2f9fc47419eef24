// SPDX-License-Identifier: Apache-2.0
import { Readable } from 'node:stream';
import { writeExactly } from '../bundle/copy.ts';
import { explain } from '../failure.ts';
import { type AnonymousFile, createAnonymousFile } from '../importing/anonymous-file.ts';
import { formatProvenance } from '../reference/format.ts';
import type { RegistryReference } from '../reference/registry-reference.ts';
import type { RegistryClient } from '../registry/client.ts';
import { digestOf } from '../source/digest.ts';
import { readRange } from '../source/open-file.ts';
import { describeConfig, makeManifest } from './oci-documents.ts';
import type { ExportedImage, ExportRequest } from './request.ts';
import { type StoredLayer, storeLayer } from './store-layer.ts';

/** Of no bytes: any digest would do. */
const emptyDigest = digestOf(Buffer.alloc(0));

export interface PushRequest extends ExportRequest {
  readonly client: RegistryClient;
  readonly target: RegistryReference;
  /** Where compressed layers are kept until they are uploaded (ENROOT_TEMP_PATH). */
  readonly temporaryDirectory: string;
  /** Bytes of a layer that the registry got so far, and its size. */
  readonly onSent?: (bytes: number, sizeBytes: number) => void;
}

/**
 * Pushes an image to a registry. A layer that the repository has is not sent again: as the same tree gives the same layer, pushing twice sends nothing. The
 * manifest comes last, so that the tag never names an incomplete image. Throws Failure.
 */
export async function pushImage(request: PushRequest): Promise<ExportedImage & { sentBytes: number }> {
  const { client, target } = request;
  // Who may not push learns it before a layer is made for nothing.
  await client.hasBlob(target, emptyDigest);
  const layers: StoredLayer[] = [];
  let sentBytes = 0;
  for (const layer of request.layers) {
    const file = await createAnonymousFile(request.temporaryDirectory);
    try {
      const stored = await explain(`cannot write to ${request.temporaryDirectory}`, async () =>
        keep(file, await layer.open(), request),
      );
      layers.push(stored);
      if (await client.hasBlob(target, stored.digest)) continue;
      await client.uploadBlob(target, {
        ...stored,
        onProgress: (bytes) => request.onSent?.(bytes, stored.sizeBytes),
        open: async () => readRange(file, 0, stored.sizeBytes, `the layer in ${request.temporaryDirectory}`),
      });
      sentBytes += stored.sizeBytes;
    } finally {
      file.close();
    }
  }
  const configBytes = request.makeConfig(layers.map(({ diffId }) => diffId));
  const config = describeConfig(configBytes);
  if (!(await client.hasBlob(target, config.digest))) {
    await client.uploadBlob(target, { ...config, open: async () => Readable.from([configBytes]) });
  }
  const manifest = makeManifest(config, layers);
  const manifestDigest = await client.putManifest(target, manifest.bytes, manifest.descriptor.mediaType);
  const sizeBytes = layers.reduce((sum, layer) => sum + layer.sizeBytes, config.sizeBytes);
  return {
    output: formatProvenance(target),
    sizeBytes,
    manifestDigest,
    config,
    layers,
    sentBytes,
  };
}

function keep(file: AnonymousFile, tar: Readable, { compression, onProgress }: PushRequest): Promise<StoredLayer> {
  let at = 0;
  const write = (chunk: Buffer): void => {
    writeExactly(file.descriptor, chunk, at);
    at += chunk.length;
  };
  return storeLayer(tar, write, { compression, onProgress });
}
