// SPDX-License-Identifier: Apache-2.0
import { type Bytes, toText } from '../format/bytes.ts';
import { FormatError } from '../format/format-error.ts';
import { noXattrs, type TarEntry } from './tar-entry.ts';

/** What several names (hard links) may share. */
export interface Inode {
  /** The entry that it came from, or that gave a directory its attributes last; its path means nothing here. */
  meta: TarEntry;
  /** The content of a file that is not empty: what the caller of applyEntry gave. -1 for everything else. */
  content: number;
  /** Inode number and count of names in the finished tree; 0 until it is numbered. */
  number: number;
  links: number;
  /** Of a directory; undefined for everything else. */
  readonly children: Map<Bytes, Name> | undefined;
}

/** A name in a directory. */
export interface Name {
  readonly inode: Inode;
  /** The last layer that had this name, or something below it. */
  layer: number;
}

/** A root filesystem in memory, while layers are applied to it. */
export interface RootfsTree {
  readonly root: Name;
  /** Directories in which a layer has left nothing of lower ones: there is nothing to look for until the next layer. */
  readonly cleared: { layer: number; directories: WeakSet<Map<Bytes, Name>> };
}

/** A directory on the way to a path, with the names that lead to it, the root first. */
export type Trail = Name[];

const maxLinks = 255;
/** Components of all links on the way: far more than any real path has, few enough to walk for each of a million entries. */
const maxSteps = 8192;
const maxPathBytes = 4096;
const maxNameBytes = 255;
/** An empty component, `.` or `..`, or a NUL. */
const unclean = /(?:^|\/)\.{0,2}(?:\/|$)|\0/;

/** An empty root directory, owned by root, as extractors make directories that no layer describes. */
export function createTree(mtimeSeconds: number): RootfsTree {
  return {
    root: { inode: makeDirectory(mtimeSeconds), layer: -1 },
    cleared: { layer: -1, directories: new WeakSet() },
  };
}

/** A directory that no layer describes: of root, mode 0755, empty. */
export function makeDirectory(mtimeSeconds: number): Inode {
  const meta: TarEntry = {
    path: '',
    kind: 'dir',
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtimeSeconds,
    sizeBytes: 0,
    link: '',
    major: 0,
    minor: 0,
    xattrs: noXattrs,
  };
  return { meta, content: -1, number: 0, links: 0, children: new Map() };
}

/**
 * A path of an archive as components below the root: absolute and relative ones mean the same, `.` and empty components nothing, and `..` goes up but never
 * above the root (as every extractor for layers has it). Throws FormatError for names and paths that no filesystem takes.
 */
export function splitPath(path: Bytes): Bytes[] {
  if (path.length > maxPathBytes)
    throw new FormatError(`a path of ${path.length} bytes: ${show(path.slice(0, 100))}..`);
  // Nearly all are clean but for a dot in front and a slash at the end.
  const start = path.startsWith('./') ? 2 : path.startsWith('/') ? 1 : 0;
  const plain = path.slice(start, path.endsWith('/') ? -1 : undefined);
  if (plain.length <= maxNameBytes && plain !== '' && !unclean.test(plain)) return plain.split('/');
  const components: Bytes[] = [];
  for (const component of path.split('/')) {
    if (component === '' || component === '.') continue;
    if (component === '..') components.pop();
    else {
      checkName(component);
      components.push(component);
    }
  }
  return components;
}

function checkName(name: Bytes): void {
  if (name.length > maxNameBytes)
    throw new FormatError(`a name of ${name.length} bytes: ${show(name.slice(0, 100))}..`);
  if (name.includes('\0')) throw new FormatError(`a name with a NUL: ${show(name)}`);
}

/**
 * Walks to a directory as a process would whose root directory this is: symlinks are followed, absolute ones from the root, and nothing leads out. In a link's
 * target `..` takes away the name before it, be that a directory or not (as umoci has it: none/../lib is lib).
 * create: missing directories are made, and files of lower layers that stand in the way make room, as they do under an overlay; without it null
 * is the answer where there is no directory. Throws FormatError for symlink loops, and where a file of the same layer stands in the way.
 */
export function walkTo(
  tree: RootfsTree,
  components: readonly Bytes[],
  create: { layer: number; mtimeSeconds: number } | null,
): Trail | null {
  const trail: Trail = [tree.root];
  /** Names below the trail that are no directories. */
  const absent: Bytes[] = [];
  const waiting = [...components].reverse();
  let links = 0;
  let steps = 0;
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (name === '..') {
      if (absent.pop() === undefined && trail.length > 1) trail.pop();
      continue;
    }
    const child = absent.length > 0 ? undefined : trail.at(-1)?.inode.children?.get(name);
    if (child?.inode.meta.kind === 'symlink') {
      const target = splitTarget(child.inode.meta.link);
      links += 1;
      steps += target.length;
      if (links > maxLinks || steps > maxSteps)
        throw new FormatError(`too many symbolic links on the way to ${show(components.join('/'))}`);
      if (child.inode.meta.link.startsWith('/')) trail.length = 1;
      waiting.push(...target.reverse());
    } else if (child?.inode.children === undefined) absent.push(name);
    else trail.push(child);
  }
  if (absent.length > 0 && create === null) return null;
  for (const name of absent) trail.push(makeRoom(trail, name, create as NonNullable<typeof create>, components));
  return trail;
}

/** Components of a symlink's target. Throws FormatError when it is longer than any that a filesystem has: it is not followed for hours either. */
function splitTarget(link: Bytes): Bytes[] {
  if (link.length >= maxPathBytes) throw new FormatError(`a symbolic link with a target of ${link.length} bytes`);
  return link.split('/').filter((part) => part !== '' && part !== '.');
}

/** A new directory at the trail's end, in place of a lower layer's file. */
function makeRoom(
  trail: Trail,
  name: Bytes,
  { layer, mtimeSeconds }: { layer: number; mtimeSeconds: number },
  components: readonly Bytes[],
): Name {
  const children = trail.at(-1)?.inode.children as Map<Bytes, Name>;
  if (children.get(name)?.layer === layer)
    throw new FormatError(`${show(components.join('/'))} would lie below the file ${show(name)} of the same layer`);
  // From a link's target: those of paths were looked at when they were split.
  checkName(name);
  const made = { inode: makeDirectory(mtimeSeconds), layer };
  children.set(name, made);
  return made;
}

/** The name at a path, without following a symlink at its end; undefined when there is none. Throws FormatError. */
export function findName(tree: RootfsTree, components: readonly Bytes[]): Name | undefined {
  if (components.length === 0) return tree.root;
  const trail = walkTo(tree, components.slice(0, -1), null);
  return trail?.at(-1)?.inode.children?.get(components.at(-1) as Bytes);
}

/** A path for messages. */
export function show(path: Bytes): string {
  return JSON.stringify(toText(path)).slice(1, -1);
}
