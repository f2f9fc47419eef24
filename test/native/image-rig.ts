// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, rmSync, statfsSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { testNeeding } from '../support/features.ts';
import { compileProgram } from '../support/programs.ts';
import { isRoot, sessionDir, type User } from '../support/session.ts';
import { makeImage } from './serve-rig.ts';

export const needing = testNeeding('root', 'mksquashfs', 'unsquashfs');
export const asRoot = { user: { uid: 0, home: '/' } };
/** BUNDLER_TESTS=all: every way of making an image, and more rounds of damage. */
export const everything = process.env['BUNDLER_TESTS'] === 'all';

/** A directory in memory, far quicker for trees, where that takes attributes (since Linux 6.6) and has the room; else on disk. */
function makeTop(): string {
  const { bavail, bsize } = statfsSync('/dev/shm');
  if (bavail * bsize > 1 << 30) {
    const dir = mkdtempSync('/dev/shm/bundler-test-images-');
    try {
      execFileSync(compileProgram('set-xattr'), [dir, 'user.probe', '1'], { stdio: 'ignore' });
      return dir;
    } catch {
      rmSync(dir, { recursive: true });
    }
  }
  return mkdtempSync(path.join(sessionDir(), 'images-'));
}

let top = '';

beforeAll(() => {
  top = makeTop();
  chmodSync(top, 0o755);
});

afterAll(() => {
  // As deep as the trees of these tests are, only rm can remove them.
  if (process.env['BUNDLER_KEEP_TEMP'] !== '1') execFileSync('rm', ['-rf', '--one-file-system', top]);
});

/** A new directory for trees and images, root's or a user's; all of them go when the test file has ended. */
export function scratch(name: string, user?: User): string {
  const dir = mkdtempSync(path.join(top, `${name}-`));
  chmodSync(dir, 0o755);
  if (user && isRoot) chownSync(dir, user.uid, user.uid);
  return dir;
}

const common = {
  gzip: '-comp gzip',
  lzma: '-comp lzma',
  lzo: '-comp lzo',
  xz: '-comp xz',
  lz4: '-comp lz4',
  zstd: '-comp zstd -Xcompression-level 3',
  'gzip with strategies, 4 KiB blocks': '-comp gzip -Xwindow-size 8 -Xstrategy huffman_only,run_length_encoded -b 4096',
  'xz with a filter, 256 KiB blocks': '-comp xz -Xbcj x86 -b 256K',
  'lz4hc, 1 MiB blocks': '-comp lz4 -Xhc -b 1M',
  'all ends in fragments, 16 KiB blocks': '-comp gzip -always-use-fragments -b 16K',
  'nothing compressed': '-comp zstd -noI -noD -noF -noX',
};
const rarer = {
  'lzo1x_1, 1 MiB blocks': '-comp lzo -Xalgorithm lzo1x_1 -b 1M',
  'lzo1x_1_15, 64 KiB blocks': '-comp lzo -Xalgorithm lzo1x_1_15 -b 64K',
  'xz with a dictionary and three filters': '-comp xz -Xdict-size 100% -Xbcj x86,arm,powerpc -b 1M',
  'zstd, 4 KiB blocks': '-comp zstd -b 4K',
  'zstd level 1, 1 MiB blocks': '-comp zstd -b 1M -Xcompression-level 1',
  'no fragments': '-comp zstd -no-fragments',
  'ends of large files in fragments': '-comp gzip -tailends -b 16K',
  'data not compressed': '-comp lzo -noD',
  'metadata not compressed': '-comp lz4 -noI -noX',
  'fragments not compressed': '-comp gzip -noF',
  'no attributes': '-comp zstd -no-xattrs',
  'no export table, no duplicates found': '-comp zstd -no-exports -no-duplicates',
  'holes stored': '-comp lz4 -no-sparse',
  'one owner, one time': '-comp zstd -all-root -all-time 1700000000',
  'no hard links': '-comp zstd -no-hardlinks',
};

/** Ways to make an image: its name in titles and mksquashfs' options. */
export const variants = Object.entries({ ...common, ...(everything ? rarer : {}) });

/** Makes a directory with one of everything that squashfs can store. */
export function makeTree(): string {
  const tree = path.join(scratch('everything'), 'tree');
  execFileSync('sh', [path.join(import.meta.dirname, 'make-tree.sh'), tree], { stdio: ['ignore', 'ignore', 'pipe'] });
  return tree;
}

/** An image of a directory; flags as mksquashfs takes them. */
export function imageOf(tree: string, flags = '-comp zstd -Xcompression-level 3'): string {
  return makeImage(tree, path.join(scratch('image'), 'image.sqsh'), ...flags.split(' '));
}

/** A line for every entry of a directory: all that an image stores of it. What an ordinary user cannot restore may be left out. */
export function listTree(tree: string, ...leftOut: ('--no-owner' | '--no-special')[]): string[] {
  const script = path.join(import.meta.dirname, 'dump-tree.py');
  const text = execFileSync('python3', [script, ...leftOut, tree], { encoding: 'latin1', maxBuffer: 64 << 20 });
  return text.split('\n');
}

/** The same of what unsquashfs makes of an image. */
export function listUnsquashed(image: string, ...leftOut: Parameters<typeof listTree>[1][]): string[] {
  const dir = scratch('unsquashed');
  const tree = path.join(dir, 'tree');
  execFileSync('unsquashfs', ['-quiet', '-no-progress', '-d', tree, image], { stdio: ['ignore', 'ignore', 'pipe'] });
  const lines = listTree(tree, ...leftOut);
  rmSync(dir, { recursive: true });
  return lines;
}
