// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, linkSync, mkdirSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { isRoot } from '../support/session.ts';

/** Bytes that do not compress and are the same in every run. */
export function noise(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  let state = 12345;
  for (let i = 0; i < sizeBytes; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** Makes a tree with something of everything that a squashfs image can hold. */
export function makeTree(dir: string, manyFiles: number): void {
  const at = (name: string): string => path.join(dir, name);
  mkdirSync(at('many'), { recursive: true });
  for (let i = 0; i < manyFiles; i++) writeFileSync(at(`many/file-${i}-with-a-longer-name`), String(i));
  mkdirSync(at('a/b/c'), { recursive: true });
  mkdirSync(at('nothing-here'));
  mkdirSync(at('etc'), { mode: 0o750 });
  mkdirSync(at('usr/share/zone'), { recursive: true });
  const block = 131072;
  for (const size of [0, 1, 4095, 4096, 4097, block - 1, block, block + 1, 3 * block + 17])
    writeFileSync(at(`size-${size}`), noise(size));
  writeFileSync(at('text'), 'the quick brown fox jumps over the lazy dog\n'.repeat(30_000));
  writeFileSync(at('sparse'), 'x');
  truncateSync(at('sparse'), 9 * 1024 * 1024 + 5);
  writeFileSync(at('etc/passwd'), 'root:x:0:0::/root:/bin/sh\n');
  writeFileSync(at('n'.repeat(255)), 'longest');
  writeFileSync(Buffer.concat([Buffer.from(at('latin-')), Buffer.from([0xff, 0xfe])]), 'not UTF-8');
  linkSync(at('text'), at('a/hard-link'));
  const links = {
    'a/relative': '../text',
    'a/absolute': '/text',
    'loop-1': 'loop-2',
    'loop-2': 'loop-1',
    dangling: '/nowhere/at/all',
  };
  for (const [name, target] of Object.entries(links)) symlinkSync(target, at(name));
  const more = {
    'long-link': 'x'.repeat(4000),
    'a/b/up': '../../../../../etc',
    'etc/resolv.conf': '../run/resolv.conf',
    'var-run': '/run',
    self: '.',
  };
  for (const [name, target] of Object.entries(more)) symlinkSync(target, at(name));
  execFileSync('mkfifo', [at('fifo')]);
  if (isRoot) execFileSync('mknod', [at('null'), 'c', '1', '3']);
  let deep = at('deep');
  for (let i = 0; i < 60; i++) deep = path.join(deep, 'd');
  mkdirSync(deep, { recursive: true });
  chmodSync(at('size-1'), 0o4755);
  chmodSync(at('a/b'), 0o1777);
  chmodSync(at('size-4096'), 0);
  utimesSync(at('size-4097'), 1, 1);
  utimesSync(at('size-0'), 4_000_000_000, 4_000_000_000);
}

/**
 * Prints a line for every file below the working directory: type, mode, links, size (not of directories), time, number of
 * the first file with the same inode, link target, and name; then the digest of every regular file's content.
 */
export const describeScript = `
find . -printf '%y %m %n %s %T@ %l %P\\0' | sed -zE 's/^(d [0-7]+ [0-9]+) [0-9]+/\\1 -/' | LC_ALL=C sort -z | tr '\\0' '\\n'
find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
find . -type f -links +1 -printf '%i %P\\n' | sort -k2 | awk '{ if (!($1 in seen)) seen[$1] = ++n; print seen[$1], $2 }'
`;
