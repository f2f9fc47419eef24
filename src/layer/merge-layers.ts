// SPDX-License-Identifier: Apache-2.0
import { Failure } from '../failure.ts';
import type { Bytes } from '../format/bytes.ts';
import { FormatError } from '../format/format-error.ts';
import type { Packer } from '../launcher/pack.ts';
import type { Layer } from '../source/image.ts';
import { applyEntry } from './apply-layer.ts';
import { Cover } from './cover.ts';
import { nameLayer, readLayer } from './read-layer.ts';
import { createTree, type Inode, type RootfsTree, show, splitPath, walkTo } from './rootfs-tree.ts';
import { type LayerRecord, noContent, skippedContent, storeContents } from './store-content.ts';
import type { TarEntry } from './tar-entry.ts';

/** A file or directory that is put over the layers. */
export interface AddedEntry {
  readonly entry: TarEntry;
  /** Empty for everything that is not a file. */
  readonly content: Buffer;
}

export interface MergeRequest {
  /** Lowest first. */
  readonly layers: readonly Layer[];
  readonly added: readonly AddedEntry[];
  /** Directories that must be there; they are made where they are missing. */
  readonly directories: readonly Bytes[];
  /** Of directories that no layer describes. */
  readonly mtimeSeconds: number;
  /** Told when a layer is begun and when it has been read. */
  readonly onLayer?: (index: number, state: 'begin' | 'end') => void;
}

/**
 * Merges layers into one root filesystem. Their bytes go through once: from the top layer to the bottom one, so that it is known of most
 * files whether an upper layer hides them, contents go to the packer as they come. The tree is made afterwards, from all entries, by applying the layers from bottom
 * to top as an extractor would. Where names misled (a path through a symlink of a lower layer), and a content that was passed over is needed after all, its layer is
 * read again. Throws Failure.
 */
export async function mergeLayers(request: MergeRequest, packer: Packer): Promise<RootfsTree> {
  const { layers, added, onLayer } = request;
  const cover = new Cover();
  const top: LayerRecord = {
    entries: added.map(({ entry }) => entry),
    contents: added.map(({ content }) => (content.length === 0 ? noContent : packer.storeFile(content))),
  };
  cover.add(top.entries);
  const records: LayerRecord[] = [];
  for (let index = layers.length - 1; index >= 0; index--) {
    const layer = layers[index] as Layer;
    onLayer?.(index, 'begin');
    const { record, visitor } = storeContents(packer, (entry) => !cover.hides(entry.path));
    await readLayer(layer, visitor, () => packer.drained());
    records[index] = record;
    if (index > 0) addToCover(cover, layer, record);
    onLayer?.(index, 'end');
  }
  const tree = createTree(request.mtimeSeconds);
  for (const [index, record] of records.entries()) applyRecord(tree, record, index, layers[index] as Layer);
  applyRecord(tree, top, layers.length, { digest: '' });
  for (const directory of request.directories) addDirectory(tree, directory, layers.length, request.mtimeSeconds);
  await storeMissing(tree, layers, records, packer);
  return tree;
}

function addDirectory(tree: RootfsTree, path: Bytes, layer: number, mtimeSeconds: number): void {
  try {
    walkTo(tree, splitPath(path), { layer, mtimeSeconds });
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new Failure(`cannot make the image's directory ${show(path)}: ${error.message}`, { cause: error });
  }
}

function addToCover(cover: Cover, layer: Layer, record: LayerRecord): void {
  try {
    cover.add(record.entries);
  } catch (error) {
    throw nameLayer(layer, error);
  }
}

function applyRecord(tree: RootfsTree, record: LayerRecord, index: number, layer: Pick<Layer, 'digest'>): void {
  try {
    for (const [i, entry] of record.entries.entries()) applyEntry(tree, entry, record.contents[i] as number, index);
  } catch (error) {
    throw nameLayer(layer, error);
  }
}

/** Reads the layers once more whose passed-over contents are part of the tree. */
async function storeMissing(
  tree: RootfsTree,
  layers: readonly Layer[],
  records: readonly LayerRecord[],
  packer: Packer,
): Promise<void> {
  const missing = new Map<TarEntry, Inode>();
  const waiting = [tree.root.inode];
  for (let inode = waiting.pop(); inode !== undefined; inode = waiting.pop()) {
    for (const { inode: child } of inode.children?.values() ?? []) {
      if (child.children !== undefined) waiting.push(child);
      else if (child.content === skippedContent) missing.set(child.meta, child);
    }
  }
  if (missing.size === 0) return;
  for (const [index, layer] of layers.entries()) {
    const known = records[index] as LayerRecord;
    if (!known.entries.some((entry) => missing.has(entry))) continue;
    const isMissing = (i: number): boolean => missing.has(known.entries[i] as TarEntry);
    const { record, visitor } = storeContents(packer, (_, i) => isMissing(i));
    await readLayer(layer, visitor, () => packer.drained());
    for (const [i, entry] of known.entries.entries()) {
      const inode = missing.get(entry);
      if (inode === undefined) continue;
      if (record.contents[i] === skippedContent || record.contents[i] === undefined) {
        throw nameLayer(layer, new FormatError('its content changed while it was read'));
      }
      inode.content = record.contents[i];
    }
  }
}
