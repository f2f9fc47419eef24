// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { start, startBare, startOnTerminal } from '../support/run.ts';
import { freshUser, type User } from '../support/session.ts';
import { listProcesses, type Process, until, untilAllEnded } from '../support/snapshot.ts';

const trap = 'trap "echo got it; exit 33" TERM INT HUP; echo ready; while :; do sleep 0.05; done';

function stateOf(pid: number): string {
  return /^State:\s*(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '?';
}

/** Reads data and names of the tree image that nobody has read before: only a living file server has them. */
const readAfresh = 'echo $(cat /tree/noise | wc -c) $(ls /tree/many | wc -l)';

/** The one process that is nobody's child. */
function findServer(user: User): Process {
  const orphans = listProcesses(user).filter(({ parent }) => parent === 1);
  if (orphans.length !== 1 || !orphans[0]) throw new Error(`not one server: ${JSON.stringify(listProcesses(user))}`);
  return { ...orphans[0], state: '' };
}

describe('signals sent to the visible process', () => {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    e2e(`${signal} reaches the command, which may handle it`, async () => {
      const running = startBare([makeBundle('busybox'), 'sh', '-c', trap]);
      await running.see(/ready\n/);
      running.child.kill(signal);
      expect(await running.end()).toMatchObject({ status: 33, signal: null, stdout: 'ready\ngot it\n' });
    });

    e2e(`${signal} ends a command that does not handle it, and shows as its cause of death`, async () => {
      const running = startBare([makeBundle('busybox'), 'sh', '-c', 'echo ready; exec sleep 1000']);
      await running.see(/ready\n/);
      running.child.kill(signal);
      expect(await running.end()).toMatchObject({ signal });
    });
  }

  e2e('SIGSTOP and SIGCONT stop and continue the command', async () => {
    const running = startBare([makeBundle('busybox'), 'sh', '-c', 'echo ready; read line; echo "$line"']);
    await running.see(/ready\n/);
    running.child.kill('SIGSTOP');
    await until(
      () => stateOf(running.pid) === 'T',
      () => `state ${stateOf(running.pid)}`,
    );
    running.child.kill('SIGCONT');
    expect(await running.end('again\n')).toMatchObject({ status: 0, stdout: 'ready\nagain\n' });
  });

  e2e('SIGTERM to the whole process group leaves the file server alone while the command lives', async () => {
    const user = freshUser();
    const script = `trap "" TERM; echo ready; read line; ${readAfresh}; echo "$line"`;
    const running = startBare([makeBundle('tree'), 'sh', '-c', script], { user, detached: true });
    await running.see(/ready\n/);
    const server = findServer(user);
    process.kill(-running.pid, 'SIGTERM');
    process.kill(-running.pid, 'SIGTERM');
    const ran = await running.end('alive\n');
    expect(ran, ran.stderr).toMatchObject({ status: 0, stdout: 'ready\n1048576 700\nalive\n' });
    expect(server.command).toMatch(/^bundler-fs/);
    await untilAllEnded(user);
  });
});

describe('a bundle on a terminal', () => {
  e2e('is interrupted by Ctrl-C like a plain command, and its file server is not', async () => {
    const user = freshUser();
    const script = `trap "echo interrupted" INT; echo ready; read line; read line; ${readAfresh}; echo "$line"`;
    const running = startOnTerminal([makeBundle('tree'), 'sh', '-c', script], { user });
    await running.see(/ready\r\n/);
    const server = findServer(user);
    running.type('\x03');
    await running.see(/interrupted\r\n/);
    expect(findServer(user)).toEqual(server);
    // Ctrl-C ended the first read, or not: that is the shell's affair. Two lines are enough for both.
    running.type('go on\ngo on\n');
    await running.see(/1048576 700\r\ngo on\r\n/);
    expect((await running.end()).status).toBe(0);
    await untilAllEnded(user);
  });

  e2e('ends by SIGHUP when its terminal goes away, and leaves no process', async () => {
    const user = freshUser();
    const running = startOnTerminal([makeBundle('busybox'), 'sh', '-c', 'echo ready; exec sleep 1000'], { user });
    await running.see(/ready\r\n/);
    running.child.kill('SIGKILL'); // closes the terminal's other side
    await running.end();
    await untilAllEnded(user);
  });

  e2e('ends with 130 by Ctrl-C when the command does not handle it', async () => {
    const running = startOnTerminal([makeBundle('busybox'), 'sh', '-c', 'echo ready; exec sleep 1000']);
    await running.see(/ready\r\n/);
    running.type('\x03');
    expect((await running.end()).status).toBe(130);
  });

  e2e('is stopped by Ctrl-Z and goes on with fg in a job-control shell', async () => {
    const running = startOnTerminal(['bash', '--norc', '--noprofile', '-i'], {
      env: { PS1: 'prompt> ', TERM: 'dumb' },
    });
    let at = await running.see(/prompt> /);
    running.type(`${makeBundle('busybox')} sh -c 'echo rea""dy; read line; echo "line is $line"; exit 5'\n`);
    at = await running.see(/ready\r\n/, at);
    running.type('\x1a');
    at = await running.see(/Stopped/, at);
    running.type('jobs -s\n');
    at = await running.see(/Stopped.*x\.run/, at);
    running.type('fg\n');
    at = await running.see(/read line/, at);
    running.type('hello\n');
    at = await running.see(/line is hello\r\n/, at);
    running.type('echo status-$?\n');
    at = await running.see(/status-5\r\n/, at);
    running.type('exit\n');
    await running.end();
  });

  e2e('shows a full-screen program, which knows the size and can be typed at', async () => {
    const script = 'vi /tmp/text; echo; cat /tmp/text';
    const command = `stty rows 30 cols 100; exec "$0" sh -c '${script}'`;
    const running = startOnTerminal(['/bin/sh', '-c', command, makeBundle('busybox')]);
    // Its last line is the terminal's last one.
    let at = await running.see(/\x1b\[30;1H.*\/tmp\/text/s);
    running.type('ihello from vi\x1b');
    at = await running.see(/hello from vi/, at);
    running.type(':wq\n');
    await running.see(/\r\nhello from vi\r\n/, at);
    expect((await running.end()).status).toBe(0);
  });

  e2e('is in the foreground of the terminal and has its size', async () => {
    const running = startOnTerminal([
      '/bin/sh',
      '-c',
      'stty rows 31 cols 101; "$0" sh -c "stty size; tty; test -t 0 && test -t 1 && test -t 2 && echo all"',
      makeBundle('busybox'),
    ]);
    const ran = await running.end();
    expect(ran.status, ran.stdout).toBe(0);
    expect(ran.stdout).toContain('31 101');
    expect(ran.stdout).toContain('all');
  });
});

describe('a signal during start-up', () => {
  e2e('SIGTERM at any moment ends the bundle by that signal and leaves no process', async () => {
    const user = freshUser();
    const file = makeBundle('busybox');
    await start([file, 'true'], { user }).end(); // unpacks the runtime
    const begin = performance.now();
    await start([file, 'true'], { user }).end();
    const spanMs = 1.2 * (performance.now() - begin);
    for (let delayMs = 0; delayMs <= spanMs; delayMs += spanMs / 25) {
      const running = start([file, 'sleep', '1000'], { user });
      // The moment is the point of this test.
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      running.child.kill('SIGTERM');
      expect((await running.end()).signal, `after ${delayMs} ms`).toBe('SIGTERM');
    }
    await untilAllEnded(user);
  });
});
