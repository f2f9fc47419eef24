// SPDX-License-Identifier: Apache-2.0

import { Failure } from '../failure.ts';
import { toBuffer } from '../format/bytes.ts';
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

/**
 * Has the launcher copy ranges into an open file and hash them on the way, with all CPUs. advance is told of bytes written since it
 * was told last. Gives the digests of each range, 32 bytes each, one after the other. Throws Failure.
 */
export async function copyRanges(
  target: number,
  ranges: readonly CopiedRange[],
  advance: (bytes: number) => void,
): Promise<Buffer[]> {
  const sources = [...new Set(ranges.map(({ source }) => source))];
  let doneBytes = 0;
  let digests: Buffer[] = [];
  const tell = (bytes: number): void => {
    advance(bytes - doneBytes);
    doneBytes = bytes;
  };
  await runRole(
    [
      ['role', 'copy'],
      ['target', String(firstDescriptor)],
      ...ranges.map(({ source, offset, sizeBytes, targetOffset, digests: kind }) => {
        const descriptor = firstDescriptor + 1 + sources.indexOf(source);
        return ['range', `${descriptor} ${offset} ${sizeBytes} ${targetOffset} ${kind}`] as const;
      }),
    ],
    {
      descriptors: [target, ...sources],
      onFacts: (facts) => {
        const done = facts.find(([key]) => key === 'done');
        if (done !== undefined) tell(Number(done[1]));
        else digests = facts.filter(([key]) => key === 'digests').map(([, value]) => toBuffer(value));
      },
    },
  );
  if (digests.length !== ranges.length) throw new Failure('the launcher gave no digests of what it copied');
  tell(ranges.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
  return digests;
}
