// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../format/bytes.ts';
import type { TreeVisitor, WalkedEntry } from '../launcher/walk.ts';

/** What is changed of a tree on its way out. */
export interface Selection {
  /** Whether an entry, and with a directory all that is in it, is left out. */
  readonly leavesOut: (entry: WalkedEntry) => boolean;
  /** All files become root's. */
  readonly allRoot: boolean;
  /** Files whose content is wanted, by path; it is put here when it comes. */
  readonly captured: Map<Bytes, Buffer | null>;
}

/** A file with further names whose first name is left out; its content comes with that. */
interface Withheld {
  readonly entry: WalkedEntry;
  readonly content: 'none' | 'follows';
  parts: Buffer[];
  /** The first name that is handed on; null before there is one. */
  name: Bytes | null;
}

/** A visitor that hands on what is selected. Of a file's names the first that is selected brings the content. */
export function selectEntries(visitor: TreeVisitor, { leavesOut, allRoot, captured }: Selection): TreeVisitor {
  let skipped: Bytes | null = null;
  let ignoring = false;
  let capturing: { path: Bytes; parts: Buffer[] } | null = null;
  const withheld = new Map<number, Withheld>();
  let holding: Withheld | null = null;
  const handOn = (entry: WalkedEntry, content: 'none' | 'follows'): void =>
    visitor.entry(allRoot ? { ...entry, uid: 0, gid: 0 } : entry, content);
  const handOnLink = (entry: WalkedEntry, target: Withheld): void => {
    if (target.name !== null) {
      handOn({ ...entry, link: target.name }, 'none');
      return;
    }
    target.name = entry.path;
    handOn({ ...target.entry, path: entry.path }, target.content);
    for (const part of target.parts) visitor.data(part);
    if (target.content === 'follows') visitor.end?.();
    target.parts = [];
  };
  return {
    entry(entry, content) {
      capturing = null;
      holding = null;
      ignoring = skipped !== null && entry.path.startsWith(`${skipped}/`);
      if (!ignoring && leavesOut(entry)) {
        ignoring = true;
        skipped = entry.path;
      }
      if (ignoring) {
        if (entry.nlink < 2 || entry.kind === 'dir' || entry.kind === 'hardlink') return;
        holding = { entry, content, parts: [], name: null };
        withheld.set(entry.inode, holding);
        return;
      }
      const target = entry.kind === 'hardlink' ? withheld.get(entry.inode) : undefined;
      if (target !== undefined) {
        handOnLink(entry, target);
        return;
      }
      if (captured.has(entry.path) && content === 'follows') capturing = { path: entry.path, parts: [] };
      handOn(entry, content);
    },
    data(chunk) {
      holding?.parts.push(chunk);
      if (ignoring) return;
      capturing?.parts.push(chunk);
      visitor.data(chunk);
    },
    end() {
      if (ignoring) return;
      if (capturing !== null) captured.set(capturing.path, Buffer.concat(capturing.parts));
      visitor.end?.();
    },
    drained: () => visitor.drained?.() ?? Promise.resolve(),
  };
}

/**
 * What enroot's export leaves out of a container (its runtime::export): device nodes' directory content, empty files and directories without any permission, which
 * were mountpoints, its lock and the directory of a bundle; and the mark that our own --keep leaves.
 */
export function isOfContainerOnly(entry: WalkedEntry): boolean {
  if (entry.path.startsWith('dev/')) return true;
  if (entry.path === '.lock' || entry.path === '.enroot' || entry.path === '.bundler') return true;
  return entry.mode === 0 && (entry.kind === 'dir' || (entry.kind === 'file' && entry.sizeBytes === 0));
}
