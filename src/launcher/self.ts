// SPDX-License-Identifier: Apache-2.0

import type { OpenFile } from '../bundle/open.ts';
import { openFile } from '../bundle/open.ts';
import { Failure } from '../failure.ts';
import type { Section } from '../format/sections.ts';

/** The path of the running bundler, as its launcher says. Throws Failure when it was not started by one. */
export function findSelf(): string {
  const path = process.env.BUNDLER_SELF;
  if (path === undefined || path === '') {
    throw new Failure('this program was not started by its launcher: BUNDLER_SELF is not set', {
      hint: 'build it with "npm run build" and start dist/bundler',
    });
  }
  return path;
}

/**
 * The running bundler's own file with the two sections that every bundle gets, as its launcher tells them (`BUNDLER_OWN`): that has
 * verified the table. The caller closes it. Throws Failure.
 */
export async function openSelf(): Promise<{ file: OpenFile; launcher: Section; runtime: Section }> {
  const [launcher, runtime] = (process.env.BUNDLER_OWN ?? '').split('\n').map(readSection);
  if (launcher === undefined || runtime === undefined) {
    throw new Failure('this program was not started by its launcher: BUNDLER_OWN does not name its sections', {
      hint: 'build it with "npm run build" and start dist/bundler',
    });
  }
  return { file: await openFile(findSelf()), launcher, runtime };
}

/** A section as the wire tells it (docs/plan.md): `name offset size raw-size sha256hex`. */
function readSection(text: string): Section | undefined {
  const [, name = '', offset, size, rawSize, digest = ''] = /^(\S+) (\d+) (\d+) (\d+) ([0-9a-f]{64})$/.exec(text) ?? [];
  if (name === '') return undefined;
  return {
    name,
    offset: Number(offset),
    sizeBytes: Number(size),
    rawSizeBytes: Number(rawSize),
    digest: Buffer.from(digest, 'hex'),
  };
}
