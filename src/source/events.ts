// SPDX-License-Identifier: Apache-2.0

/** What happens to a layer on its way in: it is in the cache, another process fetches it, we do, its files are read into the image, it is done. */
export type LayerState = 'cached' | 'waiting' | 'downloading' | 'downloaded' | 'reading' | 'done';

/** What an import tells while it works; `--json` prints these, a line each. */
export type ImportEvent =
  | {
      readonly event: 'image';
      readonly reference: string;
      readonly manifestDigest: string;
      /** Lowest first. */
      readonly layers: readonly { readonly digest: string; readonly sizeBytes: number | null }[];
    }
  | {
      readonly event: 'layer';
      /** Counted from the lowest, from 0. */
      readonly index: number;
      readonly state: LayerState;
      /** Bytes of it that are here; null when that says nothing (a local file). */
      readonly presentBytes: number | null;
    }
  /** Bytes of an archive that came from a daemon or from stdin. */
  | { readonly event: 'received'; readonly bytes: number }
  /** Of an export: bytes of the layer that were read and compressed so far, or that a registry got of it. */
  | { readonly event: 'compressed'; readonly bytes: number }
  | { readonly event: 'sent'; readonly bytes: number; readonly sizeBytes: number }
  | { readonly event: 'writing'; readonly output: string }
  | { readonly event: 'note'; readonly text: string }
  | { readonly event: 'warning'; readonly text: string };

export type OnEvent = (event: ImportEvent) => void;
