// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { start, startBare, startOnTerminal } from '../support/run.ts';
import { freshUser } from '../support/session.ts';
import { until, untilAllEnded } from '../support/snapshot.ts';

const trap = 'trap "echo got it; exit 33" TERM INT HUP; echo ready; while :; do sleep 0.05; done';

function stateOf(pid: number): string {
  return /^State:\s*(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '?';
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
    const script = 'trap "" TERM; echo ready; read line; cat /bin/busybox | wc -c; ls /bin | wc -l; echo "$line"';
    const running = startBare([makeBundle('busybox'), 'sh', '-c', script], { user, detached: true });
    await running.see(/ready\n/);
    process.kill(-running.pid, 'SIGTERM');
    process.kill(-running.pid, 'SIGTERM');
    const ran = await running.end('alive\n');
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stdout).toMatch(/ready\n\d{6,}\n\d{3,}\nalive\n/);
    await untilAllEnded(user);
  });
});

describe('a bundle on a terminal', () => {
  e2e('is interrupted by Ctrl-C like a plain command, and its file server is not', async () => {
    const script = 'trap "echo interrupted" INT; echo ready; read line; ls /bin/busybox; echo "$line"';
    const running = startOnTerminal([makeBundle('busybox'), 'sh', '-c', `${script}; read line; echo "$line"`]);
    await running.see(/ready\r\n/);
    running.type('\x03');
    await running.see(/interrupted\r\n/);
    running.type('go on\n');
    await running.see(/go on\r\n/);
    running.type('more\n');
    expect(await running.end()).toMatchObject({ status: 0 });
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
    const running = startOnTerminal([
      '/bin/sh',
      '-c',
      'stty rows 30 cols 100; exec "$0" vi /tmp/text',
      makeBundle('busybox'),
    ]);
    let at = await running.see(/\/tmp\/text/);
    running.type('ihello from vi\x1b');
    at = await running.see(/hello from vi/, at);
    running.type(':w\n');
    at = await running.see(/written|\d+C/, at);
    running.type(':q!\n');
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
    for (let delayMs = 0; delayMs <= 60; delayMs += 3) {
      const running = start([file, 'sleep', '1000'], { user });
      // The moment is the point of this test.
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      running.child.kill('SIGTERM');
      expect((await running.end()).signal, `after ${delayMs} ms`).toBe('SIGTERM');
    }
    await untilAllEnded(user);
  });
});
