// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import type { Writable } from 'node:stream';
import { onInterrupt } from '../cleanup.ts';
import { Failure, ShownFailure } from '../failure.ts';
import { decodeFacts, encodeFacts, type Fact, frame } from '../format/wire.ts';
import { findSelf } from './self.ts';

const handshake = Buffer.from('BNDLROLE', 'latin1');
const roleDescriptor = 3;

/** The first descriptor of `descriptors` in the launcher; the others follow. */
export const firstDescriptor = 4;

export interface RoleOptions {
  /** Its stderr goes to ours (progress, messages). */
  readonly show?: boolean;
  /** Open descriptors that it gets, as `firstDescriptor` and up. */
  readonly descriptors?: readonly number[];
  /** Gets each frame of facts that it writes, as it comes. */
  readonly onFacts?: (facts: readonly Fact[]) => void;
}

/**
 * Starts the launcher in one of its roles (docs/plan.md, "Roles") and waits for its end. Throws Failure with the launcher's own
 * message when it fails, or when what it wrote is not whole frames.
 */
export async function runRole(facts: readonly Fact[], options: RoleOptions = {}): Promise<void> {
  const child = spawn(findSelf(), [], {
    stdio: ['ignore', 'pipe', options.show === true ? 'inherit' : 'pipe', 'pipe', ...(options.descriptors ?? [])],
    env: { ...process.env, BUNDLER_ROLE_FD: String(roleDescriptor) },
  });
  // It cleans up after itself when it is asked to stop.
  const forget = onInterrupt(() => child.kill('SIGTERM'));
  let unread = Buffer.alloc(0);
  const messages: Buffer[] = [];
  child.stdout?.on('data', (data: Buffer) => {
    unread = readFrames(unread.length === 0 ? data : Buffer.concat([unread, data]), options.onFacts);
  });
  child.stderr?.on('data', (data: Buffer) => messages.push(data));
  const request = child.stdio[roleDescriptor] as Writable;
  // A launcher that ends before it has read everything says why on stderr.
  request.on('error', () => {});
  request.end(Buffer.concat([handshake, frame(encodeFacts(facts))]));
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once('error', (error) =>
      reject(new Failure(`cannot start the launcher ${findSelf()}: ${error.message}`, { cause: error })),
    );
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  const { code, signal } = await ended.finally(forget);
  if (signal !== null) throw new Failure(`the launcher was ended by ${signal}`);
  if (code !== 0 && options.show === true) throw new ShownFailure(`the launcher ended with status ${code}`);
  if (code !== 0) throw readMessage(Buffer.concat(messages).toString('utf8'), code);
  if (unread.length > 0) throw new Failure('the launcher gave an incomplete answer');
}

/** Hands on all whole frames at the start of some bytes; gives the rest. */
function readFrames(bytes: Buffer, onFacts: RoleOptions['onFacts']): Buffer<ArrayBuffer> {
  let at = 0;
  while (bytes.length - at >= 4 && bytes.length - at - 4 >= bytes.readUInt32LE(at)) {
    const end = at + 4 + bytes.readUInt32LE(at);
    onFacts?.(decodeFacts(bytes.subarray(at + 4, end)));
    at = end;
  }
  return Buffer.from(bytes.subarray(at));
}

/** The launcher's "bundler: TEXT" and "  try: HINT" lines as a Failure of ours. */
function readMessage(text: string, code: number | null): Failure {
  const lines = text.split('\n').filter((line) => line !== '');
  const hint = lines.find((line) => line.startsWith('  try: '))?.slice('  try: '.length) ?? '';
  const message = lines.filter((line) => !line.startsWith('  try: ')).map((line) => line.replace(/^bundler: /, ''));
  return new Failure(message.join('; ') || `the launcher ended with status ${code}`, { hint });
}
