// SPDX-License-Identifier: Apache-2.0
// list-failures.ts REPORT...: prints each failed test of vitest's JSON reports with what it said. Run last, because a log may be kept
// only in part, and then by its end. A report that is absent adds nothing: count-tests.ts counts it as a failure.
import { existsSync, readFileSync } from 'node:fs';

const LINES_EACH = 25;

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

function print(what: string, said: string): void {
  const lines = said.split('\n');
  const more = lines.length > LINES_EACH ? [`... ${lines.length - LINES_EACH} more lines`] : [];
  console.log([what, ...[...lines.slice(0, LINES_EACH), ...more].map((line) => `    ${line}`)].join('\n'));
}

for (const path of process.argv.slice(2).filter((report) => existsSync(report))) {
  const report = JSON.parse(readFileSync(path, 'utf8')) as Report;
  for (const file of report.testResults) {
    for (const test of file.assertionResults.filter(({ status }) => status === 'failed')) {
      print(`FAILED ${path}: ${file.name}: ${test.fullName}`, (test.failureMessages ?? []).join('\n'));
    }
    if (file.message) print(`FAILED ${path}: ${file.name}`, file.message);
  }
}
