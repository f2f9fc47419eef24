// SPDX-License-Identifier: Apache-2.0
import { CommanderError } from 'commander';
import { createProgram } from './cli.ts';
import { exitStatus } from './failure.ts';
import { createReporter } from './ui/reporter.ts';

/** The entry point of the builder: runs one command line, prints what went wrong, sets the exit status. */
async function main(): Promise<void> {
  const reporter = createReporter();
  // Node ends, with status 0, when nothing is left that could settle what a command waits for.
  const complain = (): void => {
    reporter.error(new Error('the command neither succeeded nor failed'));
    process.exitCode = exitStatus.ownFailure;
  };
  process.once('beforeExit', complain);
  try {
    await createProgram((text) => reporter.result(text)).parseAsync(process.argv);
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return;
    reporter.error(error);
    process.exitCode = exitStatus.ownFailure;
  } finally {
    process.off('beforeExit', complain);
  }
}

void main();
