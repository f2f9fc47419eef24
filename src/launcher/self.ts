// SPDX-License-Identifier: Apache-2.0

import type { OpenFile } from '../bundle/open.ts';
import { openFile } from '../bundle/open.ts';
import { Failure } from '../failure.ts';
import { FormatError } from '../format/format-error.ts';
import { findSection, readSections, type Section } from '../format/sections.ts';

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

/** The running bundler's own file with the two sections that every bundle gets. The caller closes it. Throws Failure. */
export async function openSelf(): Promise<{ file: OpenFile; launcher: Section; runtime: Section }> {
  const file = await openFile(findSelf());
  try {
    const table = readSections(file.readAt, file.sizeBytes);
    const [launcher, runtime] = [findSection(table, 'launcher'), findSection(table, 'runtime')];
    if (launcher === undefined || runtime === undefined) throw new FormatError('it has no runtime section');
    return { file, launcher, runtime };
  } catch (error) {
    file.close();
    if (!(error instanceof FormatError)) throw error;
    throw new Failure(`this bundler's own file ${file.path} cannot be used: ${error.message}`, {
      hint: 'install bundler again',
      cause: error,
    });
  }
}
