// SPDX-License-Identifier: Apache-2.0
import { makeSession, prepareMachine, removeSession } from './session.ts';

/** Runs once before all test files; what it returns runs after them. */
export default function setUp(): () => Promise<void> {
  prepareMachine();
  const dir = makeSession();
  process.env['BUNDLER_TEST_DIR'] = dir;
  return () => removeSession(dir);
}
