// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import type { Writable } from 'node:stream';
import { onInterrupt } from '../cleanup.ts';
import { Failure } from '../failure.ts';
import { encodeFacts, type Fact, frame } from '../format/wire.ts';
import { findSelf } from './self.ts';

const handshake = Buffer.from('BNDLROLE', 'latin1');
const roleDescriptor = 3;

/**
 * Starts the launcher in one of its roles (docs/plan.md, "Roles") and gives what it wrote on stdout. With `show` its stderr goes to
 * ours (progress, messages). Throws Failure with the launcher's own message when it fails.
 */
export async function runRole(facts: readonly Fact[], options: { show?: boolean } = {}): Promise<Buffer> {
  const child = spawn(findSelf(), [], {
    stdio: ['ignore', 'pipe', options.show === true ? 'inherit' : 'pipe', 'pipe'],
    env: { ...process.env, BUNDLER_ROLE_FD: String(roleDescriptor) },
  });
  // It cleans up after itself when it is asked to stop.
  const forget = onInterrupt(() => child.kill('SIGTERM'));
  const output: Buffer[] = [];
  const messages: Buffer[] = [];
  child.stdout?.on('data', (data: Buffer) => output.push(data));
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
  if (code !== 0) throw readMessage(Buffer.concat(messages).toString('utf8'), code);
  return Buffer.concat(output);
}

/** The launcher's "bundler: TEXT" and "  try: HINT" lines as a Failure of ours. */
function readMessage(text: string, code: number | null): Failure {
  const lines = text.split('\n').filter((line) => line !== '');
  const hint = lines.find((line) => line.startsWith('  try: '))?.slice('  try: '.length) ?? '';
  const message = lines.filter((line) => !line.startsWith('  try: ')).map((line) => line.replace(/^bundler: /, ''));
  return new Failure(message.join('; ') || `the launcher ended with status ${code}`, { hint });
}
