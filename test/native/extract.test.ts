// SPDX-License-Identifier: Apache-2.0
// A used-up quota (EDQUOT) cannot be brought about without a file system made for it; extraction treats it as a full disk.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { type ImageName, makeImage } from '../../fixtures/make.ts';
import { type Ran, run } from '../support/run.ts';
import { ordinaryUser } from '../support/session.ts';
import { compileNative } from './compile.ts';
import { asRoot, imageOf, listTree, listUnsquashed, makeTree, needing, scratch } from './image-rig.ts';

let tree = '';
const extractImage = (): string => compileNative('extract-image');

beforeAll(() => {
  extractImage();
  tree = makeTree();
});

/** Extraction by an ordinary user, with a command line in front of it. */
async function extract(
  image: string,
  options: { flags?: string[]; before?: string[] } = {},
): Promise<Ran & { out: string }> {
  const out = path.join(scratch('out', ordinaryUser()), 'root');
  const ran = await run([...(options.before ?? []), extractImage(), ...(options.flags ?? []), image, out]);
  return { ...ran, out };
}

describe('extraction that cannot go on', () => {
  needing('says that the disk is full, and how much is needed', async () => {
    const image = imageOf(tree);
    const small = scratch('small');
    const script = 'mount -t tmpfs -o size=8m none "$1"; exec "$2" "$3" "$1/out"';
    const ran = await run(['unshare', '-m', 'sh', '-ec', script, 'sh', small, extractImage(), image], asRoot);
    expect(ran.status).toBe(4);
    expect(ran.stderr).toMatch(
      /^bundler: \w+ .*: No space left on device\n {2}try: a directory with \d{8,} bytes free: /,
    );
  });

  needing('names the limit of open files when that is too low', async () => {
    const { status, stderr } = await extract(imageOf(tree), { before: ['prlimit', '--nofile=40:40'] });
    expect(status).toBe(4);
    expect(stderr).toMatch(/^bundler: .*: Too many open files\n {2}try: a higher limit of open files \(ulimit -n\)\n$/);
  });
});

describe('extraction by an ordinary user', () => {
  needing('makes all but devices, with the modes of the image whatever the umask', async () => {
    const image = imageOf(tree);
    const { status, stdout, stderr, out } = await extract(image, {
      before: ['sh', '-c', 'umask 077; exec "$@"', 'sh'],
    });
    expect(status, stderr).toBe(0);
    expect(stdout).toContain(' skipped-devices=3 skipped-xattrs=0\n');
    const leftOut = ['--no-owner', '--no-special'] as const;
    expect(listTree(out, ...leftOut)).toEqual(listUnsquashed(image, ...leftOut));
  });

  needing('takes an image in the middle of a larger file, and shows progress up to the end', async () => {
    const larger = path.join(scratch('larger'), 'file');
    const image = readFileSync(imageOf(path.join(tree, 'sizes')));
    writeFileSync(larger, Buffer.concat([Buffer.alloc(4096, 7), image, Buffer.alloc(5000, 9)]));
    const { status, stdout, stderr, out } = await extract(larger, { flags: ['-p', '-t', '1', '-O', '4096'] });
    expect(status, stderr).toBe(0);
    expect(readdirSync(out)).toHaveLength(14);
    const bytes = /^files=14 bytes=(\d+)/.exec(stdout)?.[1];
    expect(stderr.trim().split('\n').at(-1)).toBe(`progress ${bytes}/${bytes}`);
  });

  needing('goes 1000 directories deep, and refuses to go deeper', async () => {
    const top = scratch('deep');
    mkdirSync(path.join(top, ...Array<string>(1000).fill('d')), { recursive: true });
    const deep = await extract(imageOf(top));
    expect(deep).toMatchObject({ status: 0, stderr: '' });
    expect(await run([extractImage(), '-r', deep.out])).toMatchObject({ status: 0, stderr: '' });
    mkdirSync(path.join(top, ...Array<string>(1001).fill('d')), { recursive: true });
    const deeper = await extract(imageOf(top));
    expect(deeper.status).toBe(4);
    expect(deeper.stderr).toMatch(
      /^bundler: the image has directories nested deeper than 1000 in .*d\/d\/d\n {2}try: /,
    );
    expect(await run([extractImage(), '-r', deeper.out])).toMatchObject({ status: 0, stderr: '' });
  });
});

describe('extraction of an image with impossible names', () => {
  const cases = {
    'name-dot': /^bundler: the image has an entry named "\." in d\n/,
    'name-dot-dot': /^bundler: the image has an entry named "\.\." in d\n/,
    'name-slash': /^bundler: the image has an entry named "Q\/" in d\n/,
    'name-twice': /^bundler: the image has two entries named "QX" in d\n/,
    'name-twice-apart': /^bundler: create d\/QX \(3 bytes\): File exists\n {2}try: .* the image has this name twice\n/,
  } satisfies Partial<Record<ImageName, RegExp>>;
  for (const [name, message] of Object.entries(cases)) {
    needing(`names the entry and its directory: ${name}`, async () => {
      const { status, stderr, out } = await extract(makeImage(name as ImageName));
      expect(status).toBe(4);
      expect(stderr).toMatch(message);
      expect(readdirSync(path.dirname(out)), 'nothing beside the target').toEqual(['root']);
    });
  }
});
