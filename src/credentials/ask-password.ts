// SPDX-License-Identifier: Apache-2.0
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { onInterrupt } from '../cleanup.ts';
import { Failure } from '../failure.ts';

const maxBytes = 64 << 10;
const keys = {
  interrupt: 0x03,
  end: 0x04,
  backspace: 0x08,
  newline: 0x0a,
  enter: 0x0d,
  killLine: 0x15,
  quit: 0x1c,
  delete: 0x7f,
};

/**
 * Asks for a password on the terminal (/dev/tty, whatever stdin and stderr are), without showing what is typed. The terminal gets its settings back
 * also after an error or a signal; ctrl-C ends the process by SIGINT. Throws Failure where there is no terminal, and where nothing is typed.
 */
export async function askPassword(prompt: string): Promise<string> {
  let fd: number;
  try {
    fd = openSync('/dev/tty', constants.O_RDWR | constants.O_NOCTTY);
  } catch (error) {
    throw new Failure('cannot ask for a password: there is no terminal', {
      hint: 'give it with --password-stdin or in BUNDLER_PASSWORD; without --user it is looked for in the .credentials of enroot',
      cause: error,
    });
  }
  const terminal = openTerminal(fd);
  const forget = onInterrupt(() => terminal.setRawMode(false));
  try {
    // Before the prompt: nothing that is typed in answer to it may be shown.
    terminal.setRawMode(true);
    writeSync(fd, prompt);
    const password = await readLine(terminal);
    if (password === '') throw new Failure('no password was given');
    return password;
  } finally {
    terminal.setRawMode(false);
    forget();
    writeSync(fd, '\n');
    await new Promise((resolve) => terminal.once('close', resolve).destroy());
  }
}

function openTerminal(fd: number): ReadStream {
  try {
    return new ReadStream(fd);
  } catch (error) {
    closeSync(fd);
    throw new Failure('cannot ask for a password: the terminal cannot be used', { cause: error });
  }
}

/** Up to Enter. Backspace and ctrl-U edit; other control characters are dropped, escape sequences (arrows) whole. */
function readLine(terminal: ReadStream): Promise<string> {
  return new Promise((resolve, reject) => {
    const typed: number[] = [];
    let sequence: 'none' | 'begun' | 'inside' = 'none';
    const take = (byte: number): boolean => {
      if (sequence === 'begun') sequence = byte === 0x5b || byte === 0x4f ? 'inside' : 'none';
      else if (sequence === 'inside') {
        if (byte >= 0x40 && byte <= 0x7e) sequence = 'none';
      } else if (byte === 0x1b) sequence = 'begun';
      else if (byte === keys.enter || byte === keys.newline) return true;
      else if (byte === keys.end) {
        if (typed.length === 0) return true;
      } else if (byte === keys.interrupt || byte === keys.quit) {
        process.kill(process.pid, byte === keys.interrupt ? 'SIGINT' : 'SIGQUIT');
      } else if (byte === keys.killLine) typed.length = 0;
      else if (byte === keys.backspace || byte === keys.delete) {
        // A character of several bytes goes whole.
        while (typed.length > 0 && ((typed.pop() as number) & 0xc0) === 0x80);
      } else if (byte >= 0x20 && typed.length < maxBytes) typed.push(byte);
      return false;
    };
    terminal.on('data', (chunk: Buffer) => {
      if (chunk.some(take)) resolve(Buffer.from(typed).toString('utf8'));
    });
    terminal.on('error', (error) =>
      reject(new Failure('cannot read the password from the terminal', { cause: error })),
    );
    terminal.on('end', () => reject(new Failure('cannot read the password: the terminal was closed')));
  });
}
