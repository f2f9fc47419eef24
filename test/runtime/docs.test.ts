// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { builtInHooks } from '../../runtime/hooks/index.ts';
import { optionRows } from '../../runtime/options.ts';
import { hooksPagePath, runPagePath, writeHooksPage, writeRunPage } from '../../scripts/make-docs.ts';

test('docs/cmd/run.md is what the option table says (else: node scripts/make-docs.ts)', () => {
  const page = readFileSync(runPagePath, 'utf8');
  expect(page).toBe(writeRunPage());
  for (const { long } of optionRows) expect(page).toContain(`--${long}`);
});

test('docs/hooks.md is what the list of hooks says (else: node scripts/make-docs.ts)', () => {
  const page = readFileSync(hooksPagePath, 'utf8');
  expect(page).toBe(writeHooksPage());
  for (const { name, text } of builtInHooks) {
    const row = page.split('\n').find((line) => line.startsWith(`| \`${name}\` |`));
    expect(row).toContain(text);
  }
});
