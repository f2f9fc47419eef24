// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { optionRows } from '../../runtime/options.ts';
import { runPagePath, writeRunPage } from '../../scripts/make-docs.ts';

test('docs/cmd/run.md is what the option table says (else: node scripts/make-docs.ts)', () => {
  const page = readFileSync(runPagePath, 'utf8');
  expect(page).toBe(writeRunPage());
  for (const { long } of optionRows) expect(page).toContain(`--${long}`);
});
