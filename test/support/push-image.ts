// SPDX-License-Identifier: Apache-2.0
// Images of any shape in a registry that lets everybody write, by its API (OCI distribution-spec): what skopeo would not make.
import { gzipSync, zstdCompressSync } from 'node:zlib';
import type { LayerEncoding, LayoutLayer } from './oci-layout.ts';
import { digestOf } from './random-layout.ts';

export interface PushedBlob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export interface PushedImage extends PushedBlob {
  readonly config: PushedBlob;
  readonly layers: readonly PushedBlob[];
}

export interface PushedPlatform {
  readonly architecture: string;
  readonly os?: string;
  readonly variant?: string;
}

export interface ImageSpec {
  readonly layers: readonly LayoutLayer[];
  readonly platform?: PushedPlatform;
  readonly config?: Readonly<Record<string, unknown>>;
}

const encode: Record<LayerEncoding, (tar: Buffer) => Buffer> = {
  gzip: (tar) => gzipSync(tar),
  zstd: (tar) => zstdCompressSync(tar),
  none: (tar) => tar,
};

/** Puts an image's blobs and its OCI manifest into a registry. */
export async function pushImage(url: string, repository: string, tag: string, spec: ImageSpec): Promise<PushedImage> {
  const push = (mediaType: string, bytes: Buffer) => pushBlob(url, repository, mediaType, bytes);
  const layers: PushedBlob[] = [];
  for (const { tar, encoding = 'gzip' } of spec.layers) {
    const suffix = encoding === 'none' ? '' : `+${encoding}`;
    layers.push(await push(`application/vnd.oci.image.layer.v1.tar${suffix}`, encode[encoding](tar)));
  }
  const config = await push(
    'application/vnd.oci.image.config.v1+json',
    json({
      created: '2001-09-09T01:46:40Z',
      os: 'linux',
      architecture: 'amd64',
      ...spec.platform,
      config: spec.config ?? {},
      rootfs: { type: 'layers', diff_ids: spec.layers.map(({ tar }) => digestOf(tar)) },
    }),
  );
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = json({ schemaVersion: 2, mediaType, config, layers });
  return { ...(await pushManifest(url, repository, tag, mediaType, manifest)), config, layers };
}

/** Puts an index of images that are there under a tag. */
export async function pushIndex(
  url: string,
  repository: string,
  tag: string,
  images: readonly { image: PushedBlob; platform: PushedPlatform }[],
  mediaType = 'application/vnd.oci.image.index.v1+json',
): Promise<PushedBlob> {
  const manifests = images.map(({ image, platform }) => ({
    mediaType: image.mediaType,
    digest: image.digest,
    size: image.size,
    platform: { os: 'linux', ...platform },
  }));
  return await pushManifest(url, repository, tag, mediaType, json({ schemaVersion: 2, mediaType, manifests }));
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

async function pushBlob(url: string, repository: string, mediaType: string, bytes: Buffer): Promise<PushedBlob> {
  const digest = digestOf(bytes);
  const begun = await ask(`${url}/v2/${repository}/blobs/uploads/`, 'POST', 202);
  const place = new URL(begun.headers.get('location') ?? '', url);
  place.searchParams.set('digest', digest);
  await ask(place, 'PUT', 201, bytes, 'application/octet-stream');
  return { mediaType, digest, size: bytes.length };
}

async function pushManifest(
  url: string,
  repository: string,
  tag: string,
  mediaType: string,
  bytes: Buffer,
): Promise<PushedBlob> {
  await ask(`${url}/v2/${repository}/manifests/${tag}`, 'PUT', 201, bytes, mediaType);
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

async function ask(url: string | URL, method: string, expected: number, body?: Buffer, type = ''): Promise<Response> {
  const content = body === undefined ? {} : { body: new Uint8Array(body), headers: { 'content-type': type } };
  const response = await fetch(url, { method, ...content });
  if (response.status !== expected) throw new Error(`${method} ${url}: ${response.status} ${await response.text()}`);
  return response;
}
