// SPDX-License-Identifier: Apache-2.0
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { run } from '../support/run.ts';
import { compileNative } from './compile.ts';
import { asRoot, imageOf, listTree, listUnsquashed, makeTree, needing, scratch, variants } from './image-rig.ts';

let tree = '';

beforeAll(() => {
  for (const program of ['dump-image', 'extract-image']) compileNative(program);
  tree = makeTree();
});

/** Every entry of an image as the reader sees it, in two threads that share its caches. */
async function dump(image: string, offset = 0): Promise<{ lines: string[]; facts: string }> {
  const ran = await run([compileNative('dump-image'), image, String(offset), '2'], asRoot);
  expect(ran.status, ran.stderr).toBe(0);
  return { lines: ran.bytes.toString('latin1').split('\n'), facts: ran.stderr };
}

/** What extraction by root makes of an image. */
async function extract(image: string): Promise<string[]> {
  const dir = scratch('out');
  const ran = await run([compileNative('extract-image'), '-o', image, `${dir}/root`], asRoot);
  expect(ran.status, ran.stderr).toBe(0);
  expect(ran.stdout).toMatch(/^files=\d+ bytes=\d+ skipped-devices=0 skipped-xattrs=0\n$/);
  const lines = listTree(`${dir}/root`);
  rmSync(dir, { recursive: true });
  return lines;
}

describe('the image reader and the extraction', () => {
  for (const [name, flags] of variants) {
    needing(
      `give what unsquashfs gives: ${name}`,
      async () => {
        const image = imageOf(tree, flags);
        const { lines, facts } = await dump(image);
        const expected = listUnsquashed(image);
        expect(expected.length).toBeGreaterThan(3000);
        expect(lines).toEqual(expected);
        expect(await extract(image)).toEqual(expected);
        expect(facts).toMatch(new RegExp(`^${flags.split(' ')[1]} \\d+ \\d+ \\d+\n$`));
      },
      120_000,
    );
  }

  needing('give what was packed when it lies in the middle of a larger file', async () => {
    const image = imageOf(path.join(tree, 'attrs'));
    const larger = path.join(scratch('larger'), 'file');
    writeFileSync(larger, Buffer.concat([Buffer.alloc(12_345, 7), readFileSync(image), Buffer.alloc(5000, 9)]));
    expect((await dump(larger, 12_345)).lines).toEqual(listTree(path.join(tree, 'attrs')));
  });

  needing('give an empty directory for an empty image', async () => {
    const empty = scratch('nothing');
    const image = imageOf(empty);
    expect((await dump(image)).lines).toEqual(listTree(empty));
    expect(await extract(image)).toEqual(listTree(empty));
  });
});
