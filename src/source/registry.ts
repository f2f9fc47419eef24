// SPDX-License-Identifier: Apache-2.0
import type { BlobCache } from '../cache/blob-cache.ts';
import type { PartialBlob } from '../cache/partial.ts';
import { Failure } from '../failure.ts';
import { defaultName, formatProvenance, formatReference } from '../reference/format.ts';
import type { RegistryReference } from '../reference/registry-reference.ts';
import type { RegistryClient } from '../registry/client.ts';
import { maxConfigBytes, parseImageConfig, platformOf } from './config.ts';
import type { OnEvent } from './events.ts';
import type { Descriptor, Image, Layer, Platform } from './image.ts';
import { type ImageManifest, parseManifest, refuseUnreadableLayers } from './manifest.ts';
import { choosePlatform, formatPlatform, hostPlatform, missingPlatform, runsOn } from './platform.ts';

export interface RegistrySource {
  readonly client: RegistryClient;
  readonly cache: BlobCache;
  /** Asked for by the user, who gets this one or a Failure; null: this machine's is preferred. */
  readonly platform: Platform | null;
  /** Layers that are downloaded at the same time (ENROOT_MAX_CONNECTIONS). */
  readonly maxConnections: number;
}

export interface ResolvedManifest {
  readonly manifest: ImageManifest;
  /** Of the platform's own manifest. */
  readonly digest: string;
}

const maxNesting = 3;

/** Finds the manifest of an image for a platform, through an index if there is one. Manifests that are named by digest are kept in the cache. Throws Failure. */
export async function resolveManifest(reference: RegistryReference, source: RegistrySource): Promise<ResolvedManifest> {
  const what = formatReference(reference);
  let at: RegistryReference = reference;
  for (let depth = 0; depth < maxNesting; depth++) {
    const { bytes, mediaType, digest } = await fetchManifest(at, source);
    const document = parseManifest(bytes, `the manifest of ${what}`, mediaType);
    if (document.kind === 'manifest') return { manifest: document, digest };
    const entry = choosePlatform(document.entries, source.platform ?? hostPlatform(), what);
    at = { ...reference, tag: '', digest: entry.digest };
  }
  throw new Failure(`cannot use ${what}: its indexes are nested too deeply`);
}

/** What is named by its digest never changes: from the cache, so that an import of it works without the registry. */
async function fetchManifest(
  reference: RegistryReference,
  { client, cache }: RegistrySource,
): Promise<{ bytes: Buffer; mediaType: string; digest: string }> {
  const { digest } = reference;
  if (digest !== '' && (await cache.has(digest))) {
    return { bytes: await cache.read({ digest }), mediaType: '', digest };
  }
  const fetched = await client.fetchManifest(reference);
  await cache.put(fetched.digest, fetched.bytes);
  return fetched;
}

/**
 * An image of a registry, its manifest and configuration fetched; it closes client and cache, also when it cannot be opened. Layers come through the cache: `fetch` downloads them, several at a time, the top one
 * first, and `open` gives what is there already and follows the download. Throws Failure.
 */
export async function openRegistryImage(reference: RegistryReference, source: RegistrySource): Promise<Image> {
  try {
    return await openWith(reference, source);
  } catch (error) {
    // What is open keeps the process from ending.
    source.cache.close();
    source.client.close();
    throw error;
  }
}

async function openWith(reference: RegistryReference, source: RegistrySource): Promise<Image> {
  const { client, cache } = source;
  const what = formatReference(reference);
  const { manifest, digest } = await resolveManifest(reference, source);
  refuseUnreadableLayers(manifest, what);
  const ended = new AbortController();
  const download = (blob: Descriptor) => (partial: PartialBlob, signal: AbortSignal) =>
    client.downloadBlob(reference, blob, partial, signal);
  const config = await readConfig(manifest.config, cache, download(manifest.config), what);
  refuseOtherPlatform(config, source.platform, what);
  const begun = manifest.layers.map(() => Promise.withResolvers<void>());
  let fetches = false;
  const layers = manifest.layers.map(
    (blob, index): Layer => ({
      ...blob,
      async open() {
        // With `fetch` the download has its turn; without, it is made here.
        if (fetches) await begun[index]?.promise;
        else await cache.obtain(blob, download(blob), { signal: ended.signal });
        return await cache.openFollowing(blob);
      },
    }),
  );
  return {
    reference: formatProvenance(reference),
    name: defaultName(reference),
    manifestDigest: digest,
    config,
    layers,
    fetch(onEvent) {
      fetches = true;
      const begin = (index: number): void => begun[index]?.resolve();
      return fetchLayers(manifest.layers, source, { downloadOf: download, begin, ended, onEvent });
    },
    async close() {
      ended.abort();
      cache.close();
      client.close();
    },
  };
}

async function readConfig(
  blob: Descriptor,
  cache: BlobCache,
  download: Parameters<BlobCache['obtain']>[1],
  what: string,
): Promise<Buffer> {
  if (blob.sizeBytes > maxConfigBytes)
    throw new Failure(`cannot use ${what}: its configuration has ${blob.sizeBytes} bytes`);
  await cache.obtain(blob, download);
  return await cache.read(blob);
}

function refuseOtherPlatform(config: Buffer, wanted: Platform | null, what: string): void {
  const platform = platformOf(parseImageConfig(config, `the configuration of ${what}`));
  if (wanted === null || platform === null || runsOn(platform, wanted)) return;
  throw missingPlatform(wanted, [formatPlatform(platform)], what);
}

type DownloadOf = (blob: Descriptor) => Parameters<BlobCache['obtain']>[1];

interface Fetching {
  readonly downloadOf: DownloadOf;
  /** Told of each layer whose turn has come. */
  readonly begin: (index: number) => void;
  readonly ended: AbortController;
  readonly onEvent: OnEvent;
}

async function fetchLayers(
  layers: readonly Descriptor[],
  { cache, maxConnections }: RegistrySource,
  { downloadOf, begin, ended, onEvent }: Fetching,
): Promise<void> {
  // The top layer is the first one that is read.
  const waiting = layers.map((blob, index) => ({ blob, index }));
  const work = async (): Promise<void> => {
    for (let next = waiting.pop(); next !== undefined && !ended.signal.aborted; next = waiting.pop()) {
      const { blob, index } = next;
      let downloading = false;
      const tell = (state: 'downloading' | 'waiting', presentBytes: number): void =>
        onEvent({ event: 'layer', index, state: downloading ? 'downloading' : state, presentBytes });
      const obtaining = cache.obtain(
        blob,
        async (partial, signal) => {
          downloading = true;
          tell('downloading', partial.sizeBytes);
          await downloadOf(blob)(partial, signal);
        },
        { signal: ended.signal, onProgress: (presentBytes) => tell('waiting', presentBytes) },
      );
      begin(index);
      const outcome = await obtaining;
      onEvent({
        event: 'layer',
        index,
        state: outcome === 'cached' ? 'cached' : 'downloaded',
        presentBytes: blob.sizeBytes,
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(maxConnections, layers.length) }, work));
}
