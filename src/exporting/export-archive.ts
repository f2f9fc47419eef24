// SPDX-License-Identifier: Apache-2.0
import { createOutput } from '../bundle/output.ts';
import { describeSystemError, Failure } from '../failure.ts';
import { parseImageConfig, platformOf } from '../source/config.ts';
import { canonicalReference } from '../source/names.ts';
import { ArchiveWriter } from './archive-writer.ts';
import { blobPath, describeConfig, layoutFile, makeIndex, makeIndexEntry, makeManifest } from './oci-documents.ts';
import type { ExportedImage, ExportRequest } from './request.ts';
import { type StoredLayer, storeLayer } from './store-layer.ts';

/**
 * Writes an OCI layout in a tar. The file appears when it is whole; nothing is left behind otherwise. The same image gives the same bytes. Throws Failure.
 */
export function exportOciArchive(path: string, request: ExportRequest, force: boolean): Promise<ExportedImage> {
  return writeArchive(path, force, async (archive) => {
    // In the order in which they become known: a reader that cannot seek has the index last anyway.
    await archive.addFile('oci-layout', layoutFile);
    await archive.addDirectory('blobs');
    await archive.addDirectory('blobs/sha256');
    const layers = await addLayers(archive, request, ({ digest }) => blobPath(digest));
    const configBytes = request.makeConfig(layers.map(({ diffId }) => diffId));
    const config = describeConfig(configBytes);
    const manifest = makeManifest(config, layers);
    await archive.addFile(blobPath(config.digest), configBytes);
    await archive.addFile(blobPath(manifest.descriptor.digest), manifest.bytes);
    const platform = platformOf(parseImageConfig(configBytes, 'the configuration'));
    const entry = makeIndexEntry(manifest.descriptor, platform, request.reference);
    await archive.addFile('index.json', makeIndex([entry]));
    return { manifestDigest: manifest.descriptor.digest, config, layers };
  });
}

/**
 * Writes an archive as `docker save` does, for docker load, podman load and skopeo. The file appears when it is whole; nothing is left behind otherwise. The same image
 * gives the same bytes. Throws Failure.
 */
export function exportDockerArchive(path: string, request: ExportRequest, force: boolean): Promise<ExportedImage> {
  return writeArchive(path, force, async (archive) => {
    const layers = await addLayers(archive, request, layerPath);
    const configBytes = request.makeConfig(layers.map(({ diffId }) => diffId));
    const config = describeConfig(configBytes);
    const configPath = `${hexOf(config.digest)}.json`;
    await archive.addFile(configPath, configBytes);
    const RepoTags = request.reference === '' ? null : [familiarName(request.reference)];
    const manifest = [{ Config: configPath, RepoTags, Layers: layers.map(layerPath) }];
    await archive.addFile('manifest.json', Buffer.from(JSON.stringify(manifest)));
    return { manifestDigest: '', config, layers };
  });
}

/** By what they are uncompressed, as docker does. */
function layerPath({ diffId }: StoredLayer): string {
  return `${hexOf(diffId)}.tar`;
}

function hexOf(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1);
}

/** A tag belongs to it, and no registry where it is Docker Hub. */
function familiarName(reference: string): string {
  return canonicalReference(reference).replace(/^docker\.io\/(library\/)?/, '');
}

/** Layers that are the same are stored once. */
async function addLayers(
  archive: ArchiveWriter,
  request: ExportRequest,
  pathOf: (layer: StoredLayer) => string,
): Promise<StoredLayer[]> {
  const layers: StoredLayer[] = [];
  let earlierBytes = 0;
  let currentBytes = 0;
  const onProgress = (tarBytes: number): void => {
    currentBytes = tarBytes;
    request.onProgress?.(earlierBytes + tarBytes);
  };
  for (const layer of request.layers) {
    await archive.addStream(async (append) => {
      const stored = await storeLayer(await layer.open(), append, { ...request, onProgress });
      layers.push(stored);
      return pathOf(stored);
    });
    earlierBytes += currentBytes;
  }
  return layers;
}

async function writeArchive(
  path: string,
  force: boolean,
  fill: (archive: ArchiveWriter) => Promise<Pick<ExportedImage, 'manifestDigest' | 'config' | 'layers'>>,
): Promise<ExportedImage> {
  const output = await createOutput(path, { force, mode: 0o666 });
  try {
    const archive = new ArchiveWriter(output.descriptor);
    const image = await fill(archive);
    const sizeBytes = await archive.finish();
    await output.commit();
    return { output: path, sizeBytes, ...image };
  } catch (error) {
    // Of the writes into the file: what reads the layers tells its own trouble.
    if (
      (error as NodeJS.ErrnoException).syscall !== 'write' &&
      (error as NodeJS.ErrnoException).syscall !== 'ftruncate'
    )
      throw error;
    throw new Failure(`cannot write ${path}: ${describeSystemError(error)}`, { cause: error });
  } finally {
    output.discard();
  }
}
