// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../format/bytes.ts';
import { FormatError } from '../format/format-error.ts';
import {
  findName,
  type Inode,
  makeDirectory,
  type Name,
  type RootfsTree,
  show,
  splitPath,
  walkTo,
} from './rootfs-tree.ts';
import type { TarEntry } from './tar-entry.ts';

const whiteoutPrefix = '.wh.';
const opaqueMark = '.wh..wh..opq';
/** Names that old layered file systems kept for themselves (aufs: .wh..wh.plnk, .wh..wh.orph, .wh..wh.aufs). */
const ownPrefix = '.wh..wh.';

export type Whiteout =
  | { readonly kind: 'opaque' }
  | { readonly kind: 'own' }
  | { readonly kind: 'name'; readonly name: Bytes };

/** What a name says of lower layers (OCI image-spec, layer.md, "Whiteouts"); null for an ordinary name. */
export function readWhiteout(name: Bytes): Whiteout | null {
  if (!name.startsWith(whiteoutPrefix)) return null;
  if (name === opaqueMark) return { kind: 'opaque' };
  if (name.startsWith(ownPrefix)) return { kind: 'own' };
  return { kind: 'name', name: name.slice(whiteoutPrefix.length) };
}

/**
 * Applies one entry of a layer as an extractor would that unpacks layers one over the other; layers count upwards from 0, and the entries of one come in the
 * archive's order. content: what names the content of a file that is not empty, -1 otherwise. Throws FormatError for what cannot be applied.
 */
export function applyEntry(tree: RootfsTree, entry: TarEntry, content: number, layer: number): void {
  const components = splitPath(entry.path);
  const name = components.pop();
  if (name === undefined) {
    if (entry.kind !== 'dir') throw new FormatError(`the root directory as a ${entry.kind}`);
    tree.root.inode.meta = entry;
    return;
  }
  const whiteout = readWhiteout(name);
  if (whiteout === null) placeEntry(tree, entry, content, layer);
  else applyWhiteout(tree, components, whiteout, layer, entry.path);
}

/** The same for a tree in which names have no other meaning, as a directory's. Not for the root. */
export function placeEntry(tree: RootfsTree, entry: TarEntry, content: number, layer: number): void {
  const components = splitPath(entry.path);
  const name = components.pop() as Bytes;
  const trail = walkTo(tree, components, { layer, mtimeSeconds: entry.mtimeSeconds }) as Name[];
  for (const each of trail) each.layer = layer;
  const children = (trail.at(-1) as Name).inode.children as Map<Bytes, Name>;
  const before = children.get(name);
  if (entry.kind === 'hardlink') {
    const inode = findTarget(tree, entry);
    // A link to itself is no reason to lose the file.
    if (before?.inode === inode) before.layer = layer;
    else children.set(name, { inode, layer });
    return;
  }
  if (entry.kind === 'dir' && before?.inode.children !== undefined) {
    before.inode.meta = entry;
    before.layer = layer;
    return;
  }
  const inode: Inode =
    entry.kind === 'dir'
      ? { ...makeDirectory(entry.mtimeSeconds), meta: entry }
      : { meta: entry, content, number: 0, links: 0, children: undefined };
  children.set(name, { inode, layer });
}

function findTarget(tree: RootfsTree, entry: TarEntry): Inode {
  const target = findName(tree, splitPath(entry.link));
  if (target === undefined)
    throw new FormatError(`${show(entry.path)} is a hard link to ${show(entry.link)}, which is not there`);
  if (target.inode.children !== undefined)
    throw new FormatError(`${show(entry.path)} is a hard link to the directory ${show(entry.link)}`);
  return target.inode;
}

/** A whiteout hides what lower layers have, never what its own layer has, in whatever order they come. */
function applyWhiteout(
  tree: RootfsTree,
  components: readonly Bytes[],
  whiteout: Whiteout,
  layer: number,
  path: Bytes,
): void {
  if (whiteout.kind === 'own') return;
  if (whiteout.kind === 'name' && (whiteout.name === '' || whiteout.name === '.' || whiteout.name === '..')) {
    throw new FormatError(`a whiteout of no name: ${show(path)}`);
  }
  const directory = walkTo(tree, components, null)?.at(-1);
  const children = directory?.inode.children;
  if (children === undefined) return;
  if (whiteout.kind === 'opaque') removeLower(tree, children, layer);
  else {
    const child = children.get(whiteout.name);
    if (child === undefined) return;
    if (child.layer !== layer) children.delete(whiteout.name);
    else if (child.inode.children !== undefined) removeLower(tree, child.inode.children, layer);
  }
}

/** Takes away all names that this layer has not touched, however deep. What it makes there later is its own, so that a second mark finds nothing. */
function removeLower(tree: RootfsTree, top: Map<Bytes, Name>, layer: number): void {
  const { cleared } = tree;
  if (cleared.layer !== layer) {
    cleared.layer = layer;
    cleared.directories = new WeakSet();
  }
  const waiting = [top];
  for (let children = waiting.pop(); children !== undefined; children = waiting.pop()) {
    if (cleared.directories.has(children)) continue;
    cleared.directories.add(children);
    for (const [name, child] of children) {
      if (child.layer !== layer) children.delete(name);
      else if (child.inode.children !== undefined) waiting.push(child.inode.children);
    }
  }
}
