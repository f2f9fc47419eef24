// SPDX-License-Identifier: Apache-2.0
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Ended, readEnded, runQuestion } from '../../runtime/host-program.ts';
import { type RunOptions, run, start } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';
import { plainBundle } from './rig.ts';

/** Lets the launcher run a program, as the planner would. */
async function ask(question: string, options: RunOptions = {}): Promise<Ended> {
  const ran = await run([plainBundle(), 'ask', question], options);
  expect(ran.status, ran.stderr).toBe(0);
  return readEnded(ran.stdout.slice('answer='.length, -1));
}

const sh = (script: string, ...limits: number[]) => runQuestion(['/bin/sh', '-c', script], ...limits);
const isAlive = (pid: number) =>
  existsSync(`/proc/${pid}`) && !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
/** A signal is on its way before the process has ended. */
const untilEnded = (pid: number) => expect.poll(() => isAlive(pid), { interval: 5, timeout: 10_000 }).toBe(false);

describe('a program that the planner lets the launcher run', () => {
  test.each<[string, string, Ended]>([
    ['its output and status', sh('echo "a b"; exit 3'), { how: 'exit', code: 3, stdout: 'a b\n' }],
    ['the signal that killed it', sh('kill -TERM $$'), { how: 'signal', code: 15, stdout: '' }],
    ['that it is missing', runQuestion(['/no/such/program']), { how: 'failed', code: 2, stdout: '' }],
    ['that no directory has it', runQuestion(['no-such-program']), { how: 'failed', code: 2, stdout: '' }],
    ['that it may not be executed', runQuestion(['/etc/passwd']), { how: 'failed', code: 13, stdout: '' }],
    [
      'words of every kind',
      runQuestion(['printf', '%s|', '', 'a,b', '3:x,', 'l\nm']),
      { how: 'exit', code: 0, stdout: '|a,b|3:x,|l\nm|' },
    ],
    ['no more than was asked for', sh('echo 12345', 5000, 4), { how: 'long', code: 0, stdout: '1234' }],
    ['as much as was asked for', sh('printf 12345', 5000, 5), { how: 'exit', code: 0, stdout: '12345' }],
  ])('is told of: %s', async (_what, question, ended) => {
    expect(await ask(question)).toEqual(ended);
  });

  test('is found in the directories of the system, not by the PATH of the caller', async () => {
    const dir = makeDir(ordinaryUser());
    writeFileSync(path.join(dir, 'id'), '#!/bin/sh\necho mine\n');
    chmodSync(path.join(dir, 'id'), 0o755);
    const line = ['/bin/sh', '-c', `PATH=${dir} exec "$@"`, 'sh', plainBundle(), 'ask', runQuestion(['id', '-u'])];
    expect((await run(line)).stdout).toBe('answer=exit 0\n4242\n\n');
  });

  test('has the environment and the directory of the caller, an empty stdin, and nothing else of his', async () => {
    const dir = makeDir(ordinaryUser());
    const script =
      'echo "$MARK $PWD"; cat; ls /proc/self/fd | tr "\\n" " "; echo; echo lost >&2; ps -o sid= -p $$ | tr -d " "; echo $$';
    const line = ['/bin/sh', '-c', 'exec 7</etc/passwd; exec "$@"', 'sh', plainBundle(), 'ask', sh(script)];
    const ran = await run(line, { cwd: dir, env: { MARK: 'here' }, input: 'typed' });
    expect(ran.stderr).not.toContain('lost');
    const { stdout } = readEnded(ran.stdout.slice('answer='.length, -1));
    const [where, rest, session, own] = stdout.split('\n');
    expect(where).toBe(`here ${dir}`);
    expect(rest).toBe('0 1 2 3 '); // 3 is ls's own
    expect(session).toBe(own);
  });

  test('is killed with its group when its time is up', async () => {
    const file = path.join(makeDir(ordinaryUser()), 'pids');
    const began = Date.now();
    const ended = await ask(sh(`sleep 100 & echo $$ $! > ${file}; echo begun; wait`, 400));
    expect(ended).toEqual({ how: 'late', code: 0, stdout: 'begun\n' });
    expect(Date.now() - began).toBeLessThan(5000);
    const pids = readFileSync(file, 'utf8').trim().split(' ').map(Number);
    expect(pids).toHaveLength(2);
    for (const pid of pids) await untilEnded(pid);
  });

  test('does not keep the start waiting for what it leaves in the background, and that is ended', async () => {
    const file = path.join(makeDir(ordinaryUser()), 'pid');
    expect(await ask(sh(`sleep 100 & echo $! > ${file}; echo done`, 20_000))).toEqual({
      how: 'exit',
      code: 0,
      stdout: 'done\n',
    });
    await untilEnded(Number(readFileSync(file, 'utf8')));
  });

  test('is waited for when it only closes its output', async () => {
    expect(await ask(sh('exec >&-; sleep .2; exit 9'))).toEqual({ how: 'exit', code: 9, stdout: '' });
  });

  test('has a status also where the caller ignores SIGCHLD', async () => {
    const line = ['/bin/sh', '-c', 'trap "" CHLD; exec "$@"', 'sh', plainBundle(), 'ask', sh('exit 7')];
    expect((await run(line)).stdout).toBe('answer=exit 7\n\n');
  });

  test('ends with a launcher that is killed', async () => {
    const file = path.join(makeDir(ordinaryUser()), 'pid');
    const running = start([
      plainBundle(),
      'ask',
      sh(`echo $$ > ${file}.new; mv ${file}.new ${file}; exec sleep 100`, 100_000),
    ]);
    await expect.poll(() => existsSync(file), { interval: 10, timeout: 10_000 }).toBe(true);
    running.child.kill('SIGKILL');
    await running.end();
    await untilEnded(Number(readFileSync(file, 'utf8')));
  });

  test.each([
    'run',
    'run 5 5',
    'run x 5 2:id,',
    'run 5 5 2:id',
    'run 5 5 3:id,',
    'run 5 5 9:id,',
    `run 5 5 ${'1:a,'.repeat(65)}`,
    'run 5 99999999999 2:id,',
  ])('a question that is none is refused: %.20s', async (question) => {
    const ran = await run([plainBundle(), 'ask', question]);
    expect(ran.status).toBe(125);
    expect(ran.stderr).toContain('asks what this launcher does not know');
  });
});
