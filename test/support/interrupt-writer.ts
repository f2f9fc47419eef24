// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs';
import { type Ran, type RunOptions, start } from './run.ts';
import { until } from './snapshot.ts';

/** Runs a command in an empty directory, sends it a signal when something is there, and gives its end, which must be of that signal. */
export async function interruptWriter(
  argv: readonly string[],
  signal: 'SIGINT' | 'SIGTERM',
  options: RunOptions & { readonly cwd: string },
): Promise<Ran> {
  const running = start(argv, { ...options, detached: true });
  await until(
    () => readdirSync(options.cwd).length > 0 || running.child.exitCode !== null,
    () => running.complaints,
  );
  // As a terminal sends it: to all of the job.
  process.kill(signal === 'SIGINT' ? -running.pid : running.pid, signal);
  const ran = await running.end();
  if (ran.signal !== signal) throw new Error(`ended with ${ran.signal ?? ran.status} after ${signal}: ${ran.stderr}`);
  return ran;
}
