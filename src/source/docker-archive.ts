// SPDX-License-Identifier: Apache-2.0
import * as z from 'zod/mini';
import { Failure } from '../failure.ts';
import { decompress, detectCompression, isBuiltIn } from './compression.ts';
import { type ImageConfiguration, maxConfigBytes, parseImageConfig, platformOf } from './config.ts';
import { isDigest, verifyBytes, verifying } from './digest.ts';
import { type FileTree, readSmallFile } from './file-tree.ts';
import type { Image, Layer, Platform } from './image.ts';
import { optional, parseJson } from './json.ts';
import { maxLayers, maxManifestBytes } from './manifest.ts';
import { canonicalReference, nameOfFile, nameOfReference } from './names.ts';
import type { SourceOptions } from './options.ts';
import { choosePlatform, formatPlatform, hostPlatform, missingPlatform, runsOn } from './platform.ts';

const schema = z.array(
  z.object({
    Config: z.string(),
    RepoTags: optional(z.array(z.string()), [] as string[]),
    Layers: optional(
      z.array(z.string()).check(z.maxLength(maxLayers, `more than ${maxLayers} layers`)),
      [] as string[],
    ),
  }),
);

/** Of one image: more than there are. */
const maxPlatforms = 64;

type Entry = z.infer<typeof schema>[number];

/** An image of the archive with its configuration read. */
interface Candidate {
  readonly entry: Entry;
  readonly config: Buffer;
  readonly configuration: ImageConfiguration;
  readonly platform: Platform | null;
}

/**
 * The image of an archive as `docker save` and `podman save` write it (manifest.json with Config, RepoTags and Layers), old or new: the one
 * that the reference names. Layers are verified against the configuration's diff_ids, or against their own digest where they are stored
 * compressed under it. The tree is closed with the image, also on failure. Throws Failure.
 * Source: moby, image/spec/v1.2 and docker save's own output.
 * @param source what the user wrote, without the reference: `docker-archive:FILE`
 * @param reference one of the RepoTags, `@N` (the N-th image, from 0), or '' when there is only one
 */
export async function openDockerArchive(
  tree: FileTree,
  source: string,
  reference: string,
  options: SourceOptions,
): Promise<Image> {
  try {
    const entries = await readEntries(tree);
    const candidates: Candidate[] = [];
    for (const entry of chooseByReference(entries, reference, tree.what))
      candidates.push(await readConfig(tree, entry));
    const { entry, config, configuration } = chooseForPlatform(candidates, options, tree.what);
    const diffIds = configuration.rootfs.diff_ids;
    if (diffIds.length !== entry.Layers.length) {
      throw new Failure(
        `cannot read ${tree.what}: ${entry.Layers.length} layers where its configuration names ${diffIds.length}`,
      );
    }
    const layers = await Promise.all(entry.Layers.map((path, i) => makeLayer(tree, path, diffIds[i] ?? '')));
    const tag = reference !== '' && !reference.startsWith('@') ? reference : (entry.RepoTags[0] ?? '');
    return {
      reference: reference === '' ? source : `${source}:${reference}`,
      name: tag === '' ? nameOfFile(source.slice(source.indexOf(':') + 1)) : nameOfReference(tag),
      manifestDigest: '',
      config,
      layers,
      close: () => tree.close(),
    };
  } catch (error) {
    await tree.close();
    throw error;
  }
}

async function readEntries(tree: FileTree): Promise<Entry[]> {
  if ((await tree.sizeOf('manifest.json')) === null) {
    const isAncient = (await tree.sizeOf('repositories')) !== null;
    throw new Failure(`${tree.what} is not an archive of docker save: it has no manifest.json`, {
      hint: isAncient
        ? 'it is of a Docker before 1.10: load and save it with a later one'
        : 'a root filesystem is tar:FILE',
    });
  }
  const entries = parseJson(
    await readSmallFile(tree, 'manifest.json', maxManifestBytes),
    schema,
    `manifest.json of ${tree.what}`,
  );
  if (entries.length === 0) throw new Failure(`${tree.what} has no image`);
  return entries;
}

/** The images that a reference can mean; more than one when they differ in platform only. */
function chooseByReference(entries: readonly Entry[], reference: string, what: string): readonly Entry[] {
  const list = entries.map(({ RepoTags }, i) => (RepoTags.length === 0 ? `@${i}` : RepoTags.join(', '))).join(', ');
  if (reference === '') {
    const names = new Set(entries.map(({ RepoTags }) => RepoTags.join(' ')));
    if (entries.length === 1 || (names.size === 1 && !names.has(''))) return refuseTooMany(entries, what);
    throw new Failure(`${what} has several images`, { hint: `name one after a colon: ${list}` });
  }
  const [, position] = /^@(\d{1,6})$/.exec(reference) ?? [];
  const wanted = canonicalReference(reference);
  const found = entries.filter(({ RepoTags }, i) =>
    position === undefined ? RepoTags.some((tag) => canonicalReference(tag) === wanted) : i === Number(position),
  );
  if (found.length === 0) throw new Failure(`${what} has no image "${reference}"`, { hint: `it has: ${list}` });
  return refuseTooMany(found, what);
}

/** All their configurations are looked at. */
function refuseTooMany(entries: readonly Entry[], what: string): readonly Entry[] {
  if (entries.length <= maxPlatforms) return entries;
  throw new Failure(`${what} has ${entries.length} images of one name`);
}

async function readConfig(tree: FileTree, entry: Entry): Promise<Candidate> {
  const what = `the configuration ${entry.Config} of ${tree.what}`;
  const config = await readSmallFile(tree, entry.Config, maxConfigBytes);
  // Every writer names it by its digest: HEX.json, sha256:HEX, blobs/sha256/HEX.
  const [, hex] = /(?:^|[/:])([0-9a-f]{64})(?:\.json)?$/.exec(entry.Config) ?? [];
  if (hex !== undefined) verifyBytes(config, { digest: `sha256:${hex}`, sizeBytes: null }, what);
  const configuration = parseImageConfig(config, what);
  return { entry, config, configuration, platform: platformOf(configuration) };
}

function chooseForPlatform(candidates: readonly Candidate[], options: SourceOptions, what: string): Candidate {
  const [only] = candidates;
  if (candidates.length === 1 && only !== undefined) {
    if (options.platform !== null && only.platform !== null && !runsOn(only.platform, options.platform)) {
      throw missingPlatform(options.platform, [formatPlatform(only.platform)], what);
    }
    return only;
  }
  const entries = candidates.map(({ platform }, i) => ({
    mediaType: '',
    digest: String(i),
    sizeBytes: 0,
    platform,
    annotations: {},
  }));
  const { digest } = choosePlatform(entries, options.platform ?? hostPlatform(), what);
  return candidates[Number(digest)] as Candidate;
}

/** A layer by its path in the archive; how it is stored is seen by its first bytes. */
async function makeLayer(tree: FileTree, path: string, diffId: string): Promise<Layer> {
  const storedBytes = await tree.sizeOf(path);
  if (storedBytes === null) {
    throw new Failure(`cannot read ${tree.what}: its layer ${path} is missing`, {
      hint: 'the copy is incomplete: make it again',
    });
  }
  const what = `the layer ${path} of ${tree.what}`;
  const compression = await sniff(tree, path);
  if (compression === 'none') {
    return {
      digest: diffId,
      sizeBytes: storedBytes,
      open: async () => verifying(await tree.open(path), { digest: diffId, sizeBytes: storedBytes }, what),
    };
  }
  const named = path.replace(/^blobs\/(sha256|sha512)\//, '$1:');
  if (isDigest(named) && isBuiltIn(compression)) {
    return {
      digest: named,
      sizeBytes: storedBytes,
      open: async () => verifying(await tree.open(path), { digest: named, sizeBytes: storedBytes }, what),
    };
  }
  return {
    digest: diffId,
    sizeBytes: null,
    open: async () =>
      verifying(decompress(await tree.open(path), compression, what), { digest: diffId, sizeBytes: null }, what),
  };
}

async function sniff(tree: FileTree, path: string): Promise<ReturnType<typeof detectCompression>> {
  const stream = await tree.open(path);
  for await (const chunk of stream) {
    stream.destroy();
    return detectCompression(chunk as Buffer);
  }
  return 'none';
}
