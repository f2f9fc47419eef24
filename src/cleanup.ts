// SPDX-License-Identifier: Apache-2.0
import { unlinkSync } from 'node:fs';

type Cleanup = () => void;

const endingSignals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
const cleanups = new Set<Cleanup>();

/**
 * Has an action (synchronous, must not throw) run when a signal ends the process. Afterwards the process dies of that very signal,
 * so that a shell sees what it expects. Returns a function that takes the action back.
 */
export function onInterrupt(cleanup: Cleanup): () => void {
  if (cleanups.size === 0) for (const signal of endingSignals) process.on(signal, dieOf);
  cleanups.add(cleanup);
  return () => {
    cleanups.delete(cleanup);
    if (cleanups.size === 0) stopListening();
  };
}

function dieOf(signal: NodeJS.Signals): void {
  for (const cleanup of cleanups) cleanup();
  cleanups.clear();
  stopListening();
  process.kill(process.pid, signal);
}

function stopListening(): void {
  for (const signal of endingSignals) process.off(signal, dieOf);
}

/** Removes a file, if it is there and one may. */
export function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Not made yet, gone already, or in a directory with the sticky bit and somebody else's.
  }
}
