// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, vi } from 'vitest';
import { openTreeTar } from '../../src/exporting/tree-tar.ts';
import { useLauncher } from '../native/pack-rig.ts';
import { testNeeding } from '../support/features.ts';
import { makeTemporary } from './support.ts';

let dir = '';
let tree = '';
beforeAll(() => {
  useLauncher();
  dir = makeTemporary();
  tree = join(dir, 'tree');
  mkdirSync(join(tree, 'b/sub'), { recursive: true });
  writeFileSync(join(tree, 'b/file'), Buffer.alloc(3_000_001, 'content '));
  writeFileSync(join(tree, 'empty'), '');
  writeFileSync(Buffer.from(`${tree}/no-utf8-\xff`, 'latin1'), 'x');
  writeFileSync(join(tree, 'n'.repeat(250)), 'long');
  linkSync(join(tree, 'b/file'), join(tree, 'b/hard'));
  symlinkSync('b/file', join(tree, 'soft'));
  writeFileSync(join(tree, 'hole'), 'end');
  truncateSync(join(tree, 'hole'), 2_000_000);
  // Whole seconds, which is all that ustar says.
  execFileSync('find', [tree, '-exec', 'touch', '-h', '-d', '@1700000000', '{}', '+']);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const tar = (...argv: string[]) => execFileSync('tar', argv, { encoding: 'latin1' });
/** Processes that this one started and that are not gone. */
function children(): string[] {
  const parentOf = (pid: string): string => {
    try {
      return (
        readFileSync(`/proc/${pid}/stat`, 'latin1')
          .replace(/^.*\) \S /s, '')
          .split(' ')[0] ?? ''
      );
    } catch {
      return ''; // gone meanwhile
    }
  };
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && parentOf(name) === String(process.pid));
}
const test = testNeeding('bundler', 'mksquashfs');

describe('the tar of a tree', () => {
  test('is what GNU tar makes of it', async () => {
    const archive = await buffer(openTreeTar({ directory: tree }));
    writeFileSync(join(dir, 'ours.tar'), archive);
    tar('--sort=name', '-C', tree, '-cf', join(dir, 'theirs.tar'), '.');
    const list = (name: string) =>
      tar('--quoting-style=literal', '--numeric-owner', '--full-time', '-tvf', join(dir, name))
        .replaceAll(' ./', ' ')
        .trimEnd()
        .split('\n')
        .sort();
    expect(list('ours.tar')).toEqual(list('theirs.tar'));
    tar('--compare', '-C', tree, '-f', join(dir, 'ours.tar'));
  });

  test('is the same for the image that is made of the tree', async () => {
    const image = join(dir, 'tree.sqsh');
    execFileSync('mksquashfs', [tree, image, '-quiet', '-no-progress', '-comp', 'zstd'], { stdio: 'ignore' });
    const descriptor = openSync(image, 'r');
    try {
      const archive = await buffer(openTreeTar({ descriptor, offset: 0, sizeBytes: statSync(image).size }));
      expect(archive.equals(await buffer(openTreeTar({ directory: tree })))).toBe(true);
    } finally {
      closeSync(descriptor);
    }
  });

  test('has no sockets', async () => {
    const place = join(dir, 'with-socket');
    mkdirSync(place);
    const server = createServer().listen(join(place, 'socket'));
    try {
      const archive = await buffer(openTreeTar({ directory: place }));
      expect(archive).toHaveLength(512 + 1024);
    } finally {
      server.close();
    }
  });

  test('fails as the walk fails', async () => {
    await expect(buffer(openTreeTar({ directory: join(dir, 'none') }))).rejects.toThrow(/none/);
  });

  test('ends its walk when nobody reads it any more', async () => {
    const before = children();
    const stream = openTreeTar({ directory: tree });
    for await (const chunk of stream) {
      expect(chunk).toHaveLength(512);
      expect(children()).not.toEqual(before);
      break;
    }
    expect(stream.destroyed).toBe(true);
    await vi.waitFor(() => expect(children()).toEqual(before), { timeout: 20_000 });
  });
});
