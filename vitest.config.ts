// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };

/** Imports of .txt files are strings, as in a build. */
const text = {
  name: 'text',
  enforce: 'pre' as const,
  load(id: string): string | undefined {
    return id.endsWith('.txt') ? `export default ${JSON.stringify(readFileSync(id, 'utf8'))};` : undefined;
  },
};

export default defineConfig({
  plugins: [text],
  define: { BUNDLER_VERSION: JSON.stringify(version) },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    setupFiles: ['test/support/guard-kill.ts', 'test/support/fail-on-reports.ts'],
    // Tests drive real processes, mounts and caches; two files at once is what two cores bear.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 300_000,
    // See flaky-reporter.ts.
    retry: process.env['CI'] ? 1 : 0,
    reporters: [
      'default',
      'test/support/flaky-reporter.ts',
      ['json', { outputFile: process.env['BUNDLER_TEST_REPORT'] ?? 'build/vitest.json' }],
    ],
  },
});
