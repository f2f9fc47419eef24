// SPDX-License-Identifier: Apache-2.0
import { Failure } from '../failure.ts';
import type { Bytes } from '../format/bytes.ts';
import type { InodeAttributes, Packer } from '../launcher/pack.ts';
import { canStoreXattr } from '../launcher/role-packer.ts';
import { type Inode, type RootfsTree, show } from './rootfs-tree.ts';
import { noContent } from './store-content.ts';
import { noXattrs, type TarEntry } from './tar-entry.ts';

const drainEvery = 4096;
const maxTargetBytes = 4095;
/** XATTR_NAME_MAX and XATTR_SIZE_MAX of Linux (limits.h). */
const maxXattrNameBytes = 255;
const maxXattrValueBytes = 65536;

interface Directory {
  readonly inode: Inode;
  readonly parent: Inode | null;
  readonly entries: readonly { readonly name: Bytes; readonly inode: Inode }[];
}

export interface EmittedTree {
  readonly inodes: number;
  readonly root: number;
  /** How many attributes could not be stored. */
  readonly droppedXattrs: number;
}

/** What is changed of all files. */
export interface EmitOptions {
  /** Later times become this one; null: none does. */
  readonly latestSeconds: number | null;
  readonly noXattrs: boolean;
  /** All files are root's. */
  readonly allRoot: boolean;
}

/** Numbers the inodes of a finished tree and describes them to the packer, children before their directories. Throws Failure for what no squashfs image can have. */
export async function emitTree(tree: RootfsTree, packer: Packer, options: EmitOptions): Promise<EmittedTree> {
  const { allRoot } = options;
  const latestSeconds = options.latestSeconds ?? Number.POSITIVE_INFINITY;
  const { directories, inodes } = numberInodes(tree);
  const defined = new Set<Inode>();
  let droppedXattrs = 0;
  const attributesOf = (inode: Inode): InodeAttributes => {
    const { meta } = inode;
    const attributes = options.noXattrs ? noXattrs : meta.xattrs;
    refuseUnstorable(meta, attributes);
    for (const name of attributes.keys()) if (!canStoreXattr(name)) droppedXattrs += 1;
    return {
      mode: meta.mode,
      uid: allRoot ? 0 : meta.uid,
      gid: allRoot ? 0 : meta.gid,
      mtimeSeconds: Math.min(meta.mtimeSeconds, latestSeconds),
      nlink: inode.links,
      xattrs: attributes.size === 0 ? -1 : packer.defineXattrs(attributes),
    };
  };
  let count = 0;
  for (const { inode, parent, entries } of directories.reverse()) {
    for (const { inode: child } of entries) {
      if (child.children !== undefined || defined.has(child)) continue;
      if (child.links > 1) defined.add(child);
      define(packer, child, attributesOf(child));
      if (++count % drainEvery === 0) await packer.drained();
    }
    packer.defineDirectory(
      inode.number,
      attributesOf(inode),
      parent?.number ?? inodes + 1,
      entries.map(({ name, inode: child }) => ({ name, number: child.number })),
    );
    if (++count % drainEvery === 0) await packer.drained();
  }
  return { inodes, root: tree.root.inode.number, droppedXattrs };
}

/** The names of one directory get numbers one after the other, as squashfs stores a directory's numbers as differences. Parents come before children. */
function numberInodes(tree: RootfsTree): { directories: Directory[]; inodes: number } {
  const directories: Directory[] = [];
  const { inode: root } = tree.root;
  root.number = 1;
  root.links = 2;
  let inodes = 1;
  const waiting: { inode: Inode; parent: Inode | null }[] = [{ inode: root, parent: null }];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { inode, parent } = next;
    const entries = [...(inode.children ?? [])]
      .map(([name, { inode: child }]) => ({ name, inode: child }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const { inode: child } of entries) {
      if (child.number === 0) child.number = ++inodes;
      if (child.children === undefined) child.links += 1;
      else {
        child.links = 2;
        inode.links += 1;
        waiting.push({ inode: child, parent: inode });
      }
    }
    directories.push({ inode, parent, entries });
  }
  return { directories, inodes };
}

/** What squashfs's readers take: a target of PATH_MAX, device numbers of 12 and 20 bits (the kernel's new_decode_dev). */
function refuseUnstorable(meta: TarEntry, xattrs: ReadonlyMap<Bytes, Buffer>): void {
  const refuse = (why: string) => new Failure(`cannot store ${show(meta.path) || '/'} in a squashfs image: ${why}`);
  if (meta.link.length > maxTargetBytes) throw refuse(`its symbolic link has a target of ${meta.link.length} bytes`);
  if (meta.link.includes('\0')) throw refuse('its symbolic link has a target with a NUL');
  if (meta.kind === 'symlink' && meta.link === '') throw refuse('its symbolic link has no target');
  if (meta.major > 0xfff || meta.minor > 0xfffff) throw refuse(`it is the device ${meta.major}:${meta.minor}`);
  for (const [name, value] of xattrs) {
    if (!canStoreXattr(name)) continue;
    const shown = show(name.slice(0, 100));
    if (name.length > maxXattrNameBytes) throw refuse(`its attribute ${shown}.. has a name of ${name.length} bytes`);
    if (name.includes('\0')) throw refuse(`its attribute ${shown} has a NUL in its name`);
    if (value.length > maxXattrValueBytes) throw refuse(`its attribute ${shown} has ${value.length} bytes`);
  }
}

function define(packer: Packer, inode: Inode, attributes: InodeAttributes): void {
  const { meta, number } = inode;
  switch (meta.kind) {
    case 'file':
      packer.defineFile(number, attributes, inode.content === noContent ? null : inode.content);
      break;
    case 'symlink':
      packer.defineSymlink(number, attributes, meta.link);
      break;
    case 'char':
    case 'block':
      packer.defineDevice(number, attributes, meta.kind, meta.major, meta.minor);
      break;
    case 'fifo':
      packer.defineFifo(number, attributes);
      break;
    case 'dir':
    case 'hardlink':
      throw new Error(`a ${meta.kind} where none can be`);
  }
}
