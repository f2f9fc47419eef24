// SPDX-License-Identifier: Apache-2.0
import { explain, Failure } from '../failure.ts';
import { findSection } from '../format/sections.ts';
import type { Progress } from '../ui/reporter.ts';
import type { Opened } from './open.ts';

/** Where in a file a squashfs image is. */
export interface PayloadRange {
  readonly offset: number;
  readonly sizeBytes: number;
}

/**
 * The image in a file: of a bundle its payload, after all of it was compared with its digest; a plain image whole. start is told how many bytes are
 * read for that. Throws Failure, with what was to be done in front, when there is none or it is damaged.
 */
export async function findVerifiedPayload(
  opened: Opened,
  purpose: 'extract' | 'export',
  start: (totalBytes: number) => Progress,
): Promise<PayloadRange> {
  const { path } = opened.file;
  if (opened.kind === 'image') return { offset: 0, sizeBytes: opened.file.sizeBytes };
  const payload = findSection(opened.table, 'payload');
  if (payload === undefined) {
    throw new Failure(`cannot ${purpose} ${path}: it has no payload`, {
      hint: 'give a bundle made with "bundler make"',
    });
  }
  const { verifyPayloadOf } = await import('./verify.ts');
  const progress = start(payload.sizeBytes);
  const verdict = await explain(`cannot read ${path}`, () =>
    verifyPayloadOf(opened.file.descriptor, opened.table, (bytes) => progress.advance(bytes)),
  ).finally(() => progress.end());
  if (verdict?.ok !== true) {
    throw new Failure(`cannot ${purpose} ${path}: its payload is damaged: ${verdict?.problem}`, {
      hint: 'download or copy the file again',
    });
  }
  return payload;
}
