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

/** A visitor that hands on what is selected. */
export function selectEntries(visitor: TreeVisitor, { leavesOut, allRoot, captured }: Selection): TreeVisitor {
  let skipped: Bytes | null = null;
  let ignoring = false;
  let capturing: { path: Bytes; parts: Buffer[] } | null = null;
  return {
    entry(entry, content) {
      capturing = null;
      ignoring = skipped !== null && entry.path.startsWith(`${skipped}/`);
      if (!ignoring && leavesOut(entry)) {
        ignoring = true;
        skipped = entry.path;
      }
      if (ignoring) return;
      if (captured.has(entry.path) && content === 'follows') capturing = { path: entry.path, parts: [] };
      visitor.entry(allRoot ? { ...entry, uid: 0, gid: 0 } : entry, content);
    },
    data(chunk) {
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
