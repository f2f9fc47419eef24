// SPDX-License-Identifier: Apache-2.0
import * as z from 'zod/mini';
import { Failure } from '../failure.ts';
import { isDigest } from './digest.ts';
import type { Descriptor } from './image.ts';
import { optional, parseJson } from './json.ts';
import type { IndexEntry } from './platform.ts';

/** What a registry or a layout may hold under an image's name; an Accept header has all of them. */
export const mediaTypes = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
} as const;

/** Registries refuse larger manifests too (distribution-spec: 4 MiB). */
export const maxManifestBytes = 4 << 20;
/** More than any engine stacks (overlayfs: 500). */
export const maxLayers = 1000;
const maxIndexEntries = 10_000;
const schema1 = 'application/vnd.docker.distribution.manifest.v1';

/** A layer as a manifest names it. */
export interface LayerDescriptor extends Descriptor {
  /** Its bytes are elsewhere, and may not be handed on (Windows base layers). */
  readonly foreign: boolean;
}

export interface ImageManifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly config: Descriptor;
  /** Lowest first. */
  readonly layers: readonly LayerDescriptor[];
  readonly annotations: Readonly<Record<string, string>>;
}

export interface ImageIndex {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly entries: readonly IndexEntry[];
  readonly annotations: Readonly<Record<string, string>>;
}

const text = optional(z.string(), '');
const annotations = optional(z.record(z.string(), z.string()), {} as Record<string, string>);
const descriptor = z.object({
  mediaType: text,
  digest: z.string().check(z.refine(isDigest, 'no sha256 or sha512 digest')),
  size: z.number().check(z.refine((size) => Number.isSafeInteger(size) && size >= 0, 'no proper size')),
});
const platform = z.object({ os: z.string(), architecture: z.string(), variant: text });
const schema = z.object({
  schemaVersion: z.optional(z.number()),
  mediaType: text,
  artifactType: text,
  config: z.nullish(descriptor),
  layers: z.nullish(z.array(descriptor).check(z.maxLength(maxLayers, `more than ${maxLayers} layers`))),
  manifests: z.nullish(
    z
      .array(z.extend(descriptor, { platform: optional(platform, null), annotations }))
      .check(z.maxLength(maxIndexEntries, `more than ${maxIndexEntries} manifests`)),
  ),
  annotations,
});

/**
 * Reads a manifest or an index, Docker's (schema 2) or OCI's. What it is follows from its content, and must not contradict its media type.
 * Throws Failure: malformed, too large, Docker's schema 1, not an image.
 * @param contentType what the server or the index called it; '' when unknown
 */
export function parseManifest(bytes: Buffer, what: string, contentType = ''): ImageManifest | ImageIndex {
  if (bytes.length > maxManifestBytes) throw new Failure(`${what} is larger than ${maxManifestBytes >> 20} MiB`);
  const document = parseJson(bytes, schema, what);
  if (document.schemaVersion === 1 || plainType(contentType).startsWith(schema1)) throw schema1Failure(what);
  const { config, layers, manifests } = document;
  // A document that is both would be a different image to different readers (CVE-2021-41190).
  if (Array.isArray(manifests) && (config != null || Array.isArray(layers))) {
    throw new Failure(`${what} is ambiguous: it has both layers and manifests`);
  }
  const mediaType = document.mediaType || plainType(contentType);
  const claimsIndex = mediaType === mediaTypes.ociIndex || mediaType === mediaTypes.dockerList;
  const claimsManifest = mediaType === mediaTypes.ociManifest || mediaType === mediaTypes.dockerManifest;
  if (Array.isArray(manifests) && !claimsManifest) {
    const entries = manifests.map(({ size, ...entry }) => ({ ...entry, sizeBytes: size }));
    return { kind: 'index', mediaType, entries, annotations: document.annotations };
  }
  if (config == null || claimsIndex || Array.isArray(manifests)) {
    throw new Failure(`${what} is no image manifest${mediaType === '' ? '' : ` (${mediaType})`}`);
  }
  refuseArtifact(config.mediaType, document.artifactType, what);
  return {
    kind: 'manifest',
    mediaType,
    config: toDescriptor(config),
    layers: (layers ?? []).map((layer) => ({ ...toDescriptor(layer), foreign: isForeign(layer.mediaType) })),
    annotations: document.annotations,
  };
}

function toDescriptor({ mediaType, digest, size }: z.infer<typeof descriptor>): Descriptor {
  return { mediaType, digest, sizeBytes: size };
}

/** `application/json; charset=utf-8` tells nothing more than `application/json`. */
function plainType(contentType: string): string {
  return contentType.split(';', 1)[0]?.trim().toLowerCase() ?? '';
}

function isForeign(mediaType: string): boolean {
  return mediaType.includes('.foreign.') || mediaType.includes('.nondistributable.');
}

/**
 * Refuses an image whose layers cannot be had or read: foreign ones and encrypted ones. Throws Failure that names the layer.
 */
export function refuseUnreadableLayers(manifest: ImageManifest, what: string): void {
  for (const { mediaType, digest, foreign } of manifest.layers) {
    if (foreign) {
      throw new Failure(`cannot use ${what}: its layer ${digest} is foreign (${mediaType})`, {
        hint: 'such layers may not be handed on by registries; they are part of Windows images',
      });
    }
    if (mediaType.endsWith('+encrypted')) {
      throw new Failure(`cannot use ${what}: its layer ${digest} is encrypted`, {
        hint: 'decrypt it first, for instance with skopeo copy --decryption-key',
      });
    }
  }
}

/** Schema 1 has neither a configuration nor digests of what it unpacks to; Docker itself gave it up. */
function schema1Failure(what: string): Failure {
  return new Failure(`cannot use ${what}: it is in Docker's old manifest format, schema 1`, {
    hint: 'push it again with a Docker of the last ten years, or copy it with skopeo copy --format oci',
  });
}

function refuseArtifact(configType: string, artifactType: string, what: string): void {
  // Old pushes called their configuration just bytes.
  const usual = ['', 'application/octet-stream', mediaTypes.ociConfig, mediaTypes.dockerConfig];
  if (usual.includes(configType)) return;
  throw new Failure(`${what} is no container image but something else (${artifactType || configType})`);
}
