// SPDX-License-Identifier: Apache-2.0
import { TransportFailure } from './errors.ts';
import { type HttpResponse, stalled } from './transport.ts';

/**
 * Hands the chunks of a body to `take` as the socket gives them; a promise of take holds the socket back. Throws TransportFailure when the body is cut
 * off or nothing arrives for stallTimeoutMs (time spent in take does not count), and whatever take throws.
 */
export function readChunks(
  response: HttpResponse,
  take: (chunk: Buffer) => Promise<void> | void,
  stallTimeoutMs: number,
): Promise<void> {
  const { body } = response;
  return new Promise((resolve, reject) => {
    let busy = false;
    let done = false;
    const stall = setTimeout(() => {
      if (busy) stall.refresh();
      else fail(stalled(stallTimeoutMs));
    }, stallTimeoutMs);
    const finish = () => {
      done = true;
      clearTimeout(stall);
    };
    const fail = (error: unknown) => {
      if (done) return;
      finish();
      body.destroy();
      reject(error);
    };
    body.on('data', (chunk: Buffer) => {
      if (done) return;
      stall.refresh();
      try {
        const taken = take(chunk);
        if (taken === undefined) return;
        busy = true;
        body.pause();
        taken.then(() => {
          busy = false;
          stall.refresh();
          body.resume();
        }, fail);
      } catch (error) {
        fail(error);
      }
    });
    const cut = () => fail(new TransportFailure('ECONNRESET', 'the connection was cut', { retryable: true }));
    if (body.destroyed) cut();
    body.on('error', (error) => fail(response.describe(error)));
    body.on('close', () => {
      if (!body.complete) cut();
    });
    body.on('end', () => {
      // Without a length a cut connection looks like the end: the caller counts.
      if (done) return;
      finish();
      resolve();
    });
  });
}

/** A whole body of at most maxBytes; null when it is longer. Throws TransportFailure. */
export async function readBody(
  response: HttpResponse,
  maxBytes: number,
  stallTimeoutMs: number,
): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  const tooLong = new Error('the body is too long');
  try {
    await readChunks(
      response,
      (chunk) => {
        sizeBytes += chunk.length;
        if (sizeBytes > maxBytes) throw tooLong;
        chunks.push(chunk);
      },
      stallTimeoutMs,
    );
  } catch (error) {
    if (error === tooLong) return null;
    throw error;
  }
  return Buffer.concat(chunks, sizeBytes);
}

const maxErrorBytes = 64 * 1024;

/** The beginning (64 KiB, what comes in 10 s) of an error's body as text; what cannot be read is left out. */
export async function readErrorText(response: HttpResponse, stallTimeoutMs: number): Promise<string> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  const enough = new Error('enough');
  const limitMs = Math.min(stallTimeoutMs, 10_000);
  const startedMs = performance.now();
  await readChunks(
    response,
    (chunk) => {
      chunks.push(chunk);
      sizeBytes += chunk.length;
      if (sizeBytes >= maxErrorBytes || performance.now() - startedMs >= limitMs) throw enough;
    },
    limitMs,
  ).catch(() => {});
  return Buffer.concat(chunks).subarray(0, maxErrorBytes).toString('utf8');
}

/** Throws a body away: read to its end when it is short, so that the connection serves again, else cut off. */
export function discardBody(response: HttpResponse): void {
  const length = Number(response.headers['content-length'] ?? Number.NaN);
  if (length <= maxErrorBytes || response.method === 'HEAD' || response.status === 204) response.body.resume();
  else response.body.destroy();
}
