// SPDX-License-Identifier: Apache-2.0
import { chmodSync, chownSync, existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import type { Plan } from '../../src/format/plan.ts';
import { testNeeding } from '../support/features.ts';
import { compileProgram } from '../support/programs.ts';
import { type Running, start } from '../support/run.ts';
import { freshUser, makeDir, type User } from '../support/session.ts';
import { listProcesses, until, untilAllEnded } from '../support/snapshot.ts';
import { type Image, makeBusyboxImage, planFor, planRun, runPlan, startPlan, writePlan } from './plan-rig.ts';

const needing = testNeeding('root', 'userns', 'fuse', 'mksquashfs', 'busybox');
let image: Image;

beforeAll(() => {
  image = makeBusyboxImage();
});

/** A place to meet in, and a plan that does. */
interface Meeting {
  readonly user: User;
  readonly dir: string;
  readonly plan: (...command: readonly string[]) => Plan;
}

function makeMeeting(dir?: string, key = 'job'): Meeting {
  const user = freshUser();
  const place = dir ?? makeDir(user, 'meeting');
  const plan = (...command: readonly string[]): Plan =>
    planFor(image, { user, entries: [{ op: 'share', dir: place, key }], command });
  return { user, dir: place, plan };
}

const count = (user: User, name: string): number =>
  listProcesses(user).filter(({ command }) => command === name).length;
const pair = (user: User): string => `${count(user, 'bundler-fs')} ${count(user, 'bundler-keeper')}`;
const waiting = ['sh', '-c', 'echo up; read line; ls /etc && cat /etc/hosts'];

async function begin({ user, plan }: Meeting): Promise<Running> {
  const running = startPlan(plan(...waiting), { user });
  await running.see(/up\n/);
  return running;
}

async function finish(running: Running): Promise<void> {
  expect(await running.end('\n')).toMatchObject({
    status: 0,
    stderr: '',
    stdout: expect.stringContaining('127.0.0.1'),
  });
}

async function expectGone({ user, dir }: Meeting): Promise<void> {
  await untilAllEnded(user);
  expect(readdirSync(dir)).toEqual([]);
}

/** The name of the socket that this meeting makes. */
async function learnName(meeting: Meeting): Promise<string> {
  const running = await begin(meeting);
  const [name = '', ...more] = readdirSync(meeting.dir);
  expect(more).toEqual([]);
  await finish(running);
  await expectGone(meeting);
  return name;
}

describe('the operation share', () => {
  needing('lets 50 that start together use one server', async () => {
    const meeting = makeMeeting();
    const all = Array.from({ length: 50 }, () => startPlan(meeting.plan(...waiting), { user: meeting.user }));
    for (const running of all) await running.see(/up\n/);
    expect(pair(meeting.user)).toBe('1 1');
    for (const running of all) await finish(running);
    await expectGone(meeting);
  });

  needing('never fails who comes just as the last member ends', async () => {
    const meeting = makeMeeting();
    const plan = writePlan(meeting.plan('cat', '/etc/hosts'));
    // Short commands, so that keepers end all the time.
    const script = 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do "$0" "$1" || exit 1; done';
    const loops = Array.from({ length: 6 }, () =>
      start(['sh', '-c', script, planRun(), plan], { user: meeting.user }).end(),
    );
    for (const ran of await Promise.all(loops))
      expect(ran).toMatchObject({ status: 0, stdout: '127.0.0.1 image\n'.repeat(20), stderr: '' });
    await expectGone(meeting);
  });

  needing('serves real root, too, which needs no user namespace', async () => {
    const root = { uid: 0, home: '/' };
    const dir = makeDir(root, 'meeting');
    const meeting = {
      user: root,
      dir,
      plan: () => planFor(image, { user: root, entries: [{ op: 'share', dir, key: 'job' }], command: [...waiting] }),
    };
    const first = await begin(meeting);
    const second = await begin(meeting);
    const mounted = ({ pid }: Running): string =>
      readFileSync(`/proc/${pid}/mountinfo`, 'utf8').split('\n')[0]?.split(' ')[2] ?? '';
    expect(mounted(second)).toBe(mounted(first));
    await finish(first);
    await finish(second);
    // Real root may also remove the directory, once it is empty.
    await until(
      () => !existsSync(dir),
      () => `${readdirSync(dir)}`,
    );
  });

  needing('keeps other keys apart', async () => {
    const meeting = makeMeeting();
    const other: Meeting = { ...meeting, plan: makeMeeting(meeting.dir, 'another').plan };
    const user = meeting.user;
    const otherPlan = planFor(image, {
      user,
      entries: [{ op: 'share', dir: meeting.dir, key: 'another' }],
      command: [...waiting],
    });
    const first = await begin(meeting);
    const second = await begin({ ...other, plan: () => otherPlan });
    expect(pair(user)).toBe('2 2');
    await finish(first);
    await finish(second);
    await expectGone(meeting);
  });

  needing('starts alone where others cannot be met', async () => {
    const user = freshUser();
    const places: Record<string, string> = {
      missing: '/no/such/directory',
      "somebody else's": makeDir(freshUser(), 'not-ours'),
      'open to all': makeDir(user, 'open'),
      'a link': path.join(user.home, 'link'),
      'a file': path.join(user.home, 'file'),
      'read-only': '/proc/self/fdinfo',
    };
    chmodSync(places['open to all'] ?? '', 0o777);
    symlinkSync(makeDir(user), places['a link'] ?? '');
    writeFileSync(places['a file'] ?? '', '');
    for (const [what, dir] of Object.entries(places)) {
      const plan = planFor(image, { user, entries: [{ op: 'share', dir, key: 'job' }], command: [...waiting] });
      const running = startPlan(plan, { user });
      await running.see(/up\n/);
      expect(pair(user), what).toBe('1 0');
      await finish(running);
      await untilAllEnded(user);
    }
  });

  for (const denied of ['pidfd', 'open_tree']) {
    needing(`starts alone on a kernel without ${denied}, and lets others do so`, async () => {
      const meeting = makeMeeting();
      const { user } = meeting;
      const old = () =>
        start(
          [
            compileProgram('bare-host'),
            '--host-root',
            '--uid',
            String(user.uid),
            '--deny',
            denied,
            '--',
            planRun(),
            writePlan(meeting.plan(...waiting)),
          ],
          { user: { uid: 0, home: '/' } },
        );
      const all = [old(), old(), old()];
      for (const running of all) await running.see(/up\n/);
      expect(count(user, 'bundler-fs')).toBe(3);
      for (const running of all) await finish(running);
      await expectGone(meeting);
    });
  }

  needing('replaces whatever has taken the name and does not listen', async () => {
    const meeting = makeMeeting();
    const name = await learnName(meeting);
    writeFileSync(path.join(meeting.dir, name), 'not a socket');
    chownSync(path.join(meeting.dir, name), meeting.user.uid, meeting.user.uid);
    const first = await begin(meeting);
    const second = await begin(meeting);
    expect(pair(meeting.user)).toBe('1 1');
    await finish(first);
    await finish(second);
    await expectGone(meeting);
  });

  needing('does without a listener that hangs up, and one that says something else', async () => {
    const meeting = makeMeeting();
    const name = await learnName(meeting);
    for (const act of ['close C', 'send(C, "x" x 4, 0); close C', 'send(C, pack("L", 1), 0); close C']) {
      const listener = start(['perl', '-e', listen, path.join(meeting.dir, name), act], { user: meeting.user });
      await listener.see(/listening/);
      expect(await runPlan(meeting.plan('cat', '/etc/hosts'), { user: meeting.user })).toMatchObject({
        status: 0,
        stdout: '127.0.0.1 image\n',
        stderr: '',
      });
      listener.child.kill('SIGKILL');
      await listener.end();
      await untilAllEnded(meeting.user);
    }
  });

  needing('refuses whoever is not the same user, and whoever has another key', async () => {
    const meeting = makeMeeting();
    const first = await begin(meeting);
    const [name = ''] = readdirSync(meeting.dir);
    const file = path.join(meeting.dir, name);
    const group = ['setpriv', `--reuid=${meeting.user.uid}`, '--regid=77', '--clear-groups'];
    for (const before of [[], group]) {
      const knock = start([...before, 'perl', '-e', connect, file, 'no hello'], { user: { uid: 0, home: '/' } });
      expect(await knock.end()).toMatchObject({ stdout: 'bytes 0\n' });
    }
    for (const hello of ['', 'short', `${'\x01\0\0\0'}${'k'.repeat(32)}`]) {
      const knock = start(['perl', '-e', connect, file, Buffer.from(hello).toString('hex')], { user: meeting.user });
      expect(await knock.end()).toMatchObject({ stdout: 'bytes 0\n' });
    }
    const second = await begin(meeting);
    expect(pair(meeting.user)).toBe('1 1');
    await finish(first);
    await finish(second);
    await expectGone(meeting);
  });

  needing(
    'does not fail the others when the first is killed at any moment of its start',
    async () => {
      const meeting = makeMeeting();
      const { user } = meeting;
      for (let delayUs = 0; delayUs < 9000; delayUs += 600) {
        const plan = writePlan(meeting.plan('sleep', '5'));
        const first = start(['perl', '-e', killer, String(delayUs), planRun(), plan], { user });
        const others = Array.from({ length: 3 }, () => runPlan(meeting.plan('cat', '/etc/hosts'), { user }));
        for (const ran of await Promise.all(others))
          expect(ran).toMatchObject({ status: 0, stdout: '127.0.0.1 image\n', stderr: '' });
        await first.end();
      }
      await untilAllEnded(user);
      // A socket of one that was killed before it had a keeper goes with the next.
      await runPlan(meeting.plan('true'), { user });
      await expectGone(meeting);
    },
    120_000,
  );

  needing('leaves the command as it was started: no further descriptor, no child', async () => {
    const meeting = makeMeeting();
    const { user } = meeting;
    const descriptors = ({ pid }: Running): string[] => readdirSync(`/proc/${pid}/fd`).sort();
    const alone = startPlan(planFor(image, { user, command: [...waiting] }), { user });
    await alone.see(/up\n/);
    const first = await begin(meeting);
    const second = await begin(meeting);
    for (const running of [first, second]) {
      expect(descriptors(running)).toEqual(descriptors(alone));
      expect(readFileSync(`/proc/${running.pid}/task/${running.pid}/children`, 'utf8')).toBe('');
    }
    for (const running of [alone, first, second]) await finish(running);
    await expectGone(meeting);
  });

  needing('gives a member what it may change without the others seeing it', async () => {
    const meeting = makeMeeting();
    const { user, dir } = meeting;
    const entries: Plan = [{ op: 'share', dir, key: 'job' }];
    const overlay = { op: 'overlay', upper: '', work: '', sizeBytes: 0 } as const;
    const first = await begin(meeting);
    const write = planFor(image, {
      user,
      entries,
      inside: [overlay],
      command: ['sh', '-c', 'echo mine > /etc/hosts && cat /etc/hosts'],
    });
    expect((await runPlan(write, { user })).stdout).toBe('mine\n');
    expect(pair(user)).toBe('1 1');
    await finish(first);
    await until(
      () => pair(user) === '0 0',
      () => pair(user),
    );
    await expectGone(meeting);
  });
});

/** Listens at its first argument and does what the second says with each connection C. */
const listen = `use Socket; $| = 1; socket(S, AF_UNIX, 5, 0) or die; unlink $ARGV[0]; bind(S, sockaddr_un($ARGV[0])) or die $!; listen(S, 9);
  print "listening\\n"; while (accept(C, S)) { eval $ARGV[1]; }`;
/** Connects, sends the bytes that its second argument has in hexadecimal, and tells how many bytes come back. */
const connect = `use Socket; socket(S, AF_UNIX, 5, 0) or die; connect(S, sockaddr_un($ARGV[0])) or die $!;
  send(S, pack("H*", $ARGV[1]), 0x4000); recv(S, $data, 100, 0); print "bytes ", length($data), "\\n"`;
/** Runs the command line after its first argument and kills it with SIGKILL after so many microseconds. */
const killer = `use Time::HiRes "usleep"; $us = shift; $pid = fork; exec @ARGV if !$pid; usleep $us; kill 9, $pid; wait; exit 0`;
