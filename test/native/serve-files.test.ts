// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { testNeeding } from '../support/features.ts';
import { sanitize } from '../support/sanitize.ts';
import { freshUser } from '../support/session.ts';
import { untilAllEnded } from '../support/snapshot.ts';
import { makeImage, runMounted, scratch, shMounted } from './serve-rig.ts';
import { describeScript, makeTree } from './serve-tree.ts';

const needing = testNeeding('root', 'userns', 'fuse', 'mksquashfs', 'unsquashfs');
const kinds: Record<string, string[]> = {
  gzip: ['-comp', 'gzip'],
  lzma: ['-comp', 'lzma'],
  lzo: ['-comp', 'lzo'],
  lz4: ['-comp', 'lz4'],
  xz: ['-comp', 'xz'],
  zstd: ['-comp', 'zstd'],
  'zstd 1 MiB blocks without fragments': ['-comp', 'zstd', '-b', '1M', '-no-fragments'],
  '4 KiB blocks': ['-comp', 'gzip', '-b', '4K'],
  'nothing compressed': ['-noI', '-noD', '-noF', '-noX'],
};
const countBytes = 'find . -type f | xargs cat | wc -c';
let dir = '';
const image = (kind: string): string => path.join(dir, `${kind.replaceAll(' ', '-')}.sqsh`);

beforeAll(() => {
  dir = scratch('serve-files');
  makeTree(path.join(dir, 'tree'), 3000);
  for (const [kind, flags] of Object.entries(kinds)) makeImage(path.join(dir, 'tree'), image(kind), ...flags);
});

describe('a mounted image', () => {
  for (const kind of Object.keys(kinds)) {
    needing(`equals what unsquashfs unpacks: ${kind}`, async () => {
      const unpacked = path.join(scratch('unpacked'), 'tree');
      execFileSync('unsquashfs', ['-d', unpacked, '-quiet', '-no-progress', image(kind)], { stdio: 'ignore' });
      const options = { maxBuffer: 64 << 20, cwd: unpacked, encoding: 'utf8' } as const;
      const expected = execFileSync('sh', ['-ec', describeScript], options);
      const shown = await shMounted(image(kind), describeScript, { flags: ['-0'] });
      expect(expected.split('\n').length).toBeGreaterThan(6000);
      expect(shown.split('\n')).toEqual(expected.split('\n'));
    });
  }

  needing('is found at an offset in a larger file', async () => {
    const larger = path.join(dir, 'larger');
    const bytes = readFileSync(image('zstd'));
    writeFileSync(larger, Buffer.concat([Buffer.alloc(12288, 7), bytes, Buffer.alloc(5000, 9)]));
    expect(
      await shMounted(larger, 'cat etc/passwd', { flags: ['-o', '12288', '-s', String(bytes.length), '-0'] }),
    ).toMatch(/^root:/);
  });

  needing('shows every file as owned by the user, whole in a tar archive', async () => {
    const shown = await shMounted(
      image('zstd'),
      "find . -printf '%U:%G\\n' | sort | uniq -c | wc -l; find . -printf '%U:%G\\n' | sort -u",
    );
    expect(shown).toBe('1\n4242:4242\n');
    const names = await shMounted(image('zstd'), 'tar cf - . | tar tf - | sort -u | wc -l; find . | wc -l', {
      flags: ['-0'],
    });
    const [inTar, found] = names.trim().split('\n');
    expect(inTar).toBe(found);
  });

  needing('lists a directory of 10000 names once each, and from any position again', async () => {
    const tree = path.join(scratch('many'), 'tree');
    mkdirSync(tree);
    for (let i = 0; i < 10_000; i++) writeFileSync(path.join(tree, `name-${i}`), '');
    const many = makeImage(tree, path.join(dir, 'many.sqsh'));
    const entries = ['file:644:/name-77:replaced', 'file:644:/an-added-one:x', 'dir:755:/added-dir'];
    const shown = await shMounted(many, "ls -f | sort | uniq -c | awk '$1 != 1'; ls -f | wc -l; cat name-77", {
      entries,
    });
    expect(shown).toBe('10004\nreplaced');
    // Perl's telldir and seekdir are those of the C library.
    const seek = `opendir D, "."; while (defined($n = readdir D)) { push @all, [$n, telldir D] }
      for $i (0, 1, 2, 3, 4, 500, 5000, 9999, 10000) { seekdir D, $all[$i][1]; $got = readdir D; print "$i differs\\n" if $got ne $all[$i+1][0] }
      seekdir D, $all[10002][1]; print scalar(@all), "\\n"`;
    expect((await runMounted(many, ['perl', '-e', seek], { entries })).stdout).toBe('10004\n');
  });

  needing('gives two readers at once the right bytes', async () => {
    const sum = 'sum() { find . -type f -print0 | sort -z | xargs -0 cat | sha256sum; }';
    const script = `${sum}; sum >/tmp/$$.1 & sum; wait; cat /tmp/$$.1; rm /tmp/$$.1`;
    const expected = execFileSync('sh', ['-ec', `${sum}; sum`], { cwd: path.join(dir, 'tree'), encoding: 'utf8' });
    const shown = await shMounted(image('xz'), script, { flags: ['-0', '-t', '4', '-c', '1000000'] });
    expect(shown).toBe(expected + expected);
  });

  needing('refuses every change as a read-only file system, with the modes in force', async () => {
    const script =
      'LC_ALL=C; for c in "touch new" "rm text" "mkdir d" "chmod 600 text" "mv text t" "ln text t" "truncate -s 0 text"; do $c 2>&1 || :; done';
    const lines = (await shMounted(image('zstd'), script)).trim().split('\n');
    expect(lines).toHaveLength(7);
    for (const line of lines) expect(line).toMatch(/Read-only file system$/);
    expect((await runMounted(image('zstd'), ['cat', 'size-4096'])).stderr).toMatch(/Permission denied/);
  });

  needing('works with one thread', async () => {
    expect(await shMounted(image('zstd'), countBytes, { flags: ['-0', '-t', '1'] })).toBe(
      await shMounted(image('zstd'), countBytes, { flags: ['-0'] }),
    );
  });

  // The address sanitizer itself reserves terabytes.
  test.skipIf(sanitize)('works in 256 MB of address space', async () => {
    const options = { flags: ['-0', '-t', '8'], before: ['prlimit', '--as=256000000:'] };
    expect(await shMounted(image('zstd'), `ulimit -v unlimited; ${countBytes}`, options)).toBe(
      await shMounted(image('zstd'), countBytes, { flags: ['-0'] }),
    );
  });
});

describe('a file that is no image', () => {
  test.each([
    ['empty', 0],
    ['text', 5000],
    ['cut', -1],
  ])('%s: is refused with its reason', async (name, size) => {
    const file = path.join(dir, name);
    const bytes = size < 0 ? readFileSync(image('zstd')).subarray(0, 20_000) : Buffer.alloc(size, 'no image ');
    writeFileSync(file, bytes);
    const user = freshUser();
    const ran = await runMounted(file, ['true'], { user });
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/^bundler: .*(squashfs|truncated|image)/);
    await untilAllEnded(user);
  });
});
