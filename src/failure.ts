// SPDX-License-Identifier: Apache-2.0

/** Exit statuses of bundler itself (DESIGN: docker's convention). */
export const exitStatus = { ok: 0, damaged: 1, ownFailure: 125 } as const;

/** Expected trouble: what failed, on what, why; the hint says what to try. Thrown anywhere, caught once in main.ts. */
export class Failure extends Error {
  override readonly name: string = 'Failure';
  readonly hint: string;

  constructor(message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.hint = options.hint ?? '';
  }
}

/** Trouble whose message the launcher has printed already. */
export class ShownFailure extends Failure {
  override readonly name = 'ShownFailure';
}

/** The command line is wrong; the usage line of the command is shown with it. */
export class UsageFailure extends Failure {
  override readonly name = 'UsageFailure';
  readonly usage: string;

  constructor(message: string, usage: string) {
    super(message);
    this.usage = usage;
  }
}

const reasons: Record<string, string> = {
  EACCES: 'permission denied',
  EDQUOT: 'the disk quota is used up',
  EEXIST: 'it exists',
  EFBIG: 'the file would be too large for this file system',
  EIO: 'input/output error',
  EISDIR: 'it is a directory',
  ELOOP: 'too many symbolic links',
  EMFILE: 'too many open files',
  ENAMETOOLONG: 'the name is too long',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no space left on the device',
  ENOTDIR: 'a part of the path is not a directory',
  EPERM: 'operation not permitted',
  EROFS: 'the file system is read-only',
  ETXTBSY: 'the file is being executed',
};

/** Why a system call failed, in words; the error's own message when it has no errno. */
export function describeSystemError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = (error as NodeJS.ErrnoException).code;
  return code === undefined ? error.message : (reasons[code] ?? error.message);
}

/** Runs an action; a system error (one with an errno) becomes a Failure "WHAT: why", anything else passes. */
export async function explain<T>(what: string, action: () => Promise<T> | T, hint = ''): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof Failure || !isSystemError(error)) throw error;
    throw new Failure(`${what}: ${describeSystemError(error)}`, { hint, cause: error });
  }
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).syscall === 'string';
}
