// SPDX-License-Identifier: Apache-2.0
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { run, runBare } from '../support/run.ts';

describe('the exit status of a bundle', () => {
  for (const status of [0, 1, 7, 123, 125, 126, 127, 200, 255]) {
    e2e(`is ${status} when the command exits with ${status}`, async () => {
      const ran = await runBare([makeBundle('busybox'), 'sh', '-c', `exit ${status}`]);
      expect(ran).toMatchObject({ status, signal: null, stdout: '', stderr: '' });
    });
  }

  for (const [name, number] of [
    ['TERM', 15],
    ['KILL', 9],
    ['INT', 2],
    ['SEGV', 11],
    ['USR1', 10],
    ['PIPE', 13],
  ] as const) {
    e2e(`is that of a command killed by SIG${name} when the command is`, async () => {
      const ran = await runBare([makeBundle('busybox'), 'sh', '-c', `ulimit -c 0; kill -${name} $$`]);
      expect(ran).toMatchObject({ status: 128 + number, signal: `SIG${name}`, stdout: '' });
    });
  }

  e2e('is 128+N as a shell sees a killed command', async () => {
    const ran = await run(['bash', '-c', '"$0" sh -c "kill -TERM \\$\\$"; echo $?', makeBundle('busybox')]);
    expect(ran.stdout).toBe('143\n');
  });

  // Without /etc/rc and with --entrypoint the command is started by the bundle itself, not by a shell of the image.
  e2e('is 127 with a message when the command is not found', async () => {
    const ran = await runBare([makeBundle('no-shell'), 'no-such-command']);
    expect(ran.status).toBe(127);
    expect(ran.stderr).toMatch(/^bundler: .*no-such-command.*not found/m);
    const absolute = await runBare([makeBundle('no-shell'), '/no/such/command']);
    expect(absolute.status).toBe(127);
    expect(absolute.stderr).toContain('/no/such/command');
  });

  e2e('is 126 with a message when the command cannot be executed', async () => {
    for (const command of ['/not-executable', '/etc']) {
      const ran = await runBare([makeBundle('busybox'), '--entrypoint', command]);
      expect(ran.status, ran.stderr).toBe(126);
      expect(ran.stderr).toContain(command);
    }
  });

  e2e('is 126 or 127, naming the interpreter, when a script’s interpreter is missing', async () => {
    const ran = await runBare([makeBundle('busybox'), '--entrypoint', '/bad-interpreter']);
    expect([126, 127]).toContain(ran.status);
    expect(ran.stderr).toContain('/no/such/interpreter');
  });

  e2e('is 125 with a message when there is no command at all', async () => {
    const ran = await runBare([makeBundle('empty')]);
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/^bundler: .*no command/m);
  });
});
