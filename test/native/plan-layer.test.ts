// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import type { Op, Plan } from '../../src/format/plan.ts';
import { testNeeding } from '../support/features.ts';
import { start } from '../support/run.ts';
import { freshUser, makeDir, makeUser, type User } from '../support/session.ts';
import { listMounts, untilAllEnded } from '../support/snapshot.ts';
import {
  bindDev,
  bindProc,
  type Image,
  makeBusyboxImage,
  planFor,
  planRun,
  runPlan,
  type Shape,
  shPlan,
  startPlan,
} from './plan-rig.ts';

const needing = testNeeding('root', 'userns', 'fuse', 'mksquashfs', 'busybox');
const overlay: Op = { op: 'overlay', upper: '', work: '', sizeBytes: 0 };
let image: Image;

beforeAll(() => {
  image = makeBusyboxImage((root) => {
    mkdirSync(path.join(root, 'old/deep'), { recursive: true });
    writeFileSync(path.join(root, 'old/deep/file'), 'from the image\n');
    chmodSync(root, 0o751);
  });
});

type LayerFields = Partial<Omit<Extract<Op, { op: 'layer' }>, 'op'>>;

/** A run whose changes go to a layer on disk. */
function shapeFor(user: User, fields: LayerFields, more: Partial<Shape> = {}): Shape {
  const layer: Op = { op: 'layer', place: '', dir: '', digest: 'd1', owners: 'single', ...fields };
  const inside: Plan = [overlay, bindProc, bindDev];
  return { user, entries: [layer], inside, ...more };
}

function setUp(): { user: User; dir: string; parent: string } {
  const user = freshUser();
  const parent = makeDir(user, 'layer');
  return { user, parent, dir: path.join(parent, 'changes') };
}

const write = (user: User, dir: string, script: string, more: Partial<Shape> = {}): Promise<string> =>
  shPlan(image, script, shapeFor(user, { dir }, more), { user });

/** Kills every process of the user in one system call, as a batch system does. */
function killAll(user: User): void {
  const drop = [`--reuid=${user.uid}`, `--regid=${user.uid}`, '--clear-groups', '--', 'bash', '-c', 'kill -9 -1'];
  try {
    execFileSync('setpriv', drop, { stdio: 'ignore' });
  } catch {
    // the shell is among them
  }
}

async function expectRefusal(user: User, fields: LayerFields, message: RegExp): Promise<void> {
  const ran = await runPlan(planFor(image, shapeFor(user, fields)), { user });
  expect(ran.status, ran.stderr).toBe(125);
  expect(ran.stderr).toMatch(/^bundler: keep the changes in .*\n {2}try: .*\n$/);
  expect(ran.stderr).toMatch(message);
  await untilAllEnded(user);
}

describe('a layer in a directory of the user', () => {
  needing('is made when missing, and the next run finds every change in it', async () => {
    const { user, dir } = setUp();
    await write(
      user,
      dir,
      `echo kept > /etc/kept; echo more >> /etc/passwd; rm /etc/hosts; rm -rf /old; mkdir /old; echo new > /old/new
       ln /etc/kept /etc/second; ln -s kept /etc/link; chmod 4711 /bin/peek; mv /usr/bin /usr/moved; mkfifo /etc/fifo`,
    );
    const seen = await write(
      user,
      dir,
      `cat /etc/kept /etc/link; tail -n 1 /etc/passwd; ! test -e /etc/hosts; ls /old /usr; stat -c '%h %a' /etc/second /bin/peek /
       test -p /etc/fifo; rm /etc/kept; cat /etc/second`,
    );
    expect(seen).toMatch(/^kept\nkept\nmore\n\/old:\nnew\n\n\/usr:\nmoved\n2 644\n1 4711\n\d+ 751\nkept\n$/);
    expect(await write(user, dir, '! test -e /etc/kept; cat /etc/second')).toBe('kept\n');
    await untilAllEnded(user);
  });

  needing('belongs to the user on disk, who can read it and remove it as root of a user namespace', async () => {
    const { user, dir } = setUp();
    await write(user, dir, 'echo kept > /etc/kept; mkdir -m 700 /private; echo x > /private/x; rm /etc/hosts');
    expect(statSync(dir).mode & 0o777).toBe(0o700);
    expect(statSync(path.join(dir, 'upper/etc/kept')).uid).toBe(user.uid);
    const script = `cat ${dir}/upper/etc/kept ${dir}/upper/private/x; stat -c %F:%u ${dir}/upper/etc/hosts; rm -rf ${dir}`;
    const ran = await start(['unshare', '-r', 'sh', '-ec', script], { user }).end();
    expect(ran).toMatchObject({ status: 0, stdout: 'kept\nx\ncharacter special file:0\n', stderr: '' });
    expect(existsSync(dir)).toBe(false);
  });

  needing('is the same for a run as root inside and one as the user', async () => {
    const { user, dir } = setUp();
    await write(user, dir, 'echo root > /etc/kept; mkdir -m 700 /private; echo x > /private/x; id -u', { uid: 0 });
    expect(await write(user, dir, 'cat /etc/kept; echo user >> /private/x; stat -c %u /private/x')).toBe(
      `root\n${user.uid}\n`,
    );
    expect(await write(user, dir, 'cat /private/x; stat -c %u /private/x', { uid: 0 })).toBe('x\nuser\n0\n');
  });

  needing('is refused to a second writer while the first lives, and free after its kill -9', async () => {
    const { user, dir } = setUp();
    const shape = shapeFor(user, { dir }, { command: ['sh', '-c', 'echo x > /etc/first; echo up; exec sleep 100'] });
    const first = startPlan(planFor(image, shape), { user });
    await first.see(/up/);
    const second = await runPlan(planFor(image, shapeFor(user, { dir })), { user });
    expect(second.status).toBe(125);
    expect(second.stderr).toMatch(/another container is using it\n {2}try: wait/);
    first.child.kill('SIGKILL');
    expect(await write(user, dir, 'cat /etc/first')).toBe('x\n');
    await first.end();
    await untilAllEnded(user);
  });

  needing('stays locked as long as a background process of the container', async () => {
    const { user, dir } = setUp();
    const script = 'setsid sh -c "while [ ! -e /stop ]; do sleep 0.05; done" >/dev/null 2>&1 </dev/null & echo left';
    const shape = shapeFor(user, { dir }, { command: ['sh', '-c', script] });
    expect(await runPlan(planFor(image, shape), { user })).toMatchObject({ status: 0, stdout: 'left\n' });
    const second = await runPlan(planFor(image, shapeFor(user, { dir })), { user });
    expect(second.stderr).toMatch(/another container is using it/);
    killAll(user);
    expect(await write(user, dir, 'echo free')).toBe('free\n');
    await untilAllEnded(user);
  });

  needing('shows the command no descriptor, child or mount besides those of an overlay in memory', async () => {
    const { user, dir } = setUp();
    const script = 'echo /proc/$$/fd/*; wc -w < /proc/$$/task/$$/children; wc -l < /proc/self/mountinfo';
    const inMemory = await shPlan(image, script, { user, inside: [overlay, bindProc, bindDev] }, { user });
    const pids = (text: string): string => text.replace(/\/proc\/\d+/g, '/proc/PID');
    expect(pids(await write(user, dir, script))).toBe(pids(inMemory));
  });

  needing('is refused where it would mix with something else', async () => {
    const { user, dir, parent } = setUp();
    await write(user, dir, 'true');
    await expectRefusal(user, { dir, digest: 'd2' }, /another image \(digest d1, and this one's is d2\)/);
    await expectRefusal(user, { dir, owners: 'subuid 1' }, /other user ids \(single, and now subuid 1\)/);
    // As a crash of the machine may leave it: what was written must not be taken for a fresh start, which may be removed.
    writeFileSync(path.join(dir, '.bundler'), '');
    mkdirSync(path.join(dir, 'upper/precious'));
    await expectRefusal(user, { dir }, /its \.bundler is damaged/);
    expect(existsSync(path.join(dir, 'upper/precious'))).toBe(true);
    mkdirSync(path.join(parent, 'full'));
    chownSync(path.join(parent, 'full'), user.uid, user.uid);
    writeFileSync(path.join(parent, 'full/thesis.tex'), '');
    await expectRefusal(user, { dir: path.join(parent, 'full') }, /it holds other files/);
    writeFileSync(path.join(parent, 'full/.bundler'), 'bundler 1\ndigest d1\nkeep\n');
    chownSync(path.join(parent, 'full/.bundler'), user.uid, user.uid);
    await expectRefusal(user, { dir: path.join(parent, 'full') }, /not that of an overlay/);
    writeFileSync(path.join(parent, 'file'), '');
    await expectRefusal(user, { dir: path.join(parent, 'file') }, /not a directory/);
    mkdirSync(path.join(parent, 'other'), { mode: 0o755 });
    chownSync(path.join(parent, 'other'), makeUser(4242).uid, 0);
    await expectRefusal(user, { dir: path.join(parent, 'other') }, /belongs to another user/);
    expect(readdirSync(path.join(parent, 'full'))).toEqual(['.bundler', 'thesis.tex']);
    const gone = await runPlan(planFor(image, shapeFor(user, { dir: path.join(parent, 'no/where') })), { user });
    expect(gone.stderr).toMatch(/No such file.*\n {2}try: make it first: mkdir -p/);
  });

  for (const [what, type, options] of [
    ['an overlay', 'overlay', 'lowerdir=LOWER,upperdir=UPPER,workdir=WORK'],
    ['a file system without user xattrs', 'ramfs', 'mode=777'],
  ] as const) {
    needing(`is refused on ${what}, with what to do, and nothing stays there`, async () => {
      const { user, parent } = setUp();
      for (const name of ['lower', 'upper', 'work', 'mounted']) mkdirSync(path.join(parent, name), { mode: 0o777 });
      for (const name of ['lower', 'upper']) chmodSync(path.join(parent, name), 0o777);
      const data = options.replace(/LOWER|UPPER|WORK/g, (name) => path.join(parent, name.toLowerCase()));
      const point = path.join(parent, 'mounted');
      execFileSync('mount', ['-t', type, '-o', data, 'none', point]);
      try {
        await expectRefusal(
          user,
          { dir: path.join(point, 'changes') },
          new RegExp(`its file system \\(${type}\\) cannot hold an overlay.*\n {2}try: .*ext4.*--keep --target DIR`),
        );
        expect(readdirSync(point)).toEqual([]);
      } finally {
        execFileSync('umount', [point]);
      }
    });
  }

  needing('survives kill -9 at any moment of the start: it is whole, or not there', async () => {
    const { user, dir, parent } = setUp();
    for (let delayMs = 0; delayMs < 30; delayMs += 2) {
      const running = startPlan(planFor(image, shapeFor(user, { dir }, { command: ['sleep', '100'] })), { user });
      await new Promise((resolve) => setTimeout(resolve, delayMs)); // the moment is the point
      running.child.kill('SIGKILL');
      await running.end();
    }
    expect(await write(user, dir, 'echo whole')).toBe('whole\n');
    await untilAllEnded(user);
    expect(readdirSync(parent)).toEqual(['changes']);
    expect(readdirSync(dir).sort()).toEqual(['.bundler', 'upper', 'work']);
    expect(listMounts(parent).filter((line) => line.includes(parent))).toEqual([]);
  });
});

describe('a layer below a place', () => {
  needing('is there while the command runs, and gone when it ends', async () => {
    const { user, parent } = setUp();
    const script =
      'echo x > /etc/new; rm -r /old; mkdir /old; ls -A /old | wc -l; echo up; read x; cat /etc/new; exit 3';
    const shape = shapeFor(user, { place: parent }, { command: ['sh', '-c', script] });
    const running = startPlan(planFor(image, shape), { user });
    await running.see(/0\nup/);
    const [nest = ''] = readdirSync(parent);
    expect(nest).toMatch(/^layer-[a-z0-9]{6}$/);
    expect(readFileSync(path.join(parent, nest, 'root/upper/etc/new'), 'utf8')).toBe('x\n');
    expect(await running.end('\n')).toMatchObject({ status: 3, stdout: '0\nup\nx\n' });
    await untilAllEnded(user);
    expect(existsSync(parent) ? readdirSync(parent) : []).toEqual([]);
  });

  needing('is gone after kill -9 of the command, and swept by the next start after everything was killed', async () => {
    const { user, parent } = setUp();
    const place = path.join(parent, 'place');
    const shape = shapeFor(user, { place }, { command: ['sh', '-c', 'echo x > /x; echo up; exec sleep 100'] });
    const killed = startPlan(planFor(image, shape), { user });
    await killed.see(/up/);
    killed.child.kill('SIGKILL');
    await killed.end();
    await untilAllEnded(user);
    expect(existsSync(place)).toBe(false);
    const other = startPlan(planFor(image, shape), { user });
    await other.see(/up/);
    killAll(user);
    await other.end();
    await untilAllEnded(user);
    const [dead = ''] = readdirSync(place);
    expect(dead).toMatch(/^layer-/);
    const live = startPlan(planFor(image, shapeFor(user, { place }, { command: ['sh', '-c', 'echo up; read x'] })), {
      user,
    });
    await live.see(/up/);
    expect(readdirSync(place)).toHaveLength(1);
    expect(readdirSync(place)).not.toContain(dead);
    await start([planRun(), '--sweep', place], { user }).end();
    expect(readdirSync(place)).toHaveLength(1);
    await live.end('\n');
    await untilAllEnded(user);
    expect(existsSync(place)).toBe(false);
  });
});
