// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { findLoader } from '../../scripts/build/libraries.ts';
import { sealLoader } from '../../scripts/seal-loader.ts';

const node = path.resolve(import.meta.dirname, '../../build/node-trimmed');

test('a sealed loader finds no library of the host, an unsealed one does', () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'bundler-seal-'));
  try {
    const original = findLoader('/bin/true');
    const sealed = path.join(dir, 'ld.so');
    const bytes = readFileSync(original);
    sealLoader(bytes);
    writeFileSync(sealed, bytes);
    chmodSync(sealed, 0o755);
    const list = (loader: string) =>
      execFileSync(loader, ['--inhibit-cache', '--list', '/bin/true'], { encoding: 'utf8', stdio: 'pipe' });
    expect(list(original)).toContain('libc.so.6');
    expect(() => list(sealed)).toThrow('libc.so.6');
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test('a file that is not such a loader is refused', () => {
  expect(() => sealLoader(readFileSync(node).subarray(0, 1 << 20))).toThrow('seal the loader');
});
