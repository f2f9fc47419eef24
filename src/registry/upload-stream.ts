// SPDX-License-Identifier: Apache-2.0
import { createHash, type Hash } from 'node:crypto';
import { pipeline, type Readable, Transform } from 'node:stream';

/** A stream on its way out. */
export interface CountedStream {
  readonly readable: Readable;
  /** What went through: the digest (that of the options where they have one) and the size. */
  result(): { digest: string; sizeBytes: number };
}

/** Counts what goes through, and hashes it when its digest is not known. */
export function countStream(
  source: Readable,
  options: { digest: string; onProgress?: (sentBytes: number) => void },
): CountedStream {
  const hash: Hash | null = options.digest === '' ? createHash('sha256') : null;
  let sizeBytes = 0;
  options.onProgress?.(0);
  const counter = new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      hash?.update(chunk);
      sizeBytes += chunk.length;
      options.onProgress?.(sizeBytes);
      done(null, chunk);
    },
  });
  // An error of the source reaches the reader of the counter; an early end of the reader closes the source.
  pipeline(source, counter, () => {});
  return {
    readable: counter,
    result: () => ({ digest: hash === null ? options.digest : `sha256:${hash.digest('hex')}`, sizeBytes }),
  };
}
