// SPDX-License-Identifier: Apache-2.0
import path from 'node:path';
import { expect } from 'vitest';
import { testNeeding } from '../support/features.ts';
import { run } from '../support/run.ts';
import { compileNative } from './compile.ts';
import { makeImage, scratch } from './serve-rig.ts';
import { makeTree } from './serve-tree.ts';

testNeeding('mksquashfs')(
  'the server speaks to kernels old and new, and to nonsense',
  async () => {
    const dir = scratch('serve-protocol');
    makeTree(path.join(dir, 'tree'), 10);
    const image = makeImage(path.join(dir, 'tree'), path.join(dir, 'image.sqsh'), '-comp', 'gzip');
    expect(await run([compileNative('serve-protocol'), image])).toMatchObject({ status: 0, stderr: '' });
  },
  120_000,
);
