// SPDX-License-Identifier: Apache-2.0
// Set-up of every test file: a report of a sanitizer, by whatever process, fails the test during which it was written.
import { afterAll, afterEach } from 'vitest';
import { sanitize, takeReports } from './sanitize.ts';

function failOnReports(): void {
  const reports = takeReports();
  if (reports.length > 0) throw new Error(reports.join('\n'));
}

if (sanitize) {
  afterEach(failOnReports);
  afterAll(failOnReports);
}
