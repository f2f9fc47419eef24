// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';

const maxBytes = 1 << 20;
const lingerMs = 1000;

/** How a program ended. */
export type Ending =
  | { readonly kind: 'exited'; readonly status: number; readonly stdout: string }
  | { readonly kind: 'missing' | 'timed-out' | 'said-too-much' | 'killed' };

/**
 * Runs a program that prints a secret. It gets `input` on stdin (none: an image may come on ours), its stderr is dropped. When it takes too long it is killed;
 * what it started itself may live on, but is not waited for.
 */
export function runProgram(
  argv: readonly [string, ...string[]],
  options: { env: Readonly<Record<string, string | undefined>>; input?: string; timeoutMs: number },
): Promise<Ending> {
  return new Promise((resolve) => {
    const [command, ...rest] = argv;
    const stdin = options.input === undefined ? 'ignore' : 'pipe';
    const child = spawn(command, rest, { env: options.env, stdio: [stdin, 'pipe', 'ignore'] });
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    let lingering: NodeJS.Timeout | undefined;
    const end = (ending: Ending) => {
      clearTimeout(timer);
      clearTimeout(lingering);
      child.stdout?.destroy();
      child.stdin?.destroy();
      resolve(ending);
    };
    const stop = (kind: 'timed-out' | 'said-too-much') => {
      child.kill('SIGKILL');
      end({ kind });
    };
    const timer = setTimeout(() => stop('timed-out'), options.timeoutMs);
    child.stdout?.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      sizeBytes += chunk.length;
      if (sizeBytes > maxBytes) stop('said-too-much');
    });
    child.on('error', () => end({ kind: 'missing' }));
    const finish = () =>
      end(
        child.exitCode === null
          ? { kind: 'killed' }
          : { kind: 'exited', status: child.exitCode, stdout: Buffer.concat(chunks).toString() },
      );
    child.on('close', finish);
    // An agent that it started may hold its stdout open for good.
    child.on('exit', () => {
      lingering = setTimeout(finish, lingerMs);
    });
    // A program may end before it has read all.
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input);
  });
}
