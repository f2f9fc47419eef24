// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { checkTree, hashLeaves, leafDigest, leafSizeBytes, startTree } from '../format/hash-tree.ts';
import { findSection, type Section, type SectionTable } from '../format/sections.ts';
import { readChunks, readExactly } from './copy.ts';

/** What was found about one section. */
export interface SectionVerdict {
  readonly name: string;
  readonly offset: number;
  readonly sizeBytes: number;
  readonly ok: boolean;
  /** What is wrong, when something is. */
  readonly problem?: string;
  /** Of the payload: how many leaves of 64 KiB are bad, and where in the file the first one begins. */
  readonly badLeaves?: number;
  readonly firstBadOffset?: number;
}

/**
 * Compares every section of a file with its digest, the payload leaf by leaf with the hash tree and the tree with its root.
 * advance is told of the bytes read. Throws the system's error when the file cannot be read.
 */
export async function verifySections(
  file: number,
  table: SectionTable,
  advance: (bytes: number) => void,
): Promise<SectionVerdict[]> {
  const verdicts: SectionVerdict[] = [];
  for (const section of table.sections) {
    verdicts.push(
      section.name === 'payload'
        ? await verifyPayload(file, section, findSection(table, 'hashtree'), advance)
        : await verifySection(file, section, advance),
    );
  }
  return verdicts;
}

/** True when the payload of a file is what its section table says; says which part is not otherwise. */
export async function verifyPayloadOf(
  file: number,
  table: SectionTable,
  advance: (bytes: number) => void,
): Promise<SectionVerdict | undefined> {
  const payload = findSection(table, 'payload');
  if (payload === undefined) return undefined;
  return await verifyPayload(file, payload, findSection(table, 'hashtree'), advance);
}

async function verifySection(
  file: number,
  section: Section,
  advance: (bytes: number) => void,
): Promise<SectionVerdict> {
  const { name, offset, sizeBytes } = section;
  const digest = createHash('sha256');
  await readChunks(file, section, (chunk) => {
    digest.update(chunk);
    advance(chunk.length);
  });
  const ok = digest.digest().equals(section.digest);
  return ok ? { name, offset, sizeBytes, ok } : { name, offset, sizeBytes, ok, problem: 'its SHA-256 does not fit' };
}

async function verifyPayload(
  file: number,
  payload: Section,
  hashtree: Section | undefined,
  advance: (bytes: number) => void,
): Promise<SectionVerdict> {
  const { name, offset, sizeBytes } = payload;
  const levels = hashtree === undefined ? undefined : readLevels(file, hashtree, sizeBytes);
  const treeProblem = levels === undefined ? 'no hash tree' : checkTree(levels, sizeBytes, payload.digest);
  // Leaf digests of a damaged tree would accuse good leaves.
  const trusted = treeProblem === null ? levels : undefined;
  const hasher = startTree();
  let badLeaves = 0;
  let firstBadOffset: number | undefined;
  await readChunks(file, payload, (chunk, at) => {
    if (trusted === undefined) {
      hasher.update(chunk);
    } else {
      const digests = hashLeaves(chunk);
      for (let i = 0; i * leafSizeBytes < chunk.length; i++) {
        const leaf = at / leafSizeBytes + i;
        if (leafDigest(digests, i).equals(leafDigest(trusted, leaf))) continue;
        badLeaves++;
        firstBadOffset ??= offset + leaf * leafSizeBytes;
      }
    }
    advance(chunk.length);
  });
  if (trusted === undefined) {
    const ok = hasher.finish().root.equals(payload.digest);
    if (ok) return { name, offset, sizeBytes, ok };
    return { name, offset, sizeBytes, ok, problem: `its digest does not fit (and where is not known: ${treeProblem})` };
  }
  if (firstBadOffset === undefined) return { name, offset, sizeBytes, ok: true };
  const total = Math.ceil(sizeBytes / leafSizeBytes);
  const problem = `${badLeaves} of ${total} leaves of 64 KiB are damaged, the first one at byte ${firstBadOffset} of the file`;
  return { name, offset, sizeBytes, ok: false, problem, badLeaves, firstBadOffset };
}

function readLevels(file: number, hashtree: Section, payloadSizeBytes: number): Buffer | undefined {
  // 32 bytes for each leaf and a little more; anything else is damage, and not worth the memory.
  if (hashtree.sizeBytes > 1024 + payloadSizeBytes / 1024) return undefined;
  const levels = Buffer.alloc(hashtree.sizeBytes);
  readExactly(file, levels, hashtree.offset);
  return levels;
}
