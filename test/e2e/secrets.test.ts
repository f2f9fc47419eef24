// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { type Running, start } from '../support/run.ts';
import { makeDir, ordinaryUser, type User } from '../support/session.ts';

/** Every process of this machine whose command line holds a text: its pid. */
function findInCommandLines(text: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`).includes(text);
      } catch {
        return false; // it has ended
      }
    });
}

/** A hook that waits while the test looks around, and what it takes to see it and to let it go on. */
function makeWaitingHook(user: User): { conf: string; go: () => void } {
  const dir = makeDir(user, 'secret');
  const conf = path.join(dir, 'wait.conf');
  const fifo = path.join(dir, 'go');
  const text = `hooks() { mkfifo "${fifo}"; echo waiting >&2; read -r line < "${fifo}"; }\n`;
  writeFileSync(conf, text);
  return { conf, go: () => writeFileSync(fifo, 'go\n') };
}

/** Waits until stderr holds a text. */
async function hear(running: Running, text: string): Promise<void> {
  const end = Date.now() + 20_000;
  while (!running.complaints.includes(text)) {
    if (Date.now() > end) throw new Error(`never said ${text} but: ${running.complaints}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

let count = 0;
const makeSecret = () => `secret-${process.pid}-${count++}-${Math.random().toString(36).slice(2)}`;

describe('the value of a variable', () => {
  for (const [title, form] of [
    [
      'given by --env K=V is in the command line of the process that was started with it, and not there once the command runs',
      'value',
    ],
    ['taken by --env K is in no command line', 'name'],
    ['in an --env-file is in no command line', 'file'],
  ] as const) {
    e2e(title, async () => {
      const user = ordinaryUser();
      const secret = makeSecret();
      const { conf, go } = makeWaitingHook(user);
      const file = path.join(path.dirname(conf), 'vars');
      writeFileSync(file, `SECRET=${secret}\n`);
      const options = { value: ['--env', `SECRET=${secret}`], name: ['--env', 'SECRET'], file: ['--env-file', file] };
      const argv = [makeBundle('busybox'), '--conf', conf, ...options[form], 'sh', '-c', 'echo "got $SECRET"; cat'];
      const running = start(argv, { user, env: form === 'name' ? { SECRET: secret } : {} });
      await hear(running, 'waiting');
      // While hooks run there are the launcher, the planner, the file server, and the hook's shell.
      expect(findInCommandLines(secret)).toEqual(form === 'value' ? [running.pid] : []);
      go();
      await running.see(/got/);
      expect(findInCommandLines(secret)).toEqual([]);
      const ran = await running.end();
      expect(ran).toMatchObject({ status: 0, stdout: `got ${secret}\n`, stderr: 'waiting\n' });
    });
  }

  e2e('is in no file of the host, and in no message', async () => {
    const user = ordinaryUser();
    const secret = makeSecret();
    const { conf, go } = makeWaitingHook(user);
    const argv = [makeBundle('busybox'), '--conf', conf, '--env', `SECRET=${secret}`, '--env', 'NOT-A-NAME=x', 'true'];
    const refused = await start(argv, { user }).end();
    expect(refused.status).toBe(125);
    expect(refused.stderr).not.toContain(secret);
    const running = start(argv.toSpliced(5, 2), { user });
    await hear(running, 'waiting');
    const { execFileSync } = await import('node:child_process');
    const places = [user.home, '/dev/shm', '/run', '/mnt', '/srv'];
    const find = `find ${places.join(' ')} -xdev -user ${user.uid} -type f -newer ${conf} -exec grep -l -e ${secret} {} + 2> /dev/null; true`;
    expect(execFileSync('sh', ['-c', find], { encoding: 'utf8' })).toBe('');
    go();
    expect((await running.end()).status).toBe(0);
  });
});
