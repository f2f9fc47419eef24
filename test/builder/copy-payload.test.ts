// SPDX-License-Identifier: Apache-2.0
import { randomFillSync } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startPayloadCopy } from '../../src/bundle/copy-payload.ts';
import { buildTree, hashLeaves } from '../../src/format/hash-tree.ts';

/** Enough for two threads, with a short last leaf and a start that is no page boundary. */
const payload = randomFillSync(Buffer.alloc((37 << 20) + 4321));
const targetAt = 1234;
let dir = '';

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'bundler-copy-'));
  writeFileSync(join(dir, 'source'), payload);
});
afterAll(() => rmSync(dir, { recursive: true }));

async function copy(sizeBytes: number, claimedBytes = sizeBytes, mode = 'w+') {
  writeFileSync(join(dir, 'part'), payload.subarray(0, sizeBytes));
  writeFileSync(join(dir, 'target'), '');
  const [source, target] = [openSync(join(dir, 'part'), 'r'), openSync(join(dir, 'target'), mode)];
  const started = startPayloadCopy(source, target, targetAt, claimedBytes);
  let advancedBytes = 0;
  try {
    const tree = await started.finish((bytes) => {
      advancedBytes += bytes;
    });
    return { tree, advancedBytes, written: readFileSync(join(dir, 'target')) };
  } finally {
    await started.stop();
    closeSync(source);
    closeSync(target);
  }
}

test.each([0, 1, 4 << 20, (32 << 20) + 1, payload.length])(
  '%i bytes arrive, whoever copies them, with their tree',
  async (size) => {
    const expected = payload.subarray(0, size);
    const { tree, advancedBytes, written } = await copy(size);
    expect(written.subarray(targetAt).equals(expected)).toBe(true);
    expect(tree).toEqual(buildTree(hashLeaves(expected), size));
    expect(advancedBytes).toBe(size);
  },
);

test.each([1000, payload.length - 1])('a file that ends after %i bytes is noticed', async (size) => {
  await expect(copy(size, payload.length)).rejects.toThrow('became shorter');
});

test('a write that fails is an error of the system, in whichever thread', async () => {
  await expect(copy(payload.length, payload.length, 'r')).rejects.toMatchObject({ code: 'EBADF' });
});
