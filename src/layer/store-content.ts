// SPDX-License-Identifier: Apache-2.0
import type { Packer } from '../launcher/pack.ts';
import type { TarVisitor } from './read-tar.ts';
import type { TarEntry } from './tar-entry.ts';

/** Contents are numbers from 0, as the packer gives them; these stand for none. */
export const noContent = -1;
export const skippedContent = -2;

/** The entries of a layer in the archive's order, and for each the number of its content. */
export interface LayerRecord {
  readonly entries: TarEntry[];
  readonly contents: number[];
}

/** A visitor that keeps all entries of a layer and has the packer store the contents that are wanted. */
export function storeContents(
  packer: Packer,
  isWanted: (entry: TarEntry, index: number) => boolean,
): { record: LayerRecord; visitor: TarVisitor } {
  const record: LayerRecord = { entries: [], contents: [] };
  let sizeBytes = 0;
  let content = noContent;
  let begun = false;
  const begin = (): void => {
    if (!begun) content = packer.beginFile(sizeBytes);
    begun = true;
  };
  const visitor: TarVisitor = {
    entry(entry) {
      const index = record.entries.push(entry) - 1;
      const isEmpty = entry.kind !== 'file' || entry.sizeBytes === 0;
      const wanted = !isEmpty && isWanted(entry, index);
      record.contents.push(isEmpty ? noContent : skippedContent);
      sizeBytes = entry.sizeBytes;
      begun = false;
      return wanted;
    },
    data(chunk) {
      // Most files come in one piece.
      if (!begun && chunk.length === sizeBytes) content = packer.storeFile(chunk);
      else {
        begin();
        packer.writeData(chunk);
      }
    },
    hole(holeBytes) {
      begin();
      packer.writeHole(holeBytes);
    },
    end() {
      if (begun) packer.endFile();
      record.contents[record.contents.length - 1] = content;
    },
  };
  return { record, visitor };
}
