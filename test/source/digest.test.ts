// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { digestOf, isDigest, verifyBytes, verifying } from '../../src/source/digest.ts';
import { read } from './support.ts';

const bytes = Buffer.from('hello world');
const digest = digestOf(bytes);
const from = (...chunks: Buffer[]) => Readable.from(chunks, { objectMode: false });

describe('a verified stream', () => {
  test('has the same bytes when they match', async () => {
    const source = from(bytes.subarray(0, 3), bytes.subarray(3));
    expect(await read(verifying(source, { digest, sizeBytes: 11 }, 'x'))).toEqual(bytes);
    const sha512 = `sha512:${createHash('sha512').update(bytes).digest('hex')}`;
    expect(await read(verifying(from(bytes), { digest: sha512, sizeBytes: null }, 'x'))).toEqual(bytes);
  });

  test('fails at its end when they do not', async () => {
    const stream = verifying(from(Buffer.from('hello World')), { digest, sizeBytes: 11 }, 'the layer');
    await expect(read(stream)).rejects.toThrow(/^the layer does not match its digest: it has sha256:/);
  });

  test('fails when there are fewer or more bytes', async () => {
    await expect(read(verifying(from(bytes.subarray(1)), { digest, sizeBytes: 11 }, 'x'))).rejects.toThrow(
      'has 10 bytes, not 11',
    );
    await expect(read(verifying(from(bytes, bytes), { digest, sizeBytes: 11 }, 'x'))).rejects.toThrow(
      'more than the 11 bytes',
    );
  });

  test("passes the source's error on, and destroys the source with itself", async () => {
    const broken = new Readable({
      read() {
        this.destroy(new Error('the disk'));
      },
    });
    await expect(read(verifying(broken, { digest, sizeBytes: null }, 'x'))).rejects.toThrow('the disk');
    const endless = new Readable({
      read() {
        this.push(bytes);
      },
    });
    const stream = verifying(endless, { digest, sizeBytes: null }, 'x');
    for await (const _ of stream) break;
    if (!endless.closed) await new Promise((resolve) => endless.once('close', resolve));
    expect(endless.destroyed).toBe(true);
  });
});

test('bytes in memory are verified alike', () => {
  expect(() => verifyBytes(bytes, { digest, sizeBytes: 11 }, 'x')).not.toThrow();
  expect(() => verifyBytes(bytes, { digest, sizeBytes: 12 }, 'x')).toThrow('has 11 bytes, not 12');
  expect(() => verifyBytes(Buffer.from('x'), { digest, sizeBytes: null }, 'x')).toThrow('does not match');
});

test('a digest is one of the two that are registered, in small letters', () => {
  expect(isDigest(digest)).toBe(true);
  for (const text of ['', 'sha256:', `md5:${'a'.repeat(32)}`, `${digest}0`, digest.toUpperCase(), `${digest}\n`])
    expect(isDigest(text)).toBe(false);
});
