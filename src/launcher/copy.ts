// SPDX-License-Identifier: Apache-2.0

import { Failure } from '../failure.ts';
import { toBuffer } from '../format/bytes.ts';
import type { Fact } from '../format/wire.ts';
import { firstDescriptor, runRole } from './role.ts';

/** A range of an open file, and where it goes. */
export interface CopiedRange {
  /** An open descriptor. */
  readonly source: number;
  readonly offset: number;
  readonly sizeBytes: number;
  readonly targetOffset: number;
  /** A SHA-256 for each 64 KiB leaf, or one for the whole range. */
  readonly digests: 'leaves' | 'whole';
}

/** An image inside an open file, and what is wanted to know of it (docs/plan.md, role copy). */
export interface ImageQuestion {
  readonly source: number;
  readonly offset: number;
  readonly sizeBytes: number;
  /** Files to read, those whose beginning matters, and paths whose kind matters. */
  readonly paths: readonly string[];
  readonly heads: readonly string[];
  readonly looks: readonly string[];
  /** Directories whose entries are listed, and those that are read whole. */
  readonly names: readonly string[];
  readonly trees: readonly string[];
  /** Beginnings of names that are looked for everywhere. */
  readonly prefixes: readonly string[];
}

export interface Copied {
  /** Of each range, 32 bytes each, one after the other. */
  readonly digests: readonly Buffer[];
  /** What the image says; empty without a question. */
  readonly answer: readonly Fact[];
}

/**
 * Has the launcher copy ranges into an open file and hash them on the way, with all CPUs, and look at an image meanwhile. advance is told
 * of bytes written since it was told last. Throws Failure.
 */
export async function copyRanges(
  target: number,
  ranges: readonly CopiedRange[],
  advance: (bytes: number) => void,
  image?: ImageQuestion,
): Promise<Copied> {
  const sources = [...new Set([...ranges, ...(image ? [image] : [])].map(({ source }) => source))];
  const place = (source: number, offset: number, sizeBytes: number): string =>
    `${firstDescriptor + 1 + sources.indexOf(source)} ${offset} ${sizeBytes}`;
  let doneBytes = 0;
  let digests: Buffer[] = [];
  let answer: readonly Fact[] = [];
  const tell = (bytes: number): void => {
    advance(bytes - doneBytes);
    doneBytes = bytes;
  };
  const questions: Fact[] = image
    ? [
        ['image', place(image.source, image.offset, image.sizeBytes)],
        ...image.paths.map((path): Fact => ['path', path]),
        ...image.heads.map((path): Fact => ['head', path]),
        ...image.looks.map((path): Fact => ['look', path]),
        ...image.names.map((path): Fact => ['names', path]),
        ...image.trees.map((path): Fact => ['tree', path]),
        ...image.prefixes.map((prefix): Fact => ['find', prefix]),
      ]
    : [];
  await runRole(
    [
      ['role', 'copy'],
      ['target', String(firstDescriptor)],
      ...ranges.map(
        ({ source, offset, sizeBytes, targetOffset, digests: kind }): Fact => [
          'range',
          `${place(source, offset, sizeBytes)} ${targetOffset} ${kind}`,
        ],
      ),
      ...questions,
    ],
    {
      descriptors: [target, ...sources],
      onFacts: (facts) => {
        const [key, value] = facts[0] ?? [];
        if (key === 'done') tell(Number(value));
        else if (key === 'digests') digests = facts.map(([, digest]) => toBuffer(digest));
        else answer = facts;
      },
    },
  );
  if (digests.length !== ranges.length) throw new Failure('the launcher gave no digests of what it copied');
  if (image !== undefined && answer.length === 0) throw new Failure('the launcher gave no answer about the image');
  tell(ranges.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
  return { digests, answer };
}
