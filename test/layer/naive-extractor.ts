// SPDX-License-Identifier: Apache-2.0
import type { RawEntry } from '../support/raw-tar.ts';

/** What the extractor will not do. */
export class Refusal extends Error {}

interface Node {
  readonly kind: 'file' | 'dir' | 'symlink';
  entry: RawEntry;
  readonly names: Map<string, Node>;
}

/**
 * Unpacks layers into a filesystem in memory the plain way, to compare with: a process confined to the root, which writes one entry after the other and removes
 * what whiteouts name, except for paths that its own layer wrote. Shares nothing with src/layer.
 */
export class NaiveExtractor {
  readonly root: Node;
  /** Real paths that the present layer wrote, and their parents. */
  #written = new Set<string>();

  constructor(mtime: number) {
    this.root = makeDirectory(mtime);
  }

  beginLayer(): void {
    this.#written = new Set();
  }

  /** Throws Refusal. */
  extract(entry: RawEntry): void {
    const parts = clean(entry.name);
    const base = parts.pop();
    const kind = kindOf(entry);
    if (base === undefined) {
      if (kind !== 'dir') throw new Refusal('in place of the root');
      this.root.entry = entry;
      return;
    }
    if (base.startsWith('.wh.')) {
      this.#whiteOut(parts, base);
      return;
    }
    const parent = this.#realPath(parts, entry.mtime) as string[];
    const names = this.#at(parent).names;
    if (kind === 'hardlink') {
      const node = this.#lstat(clean(entry.link ?? ''));
      if (node === undefined || node.kind === 'dir') throw new Refusal('nothing to link to');
      names.set(base, node);
    } else {
      const before = names.get(base);
      if (kind === 'dir' && before?.kind === 'dir') before.entry = entry;
      else names.set(base, makeNode(kind, entry));
    }
    for (let path = [...parent, base]; path.length > 0; path = path.slice(0, -1)) this.#written.add(path.join('/'));
  }

  #whiteOut(parts: readonly string[], base: string): void {
    const isOpaque = base === '.wh..wh..opq';
    if (!isOpaque && base.startsWith('.wh..wh.')) return;
    const name = base.slice('.wh.'.length);
    if (['', '.', '..'].includes(name)) throw new Refusal('a whiteout of no name');
    const parent = this.#realPath(parts, null);
    if (parent === null) return;
    if (isOpaque) this.#empty(parent);
    else if (this.#at(parent).names.has(name)) this.#remove([...parent, name]);
  }

  #empty(path: string[]): void {
    for (const name of [...this.#at(path).names.keys()]) this.#remove([...path, name]);
  }

  #remove(path: string[]): void {
    if (this.#written.has(path.join('/'))) this.#empty(path);
    else this.#at(path.slice(0, -1)).names.delete(path.at(-1) as string);
  }

  #at(path: readonly string[]): Node {
    return this.#find(path) as Node;
  }

  #find(path: readonly string[]): Node | undefined {
    return path.reduce<Node | undefined>((node, name) => node?.names.get(name), this.root);
  }

  #lstat(parts: string[]): Node | undefined {
    const parent = this.#realPath(parts.slice(0, -1), null);
    if (parent === null || parts.length === 0) return parts.length === 0 ? this.root : undefined;
    return this.#at(parent).names.get(parts.at(-1) as string);
  }

  /**
   * The real path of a directory, made where it is missing if a time for it is given; else null when there is none. `..` in a link's target takes a name
   * away, whether it is there or not, as umoci has it.
   */
  #realPath(parts: readonly string[], mtime: number | null | undefined): string[] | null {
    let links = 0;
    const follow = (from: readonly string[], rest: readonly string[]): string[] => {
      let at = [...from];
      for (const part of rest) {
        if (part === '' || part === '.') continue;
        if (part === '..') {
          at.pop();
          continue;
        }
        const found = this.#find([...at, part]);
        if (found?.kind === 'symlink') {
          if (++links > 255) throw new Refusal('a loop');
          const target = found.entry.link ?? '';
          at = follow(target.startsWith('/') ? [] : at, target.split('/'));
        } else at.push(part);
      }
      return at;
    };
    const real = follow([], parts);
    for (let depth = 1; depth <= real.length; depth++) {
      const path = real.slice(0, depth);
      const found = this.#find(path);
      if (found?.kind === 'dir') continue;
      if (mtime === null) return null;
      if (found !== undefined && this.#written.has(path.join('/'))) throw new Refusal('below a file');
      this.#at(path.slice(0, -1)).names.set(path.at(-1) as string, makeDirectory(mtime ?? 0));
      this.#written.add(path.join('/'));
    }
    return real;
  }

  /** A line for each name: kind, attributes, link, content, and the first name of the same file. */
  list(): string[] {
    const lines: string[] = [];
    const first = new Map<Node, string>();
    const visit = (path: string, node: Node): void => {
      if (!first.has(node)) first.set(node, path);
      const { entry } = node;
      const text = node.kind === 'file' ? entry.content : node.kind === 'symlink' ? entry.link : '';
      lines.push(`${path} ${node.kind} ${entry.mode} ${entry.mtime} ${entry.uid} ${text} ${first.get(node)}`);
      for (const name of [...node.names.keys()].sort()) visit(`${path}/${name}`, node.names.get(name) as Node);
    };
    visit('', this.root);
    return lines;
  }
}

function makeNode(kind: Node['kind'], entry: RawEntry): Node {
  return { kind, entry, names: new Map() };
}

/** One that no entry describes. */
function makeDirectory(mtime: number): Node {
  return makeNode('dir', { name: '', mode: 0o755, uid: 0, mtime });
}

function kindOf({ type, name }: RawEntry): Node['kind'] | 'hardlink' {
  if (type === '1') return 'hardlink';
  if (type === '2') return 'symlink';
  return type === '5' || name.endsWith('/') ? 'dir' : 'file';
}

/** Components with `.` and `..` taken away by name, none of which leads above the root. */
function clean(path: string): string[] {
  const kept: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') kept.pop();
    else if (part !== '' && part !== '.') kept.push(part);
  }
  return kept;
}
