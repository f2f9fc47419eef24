// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { pipeline, type Readable, Transform } from 'node:stream';
import { Failure } from '../failure.ts';

/** True for `sha256:` with 64 hex digits, or `sha512:` with 128 (OCI image-spec, descriptor.md: registered algorithms). */
export function isDigest(text: string): boolean {
  return /^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/.test(text);
}

/** The digest of bytes: `sha256:HEX`. */
export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** What a stream's bytes must be. */
export interface Expected {
  /** A digest for which isDigest holds. */
  readonly digest: string;
  /** null where it is not known. */
  readonly sizeBytes: number | null;
}

/**
 * A stream of the same bytes that ends with a Failure when they are not the expected ones; more than the expected number of bytes
 * are never passed on. Destroying it destroys the source.
 */
export function verifying(source: Readable, { digest, sizeBytes }: Expected, what: string): Readable {
  const [algorithm = '', hex = ''] = digest.split(':');
  const hash = createHash(algorithm);
  let seenBytes = 0;
  const hint = 'it is damaged or was changed: get it again';
  const check = new Transform({
    readableHighWaterMark: 1 << 20,
    writableHighWaterMark: 1 << 20,
    transform(chunk: Buffer, _encoding, done) {
      seenBytes += chunk.length;
      if (sizeBytes !== null && seenBytes > sizeBytes) {
        done(new Failure(`${what} has more than the ${sizeBytes} bytes that it should have`, { hint }));
        return;
      }
      hash.update(chunk);
      done(null, chunk);
    },
    flush(done) {
      if (sizeBytes !== null && seenBytes !== sizeBytes) {
        done(new Failure(`${what} has ${seenBytes} bytes, not ${sizeBytes}`, { hint }));
        return;
      }
      const found = hash.digest('hex');
      done(
        found === hex ? null : new Failure(`${what} does not match its digest: it has ${algorithm}:${found}`, { hint }),
      );
    },
  });
  // An error reaches the reader through the last stream; there is nobody else to tell.
  pipeline(source, check, () => {});
  return check;
}

/** Checks bytes that are in memory. Throws Failure as `verifying` does. */
export function verifyBytes(bytes: Buffer, { digest, sizeBytes }: Expected, what: string): void {
  const [algorithm = '', hex = ''] = digest.split(':');
  const hint = 'it is damaged or was changed: get it again';
  if (sizeBytes !== null && bytes.length !== sizeBytes)
    throw new Failure(`${what} has ${bytes.length} bytes, not ${sizeBytes}`, { hint });
  const found = createHash(algorithm).update(bytes).digest('hex');
  if (found !== hex) throw new Failure(`${what} does not match its digest: it has ${algorithm}:${found}`, { hint });
}
