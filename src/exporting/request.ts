// SPDX-License-Identifier: Apache-2.0
import type { Readable } from 'node:stream';
import type { Descriptor } from '../source/image.ts';
import type { LayerCompression, StoredLayer } from './store-layer.ts';

/** What is exported, whatever the form. */
export interface ExportRequest {
  /** Lowest first: uncompressed tars. Each is opened once, in this order. */
  readonly layers: readonly { open(): Promise<Readable> }[];
  /** The image configuration's JSON; called when the layers are written. */
  readonly makeConfig: (diffIds: readonly string[]) => Buffer;
  /** What the image is called: `localhost/np:1` in an archive, also just a tag in a layout; '' for no name. */
  readonly reference: string;
  readonly compression: LayerCompression;
  /** Bytes of the uncompressed layers so far. */
  readonly onProgress?: (tarBytes: number) => void;
}

/** What was written. */
export interface ExportedImage {
  readonly output: string;
  /** Of the file; of the blobs in a layout. */
  readonly sizeBytes: number;
  /** '' in a docker archive, which has none. */
  readonly manifestDigest: string;
  readonly config: Descriptor;
  readonly layers: readonly StoredLayer[];
}
