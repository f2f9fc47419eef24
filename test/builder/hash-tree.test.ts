// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  buildTree,
  checkTree,
  hashLeaves,
  leafDigest,
  leafSizeBytes,
  levelSizes,
  startTree,
  treeSizeBytes,
} from '../../src/format/hash-tree.ts';

const sha = (...parts: Uint8Array[]): Buffer => {
  const digest = createHash('sha256');
  for (const part of parts) digest.update(part);
  return digest.digest();
};

/** docs/format.md once more, in the plainest way. */
function referenceTree(payload: Buffer): { root: Buffer; levels: Buffer } {
  const cut = (data: Buffer): Buffer => {
    const digests: Buffer[] = [];
    for (let at = 0; at < data.length; at += 65536) digests.push(sha(data.subarray(at, at + 65536)));
    return Buffer.concat(digests);
  };
  const levels: Buffer[] = [];
  for (let level = cut(payload); level.length > 0; level = cut(level)) {
    levels.push(level);
    if (level.length === 32) break;
  }
  const head = Buffer.alloc(12);
  head.writeBigUInt64LE(BigInt(payload.length));
  head.writeUInt32LE(65536, 8);
  const top = levels.at(-1) ?? Buffer.alloc(32);
  return { root: sha(Buffer.from('BNDLTREE1\0', 'latin1'), head, top), levels: Buffer.concat(levels) };
}

test.each([0, 1, 65535, 65536, 65537, 131072, 300_001, 2048 * 65536, 2048 * 65536 + 1])(
  'the tree of %i bytes is as the format says',
  (sizeBytes) => {
    const payload = Buffer.alloc(sizeBytes);
    for (let at = 0; at < sizeBytes; at += 1021) payload[at] = at % 251;
    const expected = referenceTree(payload);
    const tree = buildTree(hashLeaves(payload), sizeBytes);
    expect(tree.root.equals(expected.root)).toBe(true);
    expect(tree.levels.equals(expected.levels)).toBe(true);
    expect(treeSizeBytes(sizeBytes)).toBe(tree.levels.length);
    expect(checkTree(tree.levels, sizeBytes, tree.root)).toBeNull();
  },
);

test('however the payload is cut into pieces, the tree is the same', () => {
  const payload = Buffer.alloc(5 * leafSizeBytes + 1234, 'bundle');
  const whole = buildTree(hashLeaves(payload), payload.length);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 3 * leafSizeBytes }), { maxLength: 12 }), (cuts) => {
      const hasher = startTree();
      let at = 0;
      for (const cut of [...cuts, payload.length]) {
        hasher.update(payload.subarray(at, at + cut));
        at = Math.min(at + cut, payload.length);
      }
      expect(hasher.finish()).toEqual(whole);
    }),
    { numRuns: 50 },
  );
});

test('every flipped bit of a stored tree is found', () => {
  const payload = Buffer.alloc(3 * leafSizeBytes, 7);
  const tree = buildTree(hashLeaves(payload), payload.length);
  for (let at = 0; at < tree.levels.length; at++) {
    const bad = Buffer.from(tree.levels);
    bad[at] = (bad[at] as number) ^ (1 << (at % 8));
    expect(checkTree(bad, payload.length, tree.root)).not.toBeNull();
  }
  expect(checkTree(tree.levels.subarray(32), payload.length, tree.root)).toMatch(/bytes/);
  expect(checkTree(tree.levels, payload.length - 1, tree.root)).toMatch(/does not belong/);
});

test('leaves and inner nodes cannot be confused: a payload that is a level of digests has another root', () => {
  const payload = Buffer.alloc(2 * leafSizeBytes, 1);
  const tree = buildTree(hashLeaves(payload), payload.length);
  const level = tree.levels.subarray(0, levelSizes(payload.length)[0]);
  expect(buildTree(hashLeaves(level), level.length).root.equals(tree.root)).toBe(false);
  expect(leafDigest(tree.levels, 1).equals(sha(payload.subarray(leafSizeBytes)))).toBe(true);
});

test('leaf digests of another payload size are refused', () => {
  expect(() => buildTree(Buffer.alloc(64), leafSizeBytes)).toThrow(RangeError);
});
