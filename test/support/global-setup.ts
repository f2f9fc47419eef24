// SPDX-License-Identifier: Apache-2.0
import { lateReports } from './sanitize.ts';
import { makeSession, prepareMachine, removeSession } from './session.ts';

/** Runs once before all test files; what it returns runs after them. */
export default function setUp(): () => Promise<void> {
  prepareMachine();
  const dir = makeSession();
  process.env['BUNDLER_TEST_DIR'] = dir;
  return async () => {
    const late = lateReports(dir);
    await removeSession(dir);
    if (late.length > 0) throw new Error(`reports of sanitizers after their tests:\n${late.join('\n')}`);
  };
}
