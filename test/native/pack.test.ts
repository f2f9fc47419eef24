// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { makeImage as makeFixture } from '../../fixtures/make.ts';
import { type Packer, type PackOptions, startPacker } from '../../src/launcher/pack.ts';
import { sanitize } from '../support/sanitize.ts';
import { listTree, listUnsquashed, makeTree, needing, scratch } from './image-rig.ts';
import { common, finishFlat, kernelMounts, packWalk, useLauncher, withMounted, withTarget } from './pack-rig.ts';

let tree = '';
let dir = '';

beforeAll(() => {
  useLauncher();
  tree = makeTree();
  dir = scratch('packed');
});

let count = 0;
const newFile = (): string => path.join(dir, `image-${++count}.sqsh`);

/** An image of the "everything" tree. */
async function packTree(options: PackOptions = common): Promise<string> {
  const file = newFile();
  const { sizeBytes, bytesUsed } = await withTarget(file, (target) => packWalk({ directory: tree }, target, options));
  expect(sizeBytes % 4096).toBe(0);
  expect(statSync(file).size).toBe(sizeBytes);
  expect(sizeBytes - bytesUsed).toBeLessThan(4096);
  return file;
}

/** An image with files of those names, each made by a function that gives its content's number; the root is the last inode. */
async function packFiles(
  files: Readonly<Record<string, (packer: Packer) => number | null>>,
  options: PackOptions = common,
): Promise<string> {
  const file = newFile();
  await withTarget(file, async (target) => {
    const packer = startPacker(target, options);
    const names = Object.keys(files).sort();
    const contents = names.map((name) => files[name]?.(packer) ?? null);
    await finishFlat(packer, names, contents);
  });
  return file;
}

const digestOf = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');
const inImage = (file: string, name: string): Buffer =>
  execFileSync('unsquashfs', ['-cat', file, name], { maxBuffer: 1 << 28 });

/** The lines of the tree that an image stores: squashfs has no sockets of ours, and times are not negative. */
function expectedTree(): string[] {
  return listTree(tree).filter((line) => !line.startsWith('/special/socket '));
}

const ways: Record<string, PackOptions> = {
  gzip: { ...common, compressor: 'gzip', level: null },
  'gzip level 1': { ...common, compressor: 'gzip', level: 1, blockSizeBytes: 4096 },
  lzma: { ...common, compressor: 'lzma', level: null },
  xz: { ...common, compressor: 'xz', level: null, blockSizeBytes: 1 << 20 },
  lz4: { ...common, compressor: 'lz4', level: null },
  lz4hc: { ...common, compressor: 'lz4', level: null, lz4Hc: true, blockSizeBytes: 65536 },
  zstd: common,
  'zstd without fragments': { ...common, noFragments: true },
  'zstd without a look at duplicates': { ...common, noDuplicates: true },
  'zstd, data stored as it is': { ...common, uncompressed: { data: true } },
  'nothing compressed': { ...common, uncompressed: { data: true, inodes: true, fragments: true, xattrs: true } },
};

describe('an image of everything that squashfs can store', () => {
  for (const [way, options] of Object.entries(ways)) {
    needing(`is unpacked by unsquashfs as it was: ${way}`, async () => {
      expect(listUnsquashed(await packTree(options))).toEqual(expectedTree());
    });
  }

  kernelMounts('is read by the kernel as it was', async () => {
    await withMounted(await packTree(), (root) => expect(listTree(root)).toEqual(expectedTree()));
  });

  needing('is the same for any number of threads', async () => {
    const digests = new Set<string>();
    for (const threads of [1, 2, 4]) digests.add(digestOf(await packTree({ ...common, threads })));
    expect(digests.size).toBe(1);
  });

  needing('packed from an image is what it is packed from the directory', async () => {
    const first = await packTree();
    const again = newFile();
    const descriptor = openSync(first, 'r');
    const source = { descriptor, offset: 0, sizeBytes: statSync(first).size };
    await withTarget(again, (target) => packWalk(source, target));
    closeSync(descriptor);
    expect(digestOf(again)).toBe(digestOf(first));
  });

  needing('says in its superblock how it was made', async () => {
    const text = execFileSync('unsquashfs', ['-s', await packTree(ways['nothing compressed'])], { encoding: 'utf8' });
    expect(text).toMatch(/Inodes are uncompressed\nData is uncompressed\n.* uncompressed\nFragments are uncompressed/);
    expect(text).toContain('Xattrs are uncompressed\nDuplicates are removed');
    expect(text).toContain('Filesystem is exportable via NFS');
  });
});

needing('a fixture of mksquashfs is packed again without a change', async () => {
  const fixture = makeFixture('tree');
  const descriptor = openSync(fixture, 'r');
  const file = newFile();
  const source = { descriptor, offset: 0, sizeBytes: statSync(fixture).size };
  await withTarget(file, (target) => packWalk(source, target));
  closeSync(descriptor);
  expect(listUnsquashed(file)).toEqual(listUnsquashed(fixture));
});

describe('contents', () => {
  needing('of every size around a block are what was given, in whatever pieces', async () => {
    const text = Buffer.from(Array.from({ length: 60_000 }, (_, i) => `${i}\n`).join(''));
    const files: Record<string, (packer: Packer) => number> = {};
    for (const size of [0, 1, 4095, 4096, 4097, 8192, 65_535, 200_000]) {
      files[`whole-${size}`] = (packer) => packer.storeFile(text.subarray(0, size));
      files[`pieces-${size}`] = (packer) => {
        const content = packer.beginFile(size);
        for (let at = 0; at < size; at += 1234) packer.writeData(text.subarray(at, Math.min(at + 1234, size)));
        packer.endFile();
        return content;
      };
    }
    const file = await packFiles(files, { ...common, blockSizeBytes: 4096 });
    for (const size of [1, 4095, 4096, 4097, 8192, 65_535, 200_000])
      for (const way of ['whole', 'pieces'])
        expect(inImage(file, `${way}-${size}`).equals(text.subarray(0, size)), `${way} ${size}`).toBe(true);
    expect(execFileSync('unsquashfs', ['-lln', file, 'whole-0'], { encoding: 'utf8' })).toMatch(/ 0 2001.*whole-0/);
  });

  needing('with a hole of a terabyte cost next to nothing', async () => {
    const tera = 2 ** 40;
    const started = performance.now();
    const file = await packFiles({
      hole: (packer) => {
        const content = packer.beginFile(tera + 6);
        packer.writeData(Buffer.from('abc'));
        packer.writeHole(tera);
        packer.writeData(Buffer.from('xyz'));
        packer.endFile();
        return content;
      },
    });
    expect(performance.now() - started).toBeLessThan(sanitize ? 60_000 : 10_000);
    expect(statSync(file).size).toBeLessThan(1 << 20);
    expect(execFileSync('unsquashfs', ['-lln', file], { encoding: 'utf8' })).toContain(` ${tera + 6} `);
  });

  kernelMounts('with holes and more than 4 GiB are read by the kernel', async () => {
    const giga = 2 ** 30;
    const file = await packFiles({
      large: (packer) => {
        const content = packer.beginFile(5 * giga + 3);
        packer.writeHole(giga);
        packer.writeData(Buffer.alloc(200_000, 'a'));
        packer.writeHole(4 * giga - 200_000);
        packer.writeData(Buffer.from('end'));
        packer.endFile();
        return content;
      },
    });
    await withMounted(file, (root) => {
      const large = path.join(root, 'large');
      expect(statSync(large).size).toBe(5 * giga + 3);
      expect(statSync(large).blocks * 512).toBeLessThan(1 << 20);
      const read = (skip: number, size: number): string =>
        execFileSync('dd', [`if=${large}`, 'iflag=skip_bytes,count_bytes', `skip=${skip}`, `count=${size}`], {
          encoding: 'latin1',
          stdio: ['ignore', 'pipe', 'ignore'],
        });
      expect(read(giga - 1, 3)).toBe('\0aa');
      expect(read(giga + 199_999, 2)).toBe('a\0');
      expect(read(5 * giga - 1, 9)).toBe('\0end');
    });
  });

  needing('that are the same are stored once, whole or by their ends', async () => {
    const noise = readFileSync(path.join(tree, 'plain/random'));
    const one = await packFiles({ a: (packer) => packer.storeFile(noise) });
    const files = Object.fromEntries(
      Array.from('abcdefgh', (name) => [name, (packer: Packer) => packer.storeFile(noise)]),
    );
    const eight = await packFiles(files);
    expect(statSync(eight).size - statSync(one).size).toBeLessThanOrEqual(4096);
    for (const name of Object.keys(files)) expect(inImage(eight, name).equals(noise)).toBe(true);
    const apart = await packFiles(files, { ...common, noDuplicates: true });
    expect(statSync(apart).size).toBeGreaterThan(8 * noise.length * 0.9);
  });

  for (const noFragments of [false, true]) {
    needing(
      `of the same few blocks, holes and ends stay apart, ${noFragments ? 'without' : 'with'} fragments`,
      async () => {
        const noise = readFileSync(path.join(tree, 'plain/random'));
        const pool = Array.from({ length: 5 }, (_, at) => noise.subarray(at * 4096, at * 4096 + 4096));
        let seed = 99;
        const pick = <T>(from: readonly T[]): T => {
          seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
          return from[(seed >>> 16) % from.length] as T;
        };
        const made = new Map<string, Buffer>();
        for (let at = 0; at < 700; at += 1) {
          const blocks = Array.from({ length: pick([0, 1, 2, 3]) }, () => pick([...pool, Buffer.alloc(4096)]));
          const tail = pick([Buffer.alloc(0), Buffer.alloc(100), ...pool]).subarray(0, pick([1, 100, 4000]));
          made.set(String(at).padStart(3, '0'), Buffer.concat([...blocks, tail]));
        }
        const files = Object.fromEntries(
          [...made].map(([name, content]) => [name, (packer: Packer) => packer.storeFile(content)]),
        );
        const file = await packFiles(files, { ...common, blockSizeBytes: 4096, noFragments, threads: 3 });
        const out = path.join(scratch('unpacked'), 'root');
        execFileSync('unsquashfs', ['-quiet', '-no-progress', '-d', out, file], {
          stdio: ['ignore', 'ignore', 'pipe'],
        });
        for (const [name, content] of made) expect(readFileSync(path.join(out, name)).equals(content), name).toBe(true);
      },
    );
  }

  needing('that no inode has are allowed', async () => {
    const file = await packFiles({
      a: (packer) => {
        packer.storeFile(Buffer.from('of nobody'));
        return packer.storeFile(Buffer.from('mine'));
      },
    });
    expect(inImage(file, 'a').toString()).toBe('mine');
  });
});
