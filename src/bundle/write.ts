// SPDX-License-Identifier: Apache-2.0
import { ftruncateSync } from 'node:fs';
import { FormatError } from '../format/format-error.ts';
import { buildTree, sha256, treeSizeBytes } from '../format/hash-tree.ts';
import {
  encodeTable,
  layOutSections,
  placeSections,
  type SectionContent,
  type SectionTable,
} from '../format/sections.ts';
import type { Fact } from '../format/wire.ts';
import { copyRanges, type ImageQuestion } from '../launcher/copy.ts';
import { type Range, writeExactly } from './copy.ts';

/** A section that is copied from another bundle, with the digest it must have. */
export interface CopiedSection extends Range {
  /** An open descriptor. */
  readonly source: number;
  readonly rawSizeBytes: number;
  readonly digest: Buffer;
}

export interface BundleParts {
  readonly launcher: CopiedSection;
  readonly runtime: CopiedSection;
  readonly payload: { readonly source: number; readonly sizeBytes: number; readonly rawSizeBytes: number };
  /** What is wanted to know of the payload; without it the answer is empty. */
  readonly question?: Omit<ImageQuestion, 'source' | 'offset' | 'sizeBytes'>;
  /** Makes the manifest's bytes, of the payload's digest (32 bytes) and the answer to the question. */
  describe(digest: Buffer, answer: readonly Fact[]): Promise<Buffer>;
}

/**
 * Writes a bundle (docs/format.md) into an empty file: launcher, runtime, payload, manifest, hash tree, then the table.
 * advance is told of what was written, in bytes. Throws FormatError when a copied section is damaged.
 */
export async function writeBundle(
  target: number,
  parts: BundleParts,
  advance: (bytes: number) => void,
): Promise<SectionTable> {
  const { launcher, runtime, payload } = parts;
  const places = placeSections([launcher.sizeBytes, runtime.sizeBytes, payload.sizeBytes]);
  const [launcherAt, runtimeAt, payloadAt] = places.offsets as [number, number, number];
  const image = parts.question && {
    ...parts.question,
    source: payload.source,
    offset: 0,
    sizeBytes: payload.sizeBytes,
  };
  const { digests, answer } = await copyRanges(
    target,
    [
      { ...runtime, targetOffset: runtimeAt, digests: 'whole' },
      { ...launcher, targetOffset: launcherAt, digests: 'whole' },
      { ...payload, offset: 0, targetOffset: payloadAt, digests: 'leaves' },
    ],
    advance,
    image,
  );
  const [runtimeDigest, launcherDigest, leafDigests] = digests as [Buffer, Buffer, Buffer];
  refuseDamage(runtime, 'runtime', runtimeDigest);
  refuseDamage(launcher, 'launcher', launcherDigest);
  const tree = buildTree(leafDigests, payload.sizeBytes);
  const manifest = await parts.describe(tree.root, answer);

  const whole = (name: string, data: Buffer): SectionContent => ({
    name,
    sizeBytes: data.length,
    rawSizeBytes: data.length,
    digest: sha256(data),
  });
  const table = layOutSections([
    { name: 'launcher', sizeBytes: launcher.sizeBytes, rawSizeBytes: launcher.rawSizeBytes, digest: launcher.digest },
    { name: 'runtime', sizeBytes: runtime.sizeBytes, rawSizeBytes: runtime.rawSizeBytes, digest: runtime.digest },
    { name: 'payload', sizeBytes: payload.sizeBytes, rawSizeBytes: payload.rawSizeBytes, digest: tree.root },
    whole('manifest', manifest),
    whole('hashtree', tree.levels),
  ]);
  const pieces: [Buffer, number][] = [
    [manifest, table.sections[3]?.offset as number],
    [tree.levels, table.sections[4]?.offset as number],
    [encodeTable(table), table.tableOffset],
  ];
  for (const [data, offset] of pieces) {
    writeExactly(target, data, offset);
    advance(data.length);
  }
  // An empty last section at a page boundary leaves nothing that would give the file its full size.
  ftruncateSync(target, table.fileSizeBytes);
  return table;
}

/** Bytes that a bundle with this payload takes before its manifest is known: for the progress line. */
export function estimateSizeBytes(launcherBytes: number, runtimeBytes: number, payloadBytes: number): number {
  return launcherBytes + runtimeBytes + payloadBytes + treeSizeBytes(payloadBytes);
}

function refuseDamage(section: CopiedSection, name: string, digest: Buffer): void {
  if (digest.equals(section.digest)) return;
  throw new FormatError(
    `the ${name} section of this bundler is damaged: its SHA-256 does not fit`,
    'install bundler again',
  );
}
