// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { Failure } from '../failure.ts';
import { findSelf } from './self.ts';

/**
 * Starts a bundle with our descriptors and waits for its end: its exit status, 128+N after signal N. A file that may not be executed is started by
 * this program's own launcher, as `bundler run FILE` does; so is this program itself, which would take the arguments for its own. Throws Failure.
 */
export async function startBundle(path: string, args: readonly string[]): Promise<number> {
  const self = findSelf();
  try {
    if (path !== self) return await start(path, args);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw explainStart(path, error);
  }
  return start(self, ['run', path, ...args]).catch((error) => {
    throw explainStart(self, error);
  });
}

function start(program: string, args: readonly string[]): Promise<number> {
  const child = spawn(program, args, { stdio: 'inherit' });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
}

function explainStart(path: string, error: unknown): Failure {
  return new Failure(`cannot start ${path}: ${(error as Error).message}`, { cause: error });
}
