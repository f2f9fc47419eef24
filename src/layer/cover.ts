// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../format/bytes.ts';
import { readWhiteout } from './apply-layer.ts';
import { splitPath } from './rootfs-tree.ts';
import type { TarEntry } from './tar-entry.ts';

interface Node {
  /** Most nodes have none; null until the first. */
  children: Map<Bytes, Node> | null;
  /** What lower layers have below is gone. */
  opaque: boolean;
  /** An upper layer has a directory here, which covers files of lower ones. */
  directory: boolean;
}

/** What lower layers have here and below is gone: a whiteout, or something other than a directory, came over it. One for all names, of which there are many. */
const covered: Node = { children: null, opaque: true, directory: true };

/**
 * What upper layers hide of lower ones, as far as names tell: symlinks are not followed. It spares the content of files that nobody will see; a wrong
 * answer costs time (needless content, or a second look at a layer), never correctness, because the tree is made without it.
 */
export class Cover {
  readonly #root = createNode();

  /** Adds all entries of a layer; asked about layers below it only. */
  add(entries: Iterable<TarEntry>): void {
    for (const entry of entries) {
      const components = splitPath(entry.path);
      const name = components.pop();
      if (name === undefined) continue;
      const whiteout = readWhiteout(name);
      if (whiteout?.kind === 'own') continue;
      let node = this.#root;
      for (const component of components) node = enter(node, component);
      if (node === covered) continue;
      if (whiteout?.kind === 'opaque') node.opaque = true;
      else if (whiteout === null && entry.kind === 'dir') {
        const child = enter(node, name);
        if (child !== covered) child.directory = true;
      } else {
        node.children ??= new Map();
        node.children.set(whiteout === null ? name : whiteout.name, covered);
      }
    }
  }

  /** True when a file of a lower layer at this path cannot be seen. */
  hides(path: Bytes): boolean {
    const components = splitPath(path);
    let node: Node | undefined = this.#root;
    for (const component of components) {
      if (node.opaque) return true;
      node = node.children?.get(component);
      if (node === undefined) return false;
      if (node === covered) return true;
    }
    return node.directory;
  }
}

function createNode(): Node {
  return { children: null, opaque: false, directory: false };
}

/** The child of that name, made where there is none; `covered` below what is covered. */
function enter(node: Node, name: Bytes): Node {
  if (node === covered) return covered;
  node.children ??= new Map();
  let child = node.children.get(name);
  if (child === undefined) {
    child = createNode();
    node.children.set(name, child);
  }
  return child;
}
