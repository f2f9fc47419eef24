// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { compileProgram, repository } from '../support/programs.ts';
import { Running } from '../support/run.ts';

const node = process.execPath;
const program = path.join(repository, 'test/credentials/ask-program.ts');

function startOnTerminal(argv: string[]): Running {
  const env = { PATH: process.env['PATH'] ?? '', TERM: 'xterm', NODE_NO_WARNINGS: '1' };
  return new Running([compileProgram('pty-run'), ...argv], { env });
}

async function type(keys: string | Buffer): Promise<{ status: number | null; stdout: string }> {
  const running = startOnTerminal([node, program]);
  await running.see(/nvcr\.io: $/);
  running.child.stdin?.write(keys);
  const { status, stdout } = await running.end();
  return { status, stdout };
}

describe('a password that is asked for', () => {
  test.each<[string, string]>([
    ['hunter2\r', 'hunter2'],
    ['hunter2\n', 'hunter2'],
    [' a b $c \r', ' a b $c '],
    ['hunteX\x7f\x7fer2\r', 'hunter2'],
    ['h€\x7funter2\r', 'hunter2'],
    ['wrong\x15right\r', 'right'],
    ['a\x1b[D\x1b[1;5C\x1bOAb\r', 'ab'],
    ['a\x04\x01b\r', 'ab'],
    ['pässwörd€\r', 'pässwörd€'],
  ])('%j is %j, and is not shown; the terminal is as before', async (keys, password) => {
    const { status, stdout } = await type(keys);
    expect(stdout).toBe(`password of me at nvcr.io: \r\ngot ${JSON.stringify(password)}\r\n`);
    expect(status).toBe(0);
  });

  test.each(['\r', '\x04'])('fails when nothing is typed (%j)', async (keys) => {
    const { status, stdout } = await type(keys);
    expect(stdout).toContain('failed: no password was given');
    expect(status).toBe(0);
  });

  test.each([
    ['ctrl-C', '\x03', 130],
    ['ctrl-\\', '\x1c', 131],
  ])('%s gives the terminal back and ends the process by its signal', async (_, key, status) => {
    // The shell outlives the program, and looks at the terminal.
    const script = '"$@"; echo "status $?"; stty -a';
    const running = startOnTerminal(['sh', '-c', script, 'sh', node, program]);
    await running.see(/nvcr\.io: $/);
    running.child.stdin?.write(`secret${key}`);
    const { stdout } = await running.end();
    expect(stdout).toContain(`status ${status}`);
    expect(stdout).toMatch(/ icanon .*\becho\b/s);
    expect(stdout).not.toMatch(/ -icanon| -echo |secret/);
  });

  test('SIGTERM gives the terminal back too', async () => {
    const dir = mkdtempSync(path.join(tmpdir(), 'ask-'));
    const fifo = path.join(dir, 'fifo');
    spawnSync('mkfifo', [fifo]);
    // Not in the background, where it could not have the terminal: what kills it is.
    const script = 'fifo=$1; shift; (read -r pid < "$fifo"; kill -TERM "$pid") & "$@"; echo "status $?"; stty -a';
    const running = startOnTerminal([
      'sh',
      '-c',
      script,
      'sh',
      fifo,
      'sh',
      '-c',
      'echo "pid $$."; exec "$@"',
      'sh',
      node,
      program,
    ]);
    await running.see(/nvcr\.io: $/);
    const pid = /pid (\d+)\./.exec(running.shown)?.[1] ?? '';
    expect(spawnSync('sh', ['-c', 'echo "$1" > "$2"', 'sh', pid, fifo]).status).toBe(0);
    const { stdout } = await running.end();
    rmSync(dir, { recursive: true });
    expect(stdout).toContain('status 143');
    expect(stdout).toMatch(/ icanon .*\becho\b/s);
    expect(stdout).not.toMatch(/ -icanon| -echo /);
  });

  test('cannot be asked for without a terminal, and the failure names the cure', () => {
    const { stdout } = spawnSync('setsid', ['-w', node, program], { input: 'x\n', encoding: 'utf8' });
    expect(stdout).toMatch(/^failed: cannot ask for a password: there is no terminal; .*--password-stdin/);
  });
});
