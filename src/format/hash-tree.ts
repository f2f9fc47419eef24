// SPDX-License-Identifier: Apache-2.0
import type { hash } from 'node:crypto';

/** The payload is cut into leaves of this many bytes; so is every level of digests (docs/format.md). */
export const leafSizeBytes = 65536;
const digestSizeBytes = 32;
const rootLabel = 'BNDLTREE1\0';

export interface HashTree {
  /** The payload's digest: 32 bytes. */
  readonly root: Buffer;
  /** All levels, level 0 first: the content of the `hashtree` section. */
  readonly levels: Buffer;
}

let loaded: typeof hash | undefined;

/** SHA-256 of some bytes. */
export function sha256(data: Uint8Array): Buffer {
  // Loading it takes some milliseconds, in which make already has its other processes at work.
  loaded ??= process.getBuiltinModule('node:crypto').hash;
  return loaded('sha256', data, 'buffer');
}

/** Sizes in bytes of the levels of a payload's tree, level 0 first; none for an empty payload. */
export function levelSizes(payloadSizeBytes: number): number[] {
  const sizes: number[] = [];
  let count = Math.ceil(payloadSizeBytes / leafSizeBytes);
  while (count > 0) {
    sizes.push(count * digestSizeBytes);
    count = count === 1 ? 0 : Math.ceil((count * digestSizeBytes) / leafSizeBytes);
  }
  return sizes;
}

/** Size in bytes of the `hashtree` section of a payload. */
export function treeSizeBytes(payloadSizeBytes: number): number {
  return levelSizes(payloadSizeBytes).reduce((sum, size) => sum + size, 0);
}

/** Digests of the leaves of some bytes that begin at a leaf's start: 32 bytes each, the last leaf may be short. */
export function hashLeaves(data: Uint8Array): Buffer {
  const digests = Buffer.allocUnsafe(Math.ceil(data.length / leafSizeBytes) * digestSizeBytes);
  for (let start = 0, at = 0; start < data.length; start += leafSizeBytes, at += digestSizeBytes) {
    sha256(data.subarray(start, start + leafSizeBytes)).copy(digests, at);
  }
  return digests;
}

/** Builds the tree over the digests of all leaves of a payload of that size. */
export function buildTree(leafDigests: Buffer, payloadSizeBytes: number): HashTree {
  if (leafDigests.length !== Math.ceil(payloadSizeBytes / leafSizeBytes) * digestSizeBytes) {
    throw new RangeError(
      `${leafDigests.length} bytes of leaf digests do not fit a payload of ${payloadSizeBytes} bytes`,
    );
  }
  const levels: Buffer[] = [];
  let level = leafDigests;
  while (level.length > 0) {
    levels.push(level);
    if (level.length === digestSizeBytes) break;
    level = hashLeaves(level);
  }
  const top = levels.at(-1) ?? Buffer.alloc(digestSizeBytes);
  return { root: hashRoot(top, payloadSizeBytes), levels: Buffer.concat(levels) };
}

function hashRoot(top: Buffer, payloadSizeBytes: number): Buffer {
  const head = Buffer.alloc(rootLabel.length + 12);
  head.write(rootLabel, 'latin1');
  head.writeBigUInt64LE(BigInt(payloadSizeBytes), rootLabel.length);
  head.writeUInt32LE(leafSizeBytes, rootLabel.length + 8);
  return sha256(Buffer.concat([head, top]));
}

/** Takes a payload in pieces of any size and gives its tree: `update` for each piece, `finish` once at the end. */
export interface TreeHasher {
  update(data: Uint8Array): void;
  finish(): HashTree;
}

/** Starts hashing a payload that comes in pieces. Pieces that are multiples of a leaf are hashed without a copy. */
export function startTree(): TreeHasher {
  const digests: Buffer[] = [];
  const carry = Buffer.allocUnsafe(leafSizeBytes);
  let carriedBytes = 0;
  let payloadSizeBytes = 0;
  return {
    update(data) {
      payloadSizeBytes += data.length;
      let rest = data;
      if (carriedBytes > 0) {
        const taken = Math.min(leafSizeBytes - carriedBytes, rest.length);
        carry.set(rest.subarray(0, taken), carriedBytes);
        carriedBytes += taken;
        rest = rest.subarray(taken);
        if (carriedBytes < leafSizeBytes) return;
        digests.push(sha256(carry));
        carriedBytes = 0;
      }
      const wholeBytes = rest.length - (rest.length % leafSizeBytes);
      if (wholeBytes > 0) digests.push(hashLeaves(rest.subarray(0, wholeBytes)));
      carry.set(rest.subarray(wholeBytes));
      carriedBytes = rest.length - wholeBytes;
    },
    finish() {
      if (carriedBytes > 0) digests.push(sha256(carry.subarray(0, carriedBytes)));
      carriedBytes = 0;
      return buildTree(Buffer.concat(digests), payloadSizeBytes);
    },
  };
}

/** Compares a stored tree with the payload's size and digest: null when it fits, else what is wrong. */
export function checkTree(levels: Buffer, payloadSizeBytes: number, root: Uint8Array): string | null {
  const expectedBytes = treeSizeBytes(payloadSizeBytes);
  if (levels.length !== expectedBytes) {
    return `the hash tree has ${levels.length} bytes, a payload of ${payloadSizeBytes} bytes needs ${expectedBytes}`;
  }
  const leafDigests = levels.subarray(0, levelSizes(payloadSizeBytes)[0] ?? 0);
  const rebuilt = buildTree(leafDigests, payloadSizeBytes);
  if (!rebuilt.levels.equals(levels)) return 'the levels of the hash tree contradict each other';
  if (!rebuilt.root.equals(root)) return 'the hash tree does not belong to the digest in the section table';
  return null;
}

/** Digest of one leaf as a stored tree has it. */
export function leafDigest(levels: Buffer, leaf: number): Buffer {
  return levels.subarray(leaf * digestSizeBytes, (leaf + 1) * digestSizeBytes);
}
