// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'vitest';
import type { Bytes } from '../../src/format/bytes.ts';
import {
  type DirectoryEntry,
  type InodeAttributes,
  type Packer,
  type PackOptions,
  startPacker,
} from '../../src/launcher/pack.ts';
import { type WalkedEntry, type WalkedSource, walkTree } from '../../src/launcher/walk.ts';
import { repository } from '../support/programs.ts';
import { sanitize, sanitizerEnv } from '../support/sanitize.ts';
import { isRoot, sessionDir } from '../support/session.ts';
import { needing } from './image-rig.ts';

/** Has role.ts start the launcher of this build. */
export function useLauncher(): void {
  process.env['BUNDLER_SELF'] = path.join(repository, sanitize ? 'build/launcher-asan' : 'build/launcher');
  Object.assign(process.env, sanitizerEnv());
}

export const common: PackOptions = {
  compressor: 'zstd',
  level: 3,
  blockSizeBytes: 131072,
  uncompressed: {},
  createdSeconds: 1_700_000_000,
  threads: 2,
};

export const plain: InodeAttributes = {
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeSeconds: 1_000_000_000,
  nlink: 1,
  xattrs: -1,
};
export const directory: InodeAttributes = { ...plain, mode: 0o755, nlink: 2 };

/** Describes a root directory with files of these names, sorted, and contents (null: empty), and finishes the image. */
export async function finishFlat(
  packer: Packer,
  names: readonly string[],
  contents: readonly (number | null)[],
): Promise<void> {
  names.forEach((_, at) => {
    packer.defineFile(at + 1, plain, contents[at] ?? null);
  });
  const root = names.length + 1;
  packer.defineDirectory(
    root,
    directory,
    root + 1,
    names.map((name, at) => ({ name, number: at + 1 })),
  );
  await packer.finish(root, root);
}

/** Runs an action with a new file open for reading and writing. */
export async function withTarget<T>(file: string, action: (target: number) => Promise<T>): Promise<T> {
  const target = openSync(file, 'w+');
  try {
    return await action(target);
  } finally {
    closeSync(target);
  }
}

/** Runs an action with an image mounted by the kernel. */
export async function withMounted(image: string, action: (root: string) => Promise<void> | void): Promise<void> {
  const root = mkdtempSync(path.join(sessionDir(), 'mounted-'));
  execFileSync('mount', ['-t', 'squashfs', '-o', 'loop,ro', image, root], { stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    await action(root);
  } finally {
    execFileSync('umount', [root]);
    rmdirSync(root);
  }
}

function canMountLoops(): boolean {
  if (!isRoot || !existsSync('/dev/loop-control')) return false;
  return /\bsquashfs$/m.test(readFileSync('/proc/filesystems', 'utf8'));
}

/** A test that has the kernel mount an image. */
export const kernelMounts: typeof needing = canMountLoops()
  ? needing
  : (title, body) => test.skip(`${title} (skipped: needs root, loop devices and squashfs in the kernel)`, body);

interface Kept {
  readonly entry: WalkedEntry;
  readonly content: number | null;
}

/** Packs what a walk sends: contents as they come, the tree afterwards. Gives the sizes of the image. */
export async function packWalk(
  source: WalkedSource,
  target: number,
  options: PackOptions = common,
): Promise<{ sizeBytes: number; bytesUsed: number }> {
  const packer = startPacker(target, options);
  const inodes = new Map<number, Kept>();
  const names = new Map<Bytes, WalkedEntry[]>();
  await walkTree(source, {
    entry(entry, content) {
      if (entry.kind === 'dir') names.set(entry.path, []);
      if (entry.path !== '') names.get(parentOf(entry.path))?.push(entry);
      if (entry.kind !== 'hardlink')
        inodes.set(entry.inode, { entry, content: content === 'follows' ? packer.beginFile(entry.sizeBytes) : null });
    },
    data: (chunk) => packer.writeData(chunk),
    end: () => packer.endFile(),
    drained: () => packer.drained(),
  });
  return defineTree(packer, inodes, names);
}

function parentOf(name: Bytes): Bytes {
  return name.includes('/') ? name.slice(0, name.lastIndexOf('/')) : '';
}

async function defineTree(
  packer: Packer,
  inodes: ReadonlyMap<number, Kept>,
  names: ReadonlyMap<Bytes, readonly WalkedEntry[]>,
): Promise<{ sizeBytes: number; bytesUsed: number }> {
  const numbers = new Map<number, number>();
  const order: WalkedEntry[] = [];
  // What is in a directory before it; the numbers in the same order.
  const visit = (dir: WalkedEntry): void => {
    for (const entry of names.get(dir.path) ?? []) {
      if (entry.kind === 'dir') visit(entry);
      else if (!numbers.has(entry.inode)) number(inodes.get(entry.inode)?.entry as WalkedEntry);
    }
    number(dir);
  };
  const number = (entry: WalkedEntry): void => {
    order.push(entry);
    numbers.set(entry.inode, order.length);
  };
  const root = [...inodes.values()].find(({ entry }) => entry.path === '')?.entry as WalkedEntry;
  visit(root);
  const numberOf = (entry: WalkedEntry): number => numbers.get(entry.inode) as number;
  const parents = new Map([...names].flatMap(([dir, entries]) => entries.map((entry) => [entry.path, dir] as const)));
  const directories = new Map([...inodes.values()].map(({ entry }) => [entry.path, entry]));
  for (const entry of order) {
    const entries = names.get(entry.path) ?? [];
    const parent =
      entry === root ? order.length + 1 : numberOf(directories.get(parents.get(entry.path) ?? '') as WalkedEntry);
    define(packer, entry, {
      number: numberOf(entry),
      content: inodes.get(entry.inode)?.content ?? null,
      parent,
      entries: entries.map((child) => ({
        name: child.path.slice(child.path.lastIndexOf('/') + 1),
        number: numberOf(child),
      })),
      subdirectories: entries.filter(({ kind }) => kind === 'dir').length,
    });
    await packer.drained();
  }
  return packer.finish(order.length, numberOf(root));
}

function define(
  packer: Packer,
  entry: WalkedEntry,
  place: { number: number; content: number | null; parent: number; entries: DirectoryEntry[]; subdirectories: number },
): void {
  const { mode, uid, gid, mtimeSeconds } = entry;
  const nlink = entry.kind === 'dir' ? 2 + place.subdirectories : entry.nlink;
  const attributes: InodeAttributes = {
    mode,
    uid,
    gid,
    mtimeSeconds,
    nlink,
    xattrs: packer.defineXattrs(entry.xattrs),
  };
  if (entry.kind === 'file') packer.defineFile(place.number, attributes, place.content);
  else if (entry.kind === 'dir') packer.defineDirectory(place.number, attributes, place.parent, place.entries);
  else if (entry.kind === 'symlink') packer.defineSymlink(place.number, attributes, entry.link);
  else if (entry.kind === 'fifo') packer.defineFifo(place.number, attributes);
  else if (entry.kind !== 'hardlink')
    packer.defineDevice(place.number, attributes, entry.kind, entry.major, entry.minor);
}
