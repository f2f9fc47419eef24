// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { WireError } from '../src/format/wire.ts';

/** How a program of the host ended, as the launcher tells it (docs/plan.md, `run`). */
export interface Ended {
  /** exit: by itself; signal: by one of others; late, long: killed for its time or its output; failed: never started. */
  readonly how: 'exit' | 'signal' | 'late' | 'long' | 'failed';
  /** The exit status, the signal's number, or the errno of `failed`; 0 for the rest. */
  readonly code: number;
  readonly stdout: Bytes;
}

/** So long may a program take that a start waits for: a hanging directory service must not hang the start. */
export const patienceMs = 5000;

/**
 * The question that lets the launcher run a program of the host: argv[0] is an absolute path, or a name that is looked up in the
 * system's own directories. The planner itself never runs anything. Without side effects please: it may be run again.
 */
export function runQuestion(argv: readonly Bytes[], timeoutMs = patienceMs, maxBytes = 1 << 20): string {
  return `run ${timeoutMs} ${maxBytes} ${argv.map((word) => `${word.length}:${word},`).join('')}`;
}

/** Reads the answer to such a question. */
export function readEnded(answer: Bytes): Ended {
  const [line, how, code] = /^(exit|signal|late|long|failed)(?: (\d+))?\n/.exec(answer) ?? [];
  if (line === undefined) throw new WireError('an answer to run that says nothing');
  return { how: how as Ended['how'], code: Number(code ?? 0), stdout: answer.slice(line.length) };
}
