// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { onInterrupt } from '../cleanup.ts';
import { Failure, ShownFailure } from '../failure.ts';
import { decodeFacts, encodeFacts, type Fact, frame } from '../format/wire.ts';
import { findSelf } from './self.ts';

const handshake = Buffer.from('BNDLROLE', 'latin1');
const roleDescriptor = 3;

/** The first descriptor of `descriptors` in the launcher; the others follow. */
export const firstDescriptor = 4;

export interface StartOptions {
  /** Its stderr goes to ours (progress, messages). */
  readonly show?: boolean;
  /** Open descriptors that it gets, as `firstDescriptor` and up. */
  readonly descriptors?: readonly number[];
}

export interface RoleOptions extends StartOptions {
  /** Gets each frame of facts that it writes, as it comes. */
  readonly onFacts?: (facts: readonly Fact[]) => void;
}

/** A launcher in one of its roles. */
export interface RunningRole {
  /** What follows the facts; to be ended, also when nothing follows. Its errors need no listener: `ended` says why. */
  readonly input: Writable;
  /** What it writes; to be read, or it does not end. */
  readonly output: Readable;
  /** Its end with status 0; else rejects with a Failure that has the launcher's own message. Never unhandled. */
  readonly ended: Promise<void>;
  /** Asks it to stop; it clears up after itself. */
  stop(): void;
}

/** Starts the launcher in one of its roles (docs/plan.md, "Roles"). */
export function startRole(facts: readonly Fact[], options: StartOptions = {}): RunningRole {
  const child = spawn(findSelf(), [], {
    stdio: ['ignore', 'pipe', options.show === true ? 'inherit' : 'pipe', 'pipe', ...(options.descriptors ?? [])],
    env: { ...process.env, BUNDLER_ROLE_FD: String(roleDescriptor) },
  });
  const stop = (): void => void child.kill('SIGTERM');
  const forget = onInterrupt(stop);
  const messages: Buffer[] = [];
  child.stderr?.on('data', (data: Buffer) => messages.push(data));
  // There are no streams when there were no descriptors left for them; then the child's error says so.
  const streams: readonly unknown[] | undefined = child.stdio;
  const input = (streams?.[roleDescriptor] ?? new PassThrough()) as Writable;
  const output = (child.stdout ?? new PassThrough().end()) as Readable;
  input.on('error', () => {});
  input.write(Buffer.concat([handshake, frame(encodeFacts(facts))]));
  const closed = new Promise<void>((resolve, reject) => {
    child.once('error', (error) =>
      reject(new Failure(`cannot start the launcher ${findSelf()}: ${error.message}`, { cause: error })),
    );
    child.once('close', (code, signal) => {
      if (signal !== null) reject(new Failure(`the launcher was ended by ${signal}`));
      else if (code === 0) resolve();
      else if (options.show === true) reject(new ShownFailure(`the launcher ended with status ${code}`));
      else reject(readMessage(Buffer.concat(messages).toString('utf8'), code));
    });
  });
  const ended = closed.finally(forget);
  ended.catch(() => {});
  return { input, output, ended, stop };
}

/**
 * Starts the launcher in a role that needs nothing but its facts, and waits for its end. Throws Failure with the launcher's own
 * message when it fails, or when what it wrote is not whole frames.
 */
export async function runRole(facts: readonly Fact[], options: RoleOptions = {}): Promise<void> {
  const role = startRole(facts, options);
  const complete = collectFacts(role, options.onFacts);
  role.input.end();
  await role.ended;
  complete();
}

/**
 * Hands on each frame of facts that a role writes, as it comes. To be called, after the role has ended, is what it returns: that throws
 * Failure when the last frame is not whole.
 */
export function collectFacts(role: RunningRole, onFacts: (facts: readonly Fact[]) => void = () => {}): () => void {
  let unread = Buffer.alloc(0);
  role.output.on('data', (data: Buffer) => {
    unread = readFrames(unread.length === 0 ? data : Buffer.concat([unread, data]), onFacts);
  });
  return () => {
    if (unread.length > 0) throw new Failure('the launcher gave an incomplete answer');
  };
}

/** Hands on all whole frames at the start of some bytes; gives the rest. */
function readFrames(bytes: Buffer, onFacts: (facts: readonly Fact[]) => void): Buffer<ArrayBuffer> {
  let at = 0;
  while (bytes.length - at >= 4 && bytes.length - at - 4 >= bytes.readUInt32LE(at)) {
    const end = at + 4 + bytes.readUInt32LE(at);
    onFacts(decodeFacts(bytes.subarray(at + 4, end)));
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
