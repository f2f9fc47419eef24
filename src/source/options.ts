// SPDX-License-Identifier: Apache-2.0
import type { Platform } from './image.ts';

/** What every source of images is told. */
export interface SourceOptions {
  /** Asked for by the user, who gets this one or a Failure; null: this machine's is preferred. */
  readonly platform: Platform | null;
  /** Where what cannot be read in place is kept meanwhile (ENROOT_TEMP_PATH). Such files have no name: nothing is left of them. */
  readonly temporaryDirectory: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal;
  /** What is under way, and how many bytes of it came so far. */
  readonly onProgress?: (what: string, bytes: number) => void;
  /** For --verbose; no secrets. */
  readonly log?: (text: string) => void;
}
