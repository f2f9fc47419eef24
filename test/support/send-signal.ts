// SPDX-License-Identifier: Apache-2.0

/**
 * Sends a signal to one process that was looked for. kill(2) takes -1 for every process of the machine and 0 for the own group:
 * what was not found must never become one of those.
 */
export function sendSignal(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined || !(pid > 1)) throw new Error(`there is no process to send ${signal} to`);
  process.kill(pid, signal);
}
