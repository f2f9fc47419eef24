// SPDX-License-Identifier: Apache-2.0
// What is written as ENROOT_SQUASH_OPTIONS asks is read by unsquashfs and by the kernel, and is what was asked for.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { listTree, listUnsquashed } from '../native/image-rig.ts';
import { bundler } from '../support/bundle.ts';
import { testNeeding } from '../support/features.ts';
import { type Ran, run } from '../support/run.ts';
import { listImage, makeSampleLayout } from '../support/sample-image.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

const needing = testNeeding('root', 'bundler', 'unsquashfs');

let layout = '';
/** Lines of the image that is written without any options. */
let expected: string[] = [];

const makeCwd = (): string => makeDir(ordinaryUser(), 'squash');

function importWith(cwd: string, options: string): Promise<Ran> {
  return run([bundler, 'import', '-o', 'x.sqsh', `oci:${layout}`], { cwd, env: { ENROOT_SQUASH_OPTIONS: options } });
}

/** What unsquashfs tells of the superblock. */
function readSuperblock(image: string): string {
  return execFileSync('unsquashfs', ['-s', image], { encoding: 'utf8' });
}

/** Lines of the image as the kernel shows it. */
function listMounted(image: string): string[] {
  const at = path.join(path.dirname(image), 'mounted');
  mkdirSync(at);
  execFileSync('mount', ['-t', 'squashfs', '-o', 'loop,ro', image, at], { stdio: 'pipe' });
  try {
    return listTree(at);
  } finally {
    execFileSync('umount', [at]);
  }
}

/** Linux has never read lzma; a container may have no loop devices. */
const isMountable = (options: string): boolean =>
  options !== '-comp lzma' &&
  existsSync('/dev/loop-control') &&
  readFileSync('/proc/filesystems', 'utf8').includes('squashfs');

beforeAll(async () => {
  layout = makeSampleLayout();
  const cwd = makeCwd();
  expect((await importWith(cwd, '')).status).toBe(0);
  expected = listImage(path.join(cwd, 'x.sqsh'));
});

const told: Readonly<Record<string, readonly RegExp[]>> = {
  '': [/Compression zstd/, /compression-level 3/, /Block size 131072/],
  '-comp gzip': [/Compression gzip/, /Block size 131072/],
  '-comp gzip -Xcompression-level 1': [/Compression gzip/, /compression-level 1/],
  '-comp xz': [/Compression xz/],
  '-comp lzma': [/Compression lzma/],
  '-comp lz4': [/Compression lz4/],
  '-comp lz4 -Xhc': [/Compression lz4/, /High Compression/],
  '-comp zstd -Xcompression-level 19 -b 1M': [/Compression zstd/, /compression-level 19/, /Block size 1048576/],
  '-comp zstd -b 4K': [/Block size 4096/],
  '-comp zstd -noD': [/Data is uncompressed/, /Inodes are compressed/],
  '-comp zstd -noI -noF -noX': [
    /Inodes are uncompressed/,
    /Data is compressed/,
    /Fragments are uncompressed/,
    /Xattrs are uncompressed/,
  ],
  '-comp gzip -no-fragments': [/Fragments are not stored/],
  '-no-duplicates -processors 1': [/Compression gzip/, /Duplicates are not removed/],
};

describe('an image with ENROOT_SQUASH_OPTIONS', () => {
  for (const [options, patterns] of Object.entries(told)) {
    needing(`${options === '' ? 'empty' : options} is what unsquashfs and the kernel expect`, async () => {
      const cwd = makeCwd();
      const ran = await importWith(cwd, options);
      expect(ran.status, ran.stderr).toBe(0);
      expect(ran.stderr).not.toContain('ENROOT_SQUASH_OPTIONS');
      const image = path.join(cwd, 'x.sqsh');
      for (const pattern of patterns) expect(readSuperblock(image)).toMatch(pattern);
      expect(listImage(image)).toEqual(expected);
      expect(listUnsquashed(image)).toEqual(expected);
      if (isMountable(options)) expect(listMounted(image)).toEqual(expected);
    });
  }

  needing('-no-xattrs and -all-root lacks attributes and owners', async () => {
    const cwd = makeCwd();
    expect((await importWith(cwd, '-comp zstd -no-xattrs -all-root')).status).toBe(0);
    const plain = expected.map((line) =>
      line.replace(/^(\S* \S+) \S+/, '$1 0:0').replace(/ (user|security)\.\S+/g, ''),
    );
    expect(listUnsquashed(path.join(cwd, 'x.sqsh'))).toEqual(plain);
  });

  needing('that ask for lzo is lz4, with a warning', async () => {
    const cwd = makeCwd();
    const ran = await importWith(cwd, '-comp lzo -noD');
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stderr).toMatch(/^bundler: ENROOT_SQUASH_OPTIONS asks for lzo, .*lz4/m);
    expect(readSuperblock(path.join(cwd, 'x.sqsh'))).toMatch(/Compression lz4/);
    expect(listUnsquashed(path.join(cwd, 'x.sqsh'))).toEqual(expected);
  });

  needing('that change nothing here are named', async () => {
    const cwd = makeCwd();
    const ran = await importWith(cwd, '-comp gzip -Xwindow-size 8 -no-progress -mem 1G');
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stderr).toMatch(/^bundler: ENROOT_SQUASH_OPTIONS: -Xwindow-size 8 changes nothing here$/m);
  });

  needing('is the same with any number of processors', async () => {
    const [one, four] = [makeCwd(), makeCwd()];
    expect((await importWith(one, '-comp zstd -processors 1')).status).toBe(0);
    expect((await importWith(four, '-comp zstd -processors 4')).status).toBe(0);
    const [first, second] = [one, four].map((cwd) => readFileSync(path.join(cwd, 'x.sqsh')));
    expect(first?.equals(second as Buffer)).toBe(true);
    expect(statSync(path.join(one, 'x.sqsh')).mode & 0o777).toBe(0o644);
  });

  const wrong: Readonly<Record<string, RegExp>> = {
    '-comp brotli': /-comp is one of gzip, lzma/,
    '-comp zstd -Xcompression-level 40': /-Xcompression-level of zstd is 1 to 22/,
    '-comp lz4 -Xcompression-level 3': /-Xcompression-level is not for lz4/,
    '-comp gzip -Xhc': /-Xhc is not for gzip/,
    '-b 3M': /-b takes a power of two from 4K to 1M/,
    '-b': /-b lacks its argument/,
    '-turbo': /-turbo is no option of mksquashfs/,
    file: /file is no option of mksquashfs/,
  };
  for (const [options, message] of Object.entries(wrong)) {
    needing(`${options} is refused by name`, async () => {
      const cwd = makeCwd();
      const ran = await importWith(cwd, options);
      expect(ran.status).toBe(125);
      expect(ran.stderr).toMatch(/^bundler: cannot use ENROOT_SQUASH_OPTIONS of the environment: /);
      expect(ran.stderr).toMatch(message);
      expect(readdirSync(cwd)).toEqual([]);
    });
  }
});
