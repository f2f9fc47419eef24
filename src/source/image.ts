// SPDX-License-Identifier: Apache-2.0
import type { Readable } from 'node:stream';
import type { OnEvent } from './events.ts';

/** What a content-addressed thing is called and how large it is (OCI image-spec, descriptor.md). */
export interface Descriptor {
  readonly mediaType: string;
  /** `sha256:` and 64 hex digits (or sha512 and 128). */
  readonly digest: string;
  readonly sizeBytes: number;
}

/** OCI image-spec, image-index.md; variant is '' when there is none. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string;
}

/** A layer of an image. */
export interface Layer {
  /** Digest of the stored bytes; '' where the source has none (a plain tar). */
  readonly digest: string;
  /** Size of the stored bytes; null where it is not known before they were read (stdin). */
  readonly sizeBytes: number | null;
  /**
   * The stored bytes: a tar, maybe compressed (by magic bytes, whatever the media type says). Where a digest is known the stream ends with an
   * error when they do not match it. May be called again, except for stdin.
   */
  open(): Promise<Readable>;
}

/** An image from anywhere, ready to be read. */
export interface Image {
  /** Where it came from, as enroot writes its provenance: `docker://registry-1.docker.io#library/ubuntu:24.04`. No secrets. */
  readonly reference: string;
  /** What a file or container made of it is called without being told: `ubuntu+24.04`. */
  readonly name: string;
  /** Of the platform's own manifest; '' where the source has none. */
  readonly manifestDigest: string;
  /** The image configuration's JSON, byte for byte; null where the source has none (tar, dir). */
  readonly config: Buffer | null;
  /** Lowest first. */
  readonly layers: readonly Layer[];
  /**
   * Begins to fetch all layers, the top one first, which `open` would otherwise do one after the other; told of what happens to each. Settles
   * when all are here, or rejects with the first that fails. Absent where nothing is fetched.
   */
  fetch?(onEvent: OnEvent): Promise<void>;
  /** Lets go of temporary files and connections; what is being fetched or read fails. */
  close(): Promise<void>;
}
