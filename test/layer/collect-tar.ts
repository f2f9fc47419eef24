// SPDX-License-Identifier: Apache-2.0
import { TarReader } from '../../src/layer/read-tar.ts';
import type { TarEntry } from '../../src/layer/tar-entry.ts';

export interface Collected {
  readonly entry: TarEntry;
  /** null: not a file, or empty. */
  readonly content: Buffer | null;
  readonly holes: number;
}

/** Reads an archive given in pieces of the sizes that `next` says. */
export function collectTar(archive: Buffer, next: () => number = () => archive.length): Collected[] {
  const found: { entry: TarEntry; parts: Buffer[]; holes: number }[] = [];
  const reader = new TarReader({
    entry: (entry) => found.push({ entry, parts: [], holes: 0 }) > 0,
    data: (chunk) => void found.at(-1)?.parts.push(Buffer.from(chunk)),
    hole(sizeBytes) {
      const last = found.at(-1);
      last?.parts.push(Buffer.alloc(sizeBytes));
      if (last) last.holes += 1;
    },
    end: () => {},
  });
  for (let at = 0; at < archive.length; ) {
    const sizeBytes = Math.max(1, next());
    // A copy: what was given must not be needed in one piece.
    reader.write(Buffer.from(archive.subarray(at, at + sizeBytes)));
    at += sizeBytes;
  }
  reader.end();
  return found.map(({ entry, parts, holes }) => ({
    entry,
    content: parts.length > 0 ? Buffer.concat(parts) : null,
    holes,
  }));
}
