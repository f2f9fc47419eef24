// SPDX-License-Identifier: Apache-2.0
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { testNeeding } from '../support/features.ts';
import { makeImage, runMounted, scratch, shMounted } from './serve-rig.ts';
import { makeTree } from './serve-tree.ts';

const needing = testNeeding('root', 'userns', 'fuse', 'mksquashfs');
let image = '';

beforeAll(() => {
  const dir = scratch('serve-entries');
  makeTree(path.join(dir, 'tree'), 10);
  image = makeImage(path.join(dir, 'tree'), path.join(dir, 'image.sqsh'), '-comp', 'zstd', '-mkfs-time', '1234567890');
});

describe('a synthetic entry', () => {
  needing("file: is added with its mode, the image's time, the user as owner and a new inode number", async () => {
    const script =
      'cat etc/added; stat -c "%A %s %Y %u %h" etc/added; find . -printf "%i\\n" | sort -n | uniq -d | wc -l; find . -type f -links +1 | wc -l';
    expect(await shMounted(image, script, { entries: ['file:640:/etc/added:hello\n'] })).toBe(
      'hello\n-rw-r----- 6 1234567890 4242 1\n1\n2\n',
    );
  });

  needing("file: replaces the image's file, listed once, and its other hard link stays", async () => {
    const script = 'cat text; ls | grep -cx text; head -c 9 a/hard-link';
    expect(await shMounted(image, script, { entries: ['file:644:/text:new\n'] })).toBe('new\n1\nthe quick');
  });

  needing('file: replaces a symlink itself and never follows it', async () => {
    const entries = [
      'file:644:/etc/resolv.conf:nameserver 1\n',
      'file:644:/dangling:here\n',
      'file:644:/loop-1:no loop\n',
    ];
    const script =
      'cat etc/resolv.conf dangling loop-1 loop-2; test -f etc/resolv.conf; test ! -L etc/resolv.conf; test ! -e run; test ! -e nowhere';
    expect(await shMounted(image, script, { entries })).toBe('nameserver 1\nhere\nno loop\nno loop\n');
  });

  needing('file: a later one wins over an earlier one', async () => {
    expect(
      await shMounted(image, 'cat x; ls | grep -cx x', {
        entries: ['file:644:/x:one', 'mountpoint:644:/x', 'file:600:/x:two\n'],
      }),
    ).toBe('two\n1\n');
  });

  needing('symlink: is added and replaces a file', async () => {
    const entries = ['symlink:777:/etc/mtab:/proc/mounts', 'symlink:777:/text:etc/passwd'];
    expect(await shMounted(image, 'readlink etc/mtab text; cat text; ls etc | grep -cx mtab', { entries })).toBe(
      '/proc/mounts\netc/passwd\nroot:x:0:0::/root:/bin/sh\n1\n',
    );
  });

  needing('dir: is made with missing parents, and left alone where one is', async () => {
    const entries = ['dir:700:/new/one/two', 'dir:700:/a/b', 'dir:755:/', 'dir:755:/a/./b/../../usr//share/'];
    expect(
      await shMounted(image, 'stat -c "%a %h %n" new new/one new/one/two a/b; ls -a new/one/two; find new', {
        entries,
      }),
    ).toBe('755 3 new\n755 3 new/one\n700 2 new/one/two\n1777 3 a/b\n.\n..\nnew\nnew/one\nnew/one/two\n');
  });

  needing('dir: counts as a link of the directory it is added to', async () => {
    const script = 'stat -c %h .; find . -maxdepth 1 -mindepth 1 -type d | wc -l';
    const [links, dirs] = (await shMounted(image, script, { entries: ['dir:755:/x', 'dir:755:/y/z', 'file:644:/f:f'] }))
      .trim()
      .split('\n');
    expect(Number(links)).toBe(Number(dirs) + 2);
  });

  needing('mountpoint: is an empty file only where nothing is', async () => {
    const entries = [
      'mountpoint:644:/dev/null',
      'mountpoint:644:/etc/passwd',
      'mountpoint:644:/usr',
      'mountpoint:600:/etc/hostname',
    ];
    expect(
      await shMounted(image, 'stat -c "%F %a %s" dev/null etc/hostname; stat -c %F usr; wc -l < etc/passwd', {
        entries,
      }),
    ).toBe('regular empty file 644 0\nregular empty file 600 0\ndirectory\n1\n');
  });

  needing('dir and mountpoint: follow symlinks of the image inside it, never out of it', async () => {
    const entries = [
      'dir:755:/var-run',
      'mountpoint:644:/etc/resolv.conf',
      'dir:755:/a/b/up/deep/er',
      'mountpoint:644:/self/self/etc/m',
      'dir:755:/dangling/x',
    ];
    const script = 'find run etc nowhere | sort; test ! -L run; test -L var-run';
    const shown = await shMounted(image, script, { entries });
    expect(shown.trim().split('\n')).toEqual([
      'etc',
      'etc/deep',
      'etc/deep/er',
      'etc/m',
      'etc/passwd',
      'etc/resolv.conf',
      'nowhere',
      'nowhere/at',
      'nowhere/at/all',
      'nowhere/at/all/x',
      'run',
      'run/resolv.conf',
    ]);
  });

  needing('a hundred of them in one directory are all there', async () => {
    const entries = Array.from({ length: 100 }, (_, i) => `file:644:/many/added-${i}:${i}`);
    expect(await shMounted(image, 'ls many | wc -l; cat many/added-0 many/added-57 many/added-99', { entries })).toBe(
      '110\n05799',
    );
  });

  const refused: [string, string, RegExp][] = [
    ['a loop of symlinks', 'dir:755:/loop-1', /directory \/loop-1 .*[Tt]oo many levels/],
    ['a parent in a loop', 'file:644:/loop-1/x:1', /file \/loop-1\/x .*[Tt]oo many levels/],
    ['a parent that is a file', 'file:644:/text/x:1', /file \/text\/x .*[Nn]ot a directory/],
    ['a directory where a file is', 'dir:755:/text', /directory \/text .*[Nn]ot a directory/],
    ['a file where a directory is', 'file:644:/etc:1', /file \/etc .*[Ii]s a directory/],
    ['a symlink where a directory is', 'symlink:777:/a/b/../b:x', /symlink \/a\/b\/\.\.\/b .*[Ii]s a directory/],
    ['a file named by dots', 'file:644:/etc/..:x', /file \/etc\/\.\. .*[Ii]s a directory/],
    ['a name too long', `file:644:/${'x'.repeat(256)}:x`, /[Ff]ile name too long/],
    ['an empty symlink', 'symlink:777:/x:', /symlink \/x .*[Ii]nvalid/],
    ['an unknown kind', 'socket:777:/x', /\/x .*[Ii]nvalid/],
  ];
  for (const [what, entry, message] of refused) {
    needing(`is refused by name: ${what}`, async () => {
      const ran = await runMounted(image, ['true'], { entries: ['file:644:/fine:1', entry] });
      expect(ran.stderr).toMatch(message);
      expect(ran.status).toBe(125);
    });
  }
});
