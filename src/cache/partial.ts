// SPDX-License-Identifier: Apache-2.0

/** What a download writes to: the blob's bytes from the first on, in order. */
export interface PartialBlob {
  /** Bytes that are there already (from an earlier try); the download goes on from this offset. */
  readonly sizeBytes: number;
  /**
   * Hashes and writes; the chunk must not be changed afterwards. A promise, when there is one, is to be awaited before the next chunk.
   * Throws Failure when the cache cannot be written or the blob becomes larger than it may be: trying again is of no use then.
   */
  append(chunk: Buffer): Promise<void> | void;
  /** Forgets what is there (the server cannot resume). */
  restart(): Promise<void>;
}
