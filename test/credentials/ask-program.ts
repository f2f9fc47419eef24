// SPDX-License-Identifier: Apache-2.0
// Asks for a password and prints it as JSON, or the failure: the program that ask-password.test.ts runs on a terminal.
import { askPassword } from '../../src/credentials/ask-password.ts';
import { Failure } from '../../src/failure.ts';

try {
  const password = await askPassword('password of me at nvcr.io: ');
  process.stdout.write(`got ${JSON.stringify(password)}\n`);
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  process.stdout.write(`failed: ${error.message}; ${error.hint}\n`);
}
