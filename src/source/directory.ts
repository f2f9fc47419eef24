// SPDX-License-Identifier: Apache-2.0
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { selectEntries } from '../exporting/select-entries.ts';
import { openTreeTar } from '../exporting/tree-tar.ts';
import { explain, Failure } from '../failure.ts';
import type { Image } from './image.ts';
import { nameOfFile } from './names.ts';

/**
 * A root filesystem in a directory as an image of one layer, without a configuration. What is mounted below it is left out; for others than root, who own
 * nothing but their own files, all become root's. Throws Failure.
 */
export async function openDirectoryImage(path: string): Promise<Image> {
  const status = await explain(`cannot open ${path}`, () => statSync(path));
  if (!status.isDirectory())
    throw new Failure(`cannot use ${path}: it is no directory`, { hint: `tar:${path} for an archive` });
  const directory = resolve(path);
  const selection = { leavesOut: () => false, allRoot: process.geteuid?.() !== 0, captured: new Map() };
  return {
    reference: `dir:${path}`,
    name: nameOfFile(directory),
    manifestDigest: '',
    config: null,
    layers: [
      {
        digest: '',
        sizeBytes: null,
        open: async () => openTreeTar({ directory }, (visitor) => selectEntries(visitor, selection)),
      },
    ],
    close: async () => {},
  };
}
