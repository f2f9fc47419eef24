// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { run } from '../support/run.ts';
import { sanitize } from '../support/sanitize.ts';
import { compileNative } from './compile.ts';
import { asRoot, everything, imageOf, makeTree, needing, scratch } from './image-rig.ts';

const ways = ['gzip', 'lzma', 'lzo', 'xz', 'lz4', 'zstd', 'zstd -noI -noX'];
// A normal run stays at a few seconds a compressor.
const rounds = (sanitize ? 100 : 300) * (everything ? 4 : 1);
let few = '';

beforeAll(() => {
  compileNative('damage-image');
  const tree = makeTree();
  few = scratch('few');
  const parts = ['attrs', 'links', 'special', 'names', 'sizes/131073', 'sizes/4097', 'sparse/middle'];
  execFileSync('cp', ['-a', ...parts.map((part) => path.join(tree, part)), few]);
});

describe('damage anywhere in an image, or its end missing', () => {
  for (const way of ways) {
    needing(
      `is an error or goes unnoticed, without a crash, a hang or a leak: ${way}`,
      async () => {
        const image = imageOf(few, `-comp ${way} -b 4K`);
        const options = { ...asRoot, timeoutMs: 290_000 };
        const ran = await run([compileNative('damage-image'), image, String(rounds)], options);
        expect(ran).toMatchObject({ status: 0, stderr: '' });
        expect(ran.stdout).toMatch(new RegExp(`^${rounds} damaged images, [1-9]\\d* with errors\n$`));
      },
      300_000,
    );
  }
});
