// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { renderPages } from '../../scripts/make-command-docs.ts';

const dir = resolve(import.meta.dirname, '../../docs/cmd');
const pages = [...renderPages()];

test('every command has a page', () => {
  expect(pages.map(([name]) => name)).toEqual([
    'make.md',
    'import.md',
    'load.md',
    'export.md',
    'inspect.md',
    'verify.md',
    'extract.md',
    'run-file.md',
    'digest.md',
    'cache.md',
    'doctor.md',
  ]);
});

test.each(pages)('docs/cmd/%s is what the command is now (node scripts/make-command-docs.ts)', (name, page) => {
  expect(readFileSync(join(dir, name), 'utf8')).toBe(page);
  expect(page).toContain('Examples:\n\n    bundler');
});
