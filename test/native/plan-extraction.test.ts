// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { extractFlags, type Op } from '../../src/format/plan.ts';
import { testNeeding } from '../support/features.ts';
import { compileProgram } from '../support/programs.ts';
import { Running, start } from '../support/run.ts';
import { freshUser, makeDir, type User } from '../support/session.ts';
import { listProcesses, until, untilAllEnded } from '../support/snapshot.ts';
import {
  bindDev,
  bindProc,
  type Image,
  makeBusyboxImage,
  planFor,
  planRun,
  runPlan,
  type Shape,
  startPlan,
  writePlan,
} from './plan-rig.ts';

const needing = testNeeding('root', 'userns', 'mksquashfs', 'busybox');
const { keep, reuse, quiet } = extractFlags;
const done: Op = { op: 'exit', status: 0, stdout: 'done\n', stderr: '' };
let image: Image;
/** Takes long enough to unpack that something can happen meanwhile. */
let large: Image;

beforeAll(() => {
  image = makeBusyboxImage((root) => {
    mkdirSync(path.join(root, 'closed'));
    writeFileSync(path.join(root, 'closed/file'), 'x');
    chmodSync(path.join(root, 'closed'), 0o500);
    writeFileSync(path.join(root, '.bundler'), 'from the image\n');
  });
  large = makeBusyboxImage((root) => {
    execFileSync('sh', ['-c', 'for i in $(seq 3000); do head -c 20000 /dev/urandom > $i; done'], {
      cwd: path.join(root, 'var'),
    });
  });
});

function setUp(): { user: User; place: string } {
  const user = freshUser();
  return { user, place: makeDir(user, 'place') };
}

const shapeFor = (user: User, place: string, more: Partial<Shape> = {}): Shape => ({
  user,
  driver: 'extract',
  place,
  flags: quiet,
  ...more,
});

/** Kills every process of the user in one system call, as a batch system does. */
function killAll(user: User): void {
  try {
    execFileSync(
      'setpriv',
      [`--reuid=${user.uid}`, `--regid=${user.uid}`, '--clear-groups', '--', 'bash', '-c', 'kill -9 -1'],
      { stdio: 'ignore' },
    );
  } catch {
    // the shell is among them
  }
}

describe('an extraction below a place', () => {
  needing('is there while the command runs, and gone when it ends', async () => {
    const { user, place } = setUp();
    const running = startPlan(
      planFor(image, shapeFor(user, place, { command: ['sh', '-c', 'echo up; read x; exit 3'] })),
      { user },
    );
    await running.see(/up/);
    const [nest = ''] = readdirSync(place);
    expect(nest).toMatch(/^extract-[a-z0-9]{6}$/);
    expect(statSync(path.join(place, nest)).mode & 0o777).toBe(0o700);
    expect(readdirSync(path.join(place, nest, 'root'))).toContain('etc');
    expect((await running.end('\n')).status).toBe(3);
    await untilAllEnded(user);
    expect(readdirSync(place)).toEqual([]);
  });

  needing('is writable, and a command that made it hard to remove does not keep it', async () => {
    const { user, place } = setUp();
    const script =
      'echo x > /etc/new; mkdir -p /a/b/c; touch /a/b/c/d; chmod 0 /a/b/c /a/b /a; chmod 500 /; cat /etc/new; cat /.bundler';
    const ran = await runPlan(planFor(image, shapeFor(user, place, { command: ['sh', '-ec', script] })), { user });
    expect(ran).toMatchObject({ status: 0, stdout: 'x\nfrom the image\n' });
    await untilAllEnded(user);
    expect(readdirSync(place)).toEqual([]);
  });

  needing('stays as long as a background process of the container, and no longer', async () => {
    const { user, place } = setUp();
    const script =
      'setsid sh -c "while [ ! -e /stop ]; do sleep 0.05; done; cat /etc/hosts > /seen; sleep 0.3" >/dev/null 2>&1 </dev/null & echo left';
    expect(
      await runPlan(planFor(image, shapeFor(user, place, { command: ['sh', '-c', script] })), { user }),
    ).toMatchObject({ stdout: 'left\n' });
    const [nest = ''] = readdirSync(place);
    const root = path.join(place, nest, 'root');
    expect(existsSync(path.join(root, 'etc/hosts'))).toBe(true);
    writeFileSync(path.join(root, 'stop'), '');
    await until(
      () => existsSync(path.join(root, 'seen')),
      () => 'the background process saw nothing',
    );
    await untilAllEnded(user);
    expect(readdirSync(place)).toEqual([]);
  });

  needing(
    'is gone after kill -9 of the command, at any moment',
    async () => {
      const { user, place } = setUp();
      for (let delayMs = 0; delayMs < 400; delayMs += 25) {
        const running = startPlan(planFor(large, shapeFor(user, place, { command: ['sleep', '100'] })), { user });
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        running.child.kill('SIGKILL');
        await running.end();
        await untilAllEnded(user);
        expect(readdirSync(place), `after ${delayMs} ms`).toEqual([]);
      }
    },
    120_000,
  );

  needing('is gone after Ctrl-C during the unpacking', async () => {
    const { user, place } = setUp();
    const running = startPlan(planFor(large, shapeFor(user, place)), { user, detached: true });
    await until(
      () => readdirSync(place).length > 0,
      () => 'nothing is unpacked',
    );
    process.kill(-running.pid, 'SIGINT');
    expect((await running.end()).signal).toBe('SIGINT');
    await untilAllEnded(user);
    expect(readdirSync(place)).toEqual([]);
  });

  needing('is swept by the next start after everything was killed at once, and a live one is spared', async () => {
    const { user, place } = setUp();
    const killed = startPlan(planFor(image, shapeFor(user, place, { command: ['sh', '-c', 'echo up; sleep 100'] })), {
      user,
    });
    await killed.see(/up/);
    killAll(user);
    await killed.end();
    await untilAllEnded(user);
    const [dead = ''] = readdirSync(place);
    expect(dead).toMatch(/^extract-/);
    const live = startPlan(planFor(image, shapeFor(user, place, { command: ['sh', '-c', 'echo up; read x'] })), {
      user,
    });
    await live.see(/up/);
    expect(readdirSync(place).length).toBe(1);
    expect(readdirSync(place)).not.toContain(dead);
    expect(await start([planRun(), '--sweep', place], { user }).end()).toMatchObject({ status: 0, stderr: '' });
    expect(readdirSync(place).length).toBe(1);
    await live.end('\n');
    await untilAllEnded(user);
    expect(readdirSync(place)).toEqual([]);
  });

  needing('is spared by the sweep when only its janitor was killed, until the container ends', async () => {
    const { user, place } = setUp();
    const running = startPlan(
      planFor(image, shapeFor(user, place, { command: ['sh', '-c', 'echo up; read x; cat /etc/hosts'] })),
      { user },
    );
    await running.see(/up/);
    const janitor = listProcesses(user).find(({ pid }) =>
      readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('bundler-janitor'),
    );
    expect(janitor).toBeDefined();
    process.kill(janitor?.pid ?? 0, 'SIGKILL');
    await start([planRun(), '--sweep', place], { user }).end();
    expect(readdirSync(place).length).toBe(1);
    expect(await running.end('\n')).toMatchObject({ status: 0, stdout: 'up\n127.0.0.1 image\n' });
    await untilAllEnded(user);
    expect(readdirSync(place).length).toBe(1);
    await start([planRun(), '--sweep', place], { user }).end();
    await untilAllEnded(user);
    expect(readdirSync(place)).toEqual([]);
  });

  needing('a janitor without inotify watches through /proc', async () => {
    const { user, place } = setUp();
    // the user's inotify instances are used up (fs.inotify.max_user_instances)
    const holder = start(
      [
        'python3',
        '-c',
        'import ctypes,sys\nc=ctypes.CDLL(None)\nwhile c.inotify_init()>=0: pass\nprint("full",flush=True)\nsys.stdin.read()',
      ],
      { user },
    );
    await holder.see(/full/);
    const script = 'setsid sh -c "while [ ! -e /stop ]; do sleep 0.05; done" >/dev/null 2>&1 </dev/null & echo left';
    expect(
      await runPlan(planFor(image, shapeFor(user, place, { command: ['sh', '-c', script] })), { user }),
    ).toMatchObject({ stdout: 'left\n' });
    await new Promise((resolve) => setTimeout(resolve, 700));
    const [nest = ''] = readdirSync(place);
    expect(existsSync(path.join(place, nest, 'root/etc/hosts'))).toBe(true);
    writeFileSync(path.join(place, nest, 'root/stop'), '');
    await until(
      () => readdirSync(place).length === 0,
      () => readdirSync(place).join(),
    );
    await holder.end();
    await untilAllEnded(user);
  });

  needing(
    'a hundred at once work and leave nothing',
    async () => {
      const { user, place } = setUp();
      const all = Array.from({ length: 100 }, (_, i) =>
        runPlan(planFor(image, shapeFor(user, place, { command: ['echo', String(i)] })), { user }),
      );
      const ran = await Promise.all(all);
      expect(ran.map(({ stdout }) => stdout)).toEqual(ran.map((_, i) => `${i}\n`));
      await untilAllEnded(user);
      expect(readdirSync(place)).toEqual([]);
    },
    120_000,
  );

  needing('says how much room is missing, before it unpacks', async () => {
    const { user } = setUp();
    const flags = ['--uid', String(user.uid), '--host-root', '--tmpfs', '/mnt=size=16m,mode=1777', '--'];
    const plan = writePlan(planFor(large, shapeFor(user, '/mnt/bundler')));
    const ran = await new Running([compileProgram('bare-host'), ...flags, planRun(), plan], {
      env: { PATH: '/usr/bin' },
    }).end();
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(
      /unpack the image in \/mnt\/bundler: it needs [67]\d\.\d MB, and 16\.\d MB are free: No space left on device\n {2}try: /,
    );
  });

  needing('into memory leaves nothing on any disk and no janitor', async () => {
    const user = freshUser();
    const shape: Shape = { user, driver: 'memory', command: ['sh', '-c', 'echo up; read x; cat /etc/hosts'] };
    const running = startPlan(planFor(image, shape), { user });
    await running.see(/up/);
    expect(listProcesses(user).length).toBe(1);
    expect((await running.end('\n')).stdout).toBe('up\n127.0.0.1 image\n');
    await untilAllEnded(user);
  });
});

describe('a start of any kind', () => {
  needing('sweeps the directories of ours', async () => {
    const { user, place } = setUp();
    const killed = startPlan(planFor(image, shapeFor(user, place, { command: ['sh', '-c', 'echo up; sleep 100'] })), {
      user,
    });
    await killed.see(/up/);
    killAll(user);
    await killed.end();
    await untilAllEnded(user);
    expect(readdirSync(place)).toEqual([expect.stringMatching(/^extract-/)]);
    const env = { BUNDLER_CACHE_DIR: place };
    expect(await runPlan([done], { user, env })).toMatchObject({ status: 0, stdout: 'done\n' });
    await untilAllEnded(user);
    expect(readdirSync(place)).toEqual([]);
  });
});

describe('an extraction into a target', () => {
  const targetOf = (place: string) => path.join(place, 'my target');

  needing('that is kept is complete, marked, private, and stays', async () => {
    const { user, place } = setUp();
    const target = targetOf(place);
    const ran = await runPlan(
      planFor(
        image,
        shapeFor(user, place, { target, flags: keep | reuse | quiet, command: ['touch', '/etc/by-the-run'] }),
      ),
      { user },
    );
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    await untilAllEnded(user);
    expect(readdirSync(place)).toEqual(['my target']);
    expect(statSync(target).mode & 0o777).toBe(0o700);
    expect(readFileSync(path.join(target, '.bundler'), 'utf8')).toBe('bundler 1\ndigest d1\nkeep\n');
    expect(existsSync(path.join(target, 'etc/by-the-run'))).toBe(true);
  });

  needing('that is kept is used again with the same digest, and refused with another, naming both', async () => {
    const { user, place } = setUp();
    const target = targetOf(place);
    const shape = shapeFor(user, place, { target, flags: keep | reuse | quiet });
    await runPlan(planFor(image, { ...shape, command: ['sh', '-c', 'echo mine > /etc/own'] }), { user });
    const inode = statSync(target).ino;
    expect(await runPlan(planFor(image, { ...shape, command: ['cat', '/etc/own'] }), { user })).toMatchObject({
      status: 0,
      stdout: 'mine\n',
    });
    expect(statSync(target).ino).toBe(inode);
    const other = await runPlan(planFor(image, { ...shape, digest: 'd2' }), { user });
    expect(other.status).toBe(125);
    expect(other.stderr).toMatch(/holds another image \(digest d1, and this one's is d2\)/);
    const again = await runPlan(planFor(image, { ...shape, flags: keep | quiet }), { user });
    expect(again).toMatchObject({ status: 125, stderr: expect.stringMatching(/File exists\n {2}try: .*--keep/) });
    await untilAllEnded(user);
    expect(readFileSync(path.join(target, 'etc/own'), 'utf8')).toBe('mine\n');
  });

  needing('that is not kept is removed at the end', async () => {
    const { user, place } = setUp();
    const target = targetOf(place);
    const running = startPlan(
      planFor(image, shapeFor(user, place, { target, command: ['sh', '-c', 'echo up; read x'] })),
      { user },
    );
    await running.see(/up/);
    expect(readdirSync(place)).toEqual(['my target']);
    const second = await runPlan(planFor(image, shapeFor(user, place, { target, flags: keep | reuse | quiet })), {
      user,
    });
    expect(second).toMatchObject({ status: 125, stderr: expect.stringContaining('another run uses it') });
    await running.end('\n');
    await untilAllEnded(user);
    expect(readdirSync(place)).toEqual([]);
  });

  needing('that a killed run left is taken over by the next with the same target', async () => {
    const { user, place } = setUp();
    const target = targetOf(place);
    const running = startPlan(
      planFor(image, shapeFor(user, place, { target, command: ['sh', '-c', 'echo up; sleep 100'] })),
      { user },
    );
    await running.see(/up/);
    killAll(user);
    await running.end();
    expect(readdirSync(place)).toEqual(['my target']);
    expect(await runPlan(planFor(image, shapeFor(user, place, { target })), { user })).toMatchObject({
      status: 0,
      stderr: '',
    });
    await untilAllEnded(user);
    expect(readdirSync(place)).toEqual([]);
  });

  needing('never touches what somebody else made: a directory, an empty one, a file, a symlink', async () => {
    const { user, place } = setUp();
    const elsewhere = makeDir(user, 'elsewhere');
    writeFileSync(path.join(elsewhere, 'precious'), 'x');
    mkdirSync(path.join(place, 'empty'));
    writeFileSync(path.join(place, 'file'), 'x');
    symlinkSync(elsewhere, path.join(place, 'link'));
    symlinkSync('nowhere', path.join(place, 'dangling'));
    for (const target of [
      elsewhere,
      `${elsewhere}/`,
      path.join(place, 'empty'),
      path.join(place, 'file'),
      path.join(place, 'link'),
      path.join(place, 'dangling'),
    ]) {
      for (const flags of [quiet, keep | reuse | quiet]) {
        const ran = await runPlan(planFor(image, shapeFor(user, place, { target, flags, end: done })), { user });
        expect(ran.status, target).toBe(125);
        expect(ran.stderr).toMatch(
          /unpack into .*: it exists and .*\n {2}try: name a directory that does not exist yet/,
        );
      }
    }
    await untilAllEnded(user);
    expect(readdirSync(elsewhere)).toEqual(['precious']);
    expect(readdirSync(place).sort()).toEqual(['dangling', 'empty', 'file', 'link']);
    expect(lstatSync(path.join(place, 'link')).isSymbolicLink()).toBe(true);
  });

  needing('in a directory that is missing or may not be written is refused, with what to do', async () => {
    const { user, place } = setUp();
    const missing = await runPlan(planFor(image, shapeFor(user, place, { target: `${place}/none/x`, end: done })), {
      user,
    });
    expect(missing).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(/No such file or directory\n {2}try: .*mkdir -p/),
    });
    const denied = await runPlan(
      planFor(image, shapeFor(user, place, { target: '/usr/target-of-a-test', end: done })),
      { user },
    );
    expect(denied).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(/\/usr\/target-of-a-test: Permission denied\n {2}try: /),
    });
    for (const target of ['/', '.', '..', `${place}/..`]) {
      expect(
        (await runPlan(planFor(image, shapeFor(user, place, { target, end: done })), { user })).status,
        target,
      ).toBe(125);
    }
  });

  needing('that is interrupted leaves nothing under the final name, and the next start clears the rest', async () => {
    const { user, place } = setUp();
    const target = targetOf(place);
    const plan = planFor(large, shapeFor(user, place, { target, flags: keep | reuse | quiet, end: done }));
    for (let round = 0; round < 5; round += 1) {
      const earlier = readdirSync(place);
      const running = startPlan(plan, { user });
      await until(
        () => readdirSync(place).some((name) => name.includes('.partial-') && !earlier.includes(name)),
        () => 'nothing is unpacked',
      );
      killAll(user);
      await running.end();
      await untilAllEnded(user);
      expect(existsSync(target)).toBe(false);
      expect(readdirSync(place).filter((name) => name.startsWith('my target.partial-')).length).toBe(1);
    }
    expect(await runPlan(plan, { user })).toMatchObject({ status: 0, stdout: 'done\n', stderr: '' });
    await untilAllEnded(user);
    expect(readdirSync(place)).toEqual(['my target']);
    expect(readdirSync(path.join(target, 'var')).length).toBe(3000);
  });

  needing(
    'by many runs at once is unpacked and all use it',
    async () => {
      const { user, place } = setUp();
      const target = targetOf(place);
      const shape = shapeFor(user, place, {
        target,
        flags: keep | reuse | quiet,
        command: ['sh', '-c', 'ls /var | wc -l'],
      });
      const ran = await Promise.all(Array.from({ length: 20 }, () => runPlan(planFor(large, shape), { user })));
      expect(ran.map(({ stdout, stderr }) => stdout + stderr)).toEqual(ran.map(() => '3000\n'));
      await untilAllEnded(user);
      expect(readdirSync(place)).toEqual(['my target']);
    },
    120_000,
  );

  needing('shows no progress unless stderr is a terminal, and then only without quiet', async () => {
    const { user, place } = setUp();
    const run = (flags: number, before: readonly string[]) =>
      runPlan(planFor(large, shapeFor(user, place, { flags, inside: [bindProc, bindDev] })), { user, before });
    expect((await run(0, [])).stderr).toBe('');
    expect((await run(0, [compileProgram('pty-run')])).stdout).toMatch(/unpacking \[#* *\] \d+ of \d+ MB/);
    expect((await run(quiet, [compileProgram('pty-run')])).stdout).not.toContain('unpacking');
    await untilAllEnded(user);
  });
});
