// SPDX-License-Identifier: Apache-2.0
// count-tests.ts REPORT STATUS: prints "PASSED FAILED" from vitest's JSON report. A runner that failed without a failed test (a crash, a file
// that could not be loaded, an unhandled error), or ran none, counts as one failure.
import { readFileSync } from 'node:fs';

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
}

const [, , path = '', status = ''] = process.argv;
let counts: Report = { numPassedTests: 0, numFailedTests: 0 };
try {
  counts = JSON.parse(readFileSync(path, 'utf8')) as Report;
} catch (error) {
  console.error(`count-tests: ${error instanceof Error ? error.message : error}`);
}
const silent = counts.numFailedTests === 0 && (status !== '0' || counts.numPassedTests === 0);
console.log(`${counts.numPassedTests} ${counts.numFailedTests + (silent ? 1 : 0)}`);
