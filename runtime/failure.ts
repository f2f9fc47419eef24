// SPDX-License-Identifier: Apache-2.0

/** Expected trouble: what failed, on what, why; hint: what to try. Caught once, in main.ts. */
export class Failure extends Error {
  readonly hint: string;

  constructor(message: string, hint = '') {
    super(message);
    this.hint = hint;
  }
}

/** The command line is wrong: shown with the usage line. */
export class UsageFailure extends Failure {}

/** bundler's own failures end with this status; 126 and 127 are the launcher's (docs/cmd/run.md). */
export const ownFailureStatus = 125;
