// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { run } from '../support/run.ts';
import { compileNative } from './compile.ts';
import { scratch } from './serve-rig.ts';
import { noise } from './serve-tree.ts';

const sizes = [0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 1000, 65_536, 3_000_001];
const programs = { 'SHA instructions, where the CPU has them': 'hash-file', 'plain C': 'hash-file-scalar' };
let dir = '';

beforeAll(() => {
  dir = scratch('sha256');
  for (const size of sizes) writeFileSync(path.join(dir, String(size)), noise(size));
  for (const program of Object.values(programs)) compileNative(program);
});

describe('SHA-256 of files whose sizes are around a block agrees with sha256sum', () => {
  for (const [how, program] of Object.entries(programs)) {
    test(`by ${how}`, async () => {
      for (const size of sizes) {
        const file = path.join(dir, String(size));
        const expected = execFileSync('sha256sum', [file], { encoding: 'utf8' }).slice(0, 64);
        expect((await run([compileNative(program), file])).stdout, `${size} bytes`).toBe(`${expected}\n`);
      }
    });
  }
});
