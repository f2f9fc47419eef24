// SPDX-License-Identifier: Apache-2.0
import { appendFileSync } from 'node:fs';
import type { Reporter, TestCase } from 'vitest/node';

/**
 * Names the tests that passed only when they were run again, in the file BUNDLER_TEST_FLAKY: scripts/test shows it at the end of its
 * log. CI runs a failed test once more, because its machine may stall for longer than a test waits; what that hides must be seen.
 */
export default class FlakyReporter implements Reporter {
  onTestCaseResult(test: TestCase): void {
    const file = process.env['BUNDLER_TEST_FLAKY'];
    const first = test.result().errors?.[0]?.message.split('\n', 1)[0] ?? '';
    if (file && test.diagnostic()?.flaky) {
      appendFileSync(file, `PASSED WHEN RUN AGAIN ${test.module.relativeModuleId}: ${test.fullName}: ${first}\n`);
    }
  }
}
