// SPDX-License-Identifier: Apache-2.0
import { Failure } from '../failure.ts';
import { maxConfigBytes, parseImageConfig, platformOf } from './config.ts';
import { verifyBytes, verifying } from './digest.ts';
import { type FileTree, readSmallFile } from './file-tree.ts';
import type { Descriptor, Image, Layer } from './image.ts';
import { type ImageManifest, maxManifestBytes, parseManifest, refuseUnreadableLayers } from './manifest.ts';
import { canonicalReference, nameOfFile, nameOfReference } from './names.ts';
import type { SourceOptions } from './options.ts';
import { choosePlatform, formatPlatform, hostPlatform, type IndexEntry, missingPlatform, runsOn } from './platform.ts';

const maxNesting = 8;
/** OCI image-spec, annotations.md. */
export const refNameAnnotation = 'org.opencontainers.image.ref.name';
/** The whole name, where the one above has only the tag (BuildKit, containerd, docker save since 25). */
const fullNameAnnotation = 'io.containerd.image.name';

/**
 * The image of an OCI layout (image-spec, image-layout.md), in a directory or an archive: the one that the reference names, for the platform
 * asked for. The tree is closed with the image, also on failure. Every blob is verified when it is read. Throws Failure.
 * @param source what the user wrote, without the reference: `oci:DIR`
 * @param reference a ref.name, `@N` (the N-th of index.json, from 0), a digest, or '' when there is only one
 */
export async function openLayout(
  tree: FileTree,
  source: string,
  reference: string,
  options: SourceOptions,
): Promise<Image> {
  try {
    await checkLayoutFile(tree);
    const index = parseManifest(
      await readSmallFile(tree, 'index.json', maxManifestBytes),
      `index.json of ${tree.what}`,
    );
    if (index.kind !== 'index') throw new Failure(`cannot read ${tree.what}: its index.json is no index`);
    const start = chooseByReference(index.entries, reference, tree.what);
    const { manifest, digest, name } = await resolve(tree, start, reference, options);
    refuseUnreadableLayers(manifest, tree.what);
    const config = await readBlob(tree, manifest.config, maxConfigBytes);
    const platform = platformOf(parseImageConfig(config, `the configuration in ${tree.what}`));
    if (options.platform !== null && platform !== null && !runsOn(platform, options.platform)) {
      throw missingPlatform(options.platform, [formatPlatform(platform)], tree.what);
    }
    return {
      reference: reference === '' ? source : `${source}:${reference}`,
      name: nameImage(source, name),
      manifestDigest: digest,
      config,
      layers: manifest.layers.map((layer) => makeLayer(tree, layer)),
      close: () => tree.close(),
    };
  } catch (error) {
    await tree.close();
    throw error;
  }
}

async function checkLayoutFile(tree: FileTree): Promise<void> {
  const hint = 'an OCI layout has the files oci-layout and index.json';
  if ((await tree.sizeOf('oci-layout')) === null || (await tree.sizeOf('index.json')) === null) {
    throw new Failure(`${tree.what} is not an OCI image layout`, { hint });
  }
  const text = (await readSmallFile(tree, 'oci-layout', 1 << 16)).toString();
  const [, version = ''] = /"imageLayoutVersion"\s*:\s*"([^"]*)"/.exec(text) ?? [];
  if (!version.startsWith('1.'))
    throw new Failure(`cannot read ${tree.what}: its layout version is "${version}", not 1.0.0`);
}

function namesOf({ annotations }: IndexEntry): string[] {
  return [annotations[refNameAnnotation], annotations[fullNameAnnotation]].filter((name) => name !== undefined);
}

/** The entries that a reference can mean; more than one when they differ in platform only. */
function chooseByReference(entries: readonly IndexEntry[], reference: string, what: string): readonly IndexEntry[] {
  if (entries.length === 0) throw new Failure(`${what} has no image`);
  const list = () => describeEntries(entries);
  if (reference === '') {
    const names = new Set(entries.map((entry) => namesOf(entry).join(' ')));
    // Without names they are the platforms of one image.
    if (names.size === 1 && (entries.length === 1 || entries.every(({ platform }) => platform !== null)))
      return entries;
    throw new Failure(`${what} has several images`, { hint: `name one after a colon: ${list()}` });
  }
  const [, position] = /^@(\d{1,6})$/.exec(reference) ?? [];
  const isMeant = (entry: IndexEntry, i: number): boolean => {
    if (position !== undefined) return i === Number(position);
    if (`@${entry.digest}` === reference || entry.digest === reference) return true;
    return namesOf(entry).some((name) => name === reference);
  };
  const exact = entries.filter(isMeant);
  const canonical = canonicalReference(reference);
  const found =
    exact.length > 0
      ? exact
      : entries.filter((entry) => namesOf(entry).some((name) => canonicalReference(name) === canonical));
  if (found.length === 0) throw new Failure(`${what} has no image "${reference}"`, { hint: `it has: ${list()}` });
  return found;
}

function describeEntries(entries: readonly IndexEntry[]): string {
  return [...new Set(entries.map((entry, i) => namesOf(entry)[0] ?? `@${i}`))].join(', ');
}

interface Resolved {
  readonly manifest: ImageManifest;
  readonly digest: string;
  /** The name that the index gives it; '' when none. */
  readonly name: string;
}

/** Follows indexes down to a manifest. */
async function resolve(
  tree: FileTree,
  start: readonly IndexEntry[],
  reference: string,
  options: SourceOptions,
): Promise<Resolved> {
  const wanted = options.platform ?? hostPlatform();
  let entries = start;
  let name = reference.startsWith('@') || reference.startsWith('sha256:') ? '' : reference;
  for (let depth = 0; depth < maxNesting; depth++) {
    const [only] = entries;
    const isSingle = entries.length === 1 && depth === 0;
    const entry = isSingle && only !== undefined ? only : choosePlatform(entries, wanted, tree.what);
    name ||= namesOf(entry).at(-1) ?? '';
    const what = `the manifest ${entry.digest} of ${tree.what}`;
    const document = parseManifest(await readBlob(tree, entry, maxManifestBytes), what, entry.mediaType);
    if (document.kind === 'manifest') return { manifest: document, digest: entry.digest, name };
    entries = document.entries;
  }
  throw new Failure(`cannot read ${tree.what}: its indexes are nested too deeply`);
}

/** `blobs/ALGORITHM/HEX`; a digest has neither dots nor slashes. */
function blobPath(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`;
}

async function readBlob(tree: FileTree, blob: Descriptor, maxBytes: number): Promise<Buffer> {
  const what = `the blob ${blob.digest} of ${tree.what}`;
  if (blob.sizeBytes > maxBytes) throw new Failure(`${what} is larger than ${maxBytes >> 20} MiB`);
  if ((await tree.sizeOf(blobPath(blob.digest))) === null) throw missingBlob(tree, blob);
  const bytes = await readSmallFile(tree, blobPath(blob.digest), maxBytes);
  verifyBytes(bytes, blob, what);
  return bytes;
}

function missingBlob(tree: FileTree, { digest }: Descriptor): Failure {
  return new Failure(`cannot read ${tree.what}: its blob ${digest} is missing`, {
    hint: 'the copy is incomplete: make it again',
  });
}

function makeLayer(tree: FileTree, layer: Descriptor): Layer {
  return {
    digest: layer.digest,
    sizeBytes: layer.sizeBytes,
    async open() {
      if ((await tree.sizeOf(blobPath(layer.digest))) === null) throw missingBlob(tree, layer);
      return verifying(await tree.open(blobPath(layer.digest)), layer, `the layer ${layer.digest} of ${tree.what}`);
    },
  };
}

/** By the name in the index; a tag alone says too little and gets the layout's name in front. */
function nameImage(source: string, name: string): string {
  const file = nameOfFile(source.slice(source.indexOf(':') + 1));
  if (name === '') return file;
  return /[/:]/.test(name) ? nameOfReference(name) : `${file}+${nameOfReference(name)}`;
}
