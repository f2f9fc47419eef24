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
import { makeDir } from '../support/session.ts';
import { listProcesses, until, untilAllEnded } from '../support/snapshot.ts';
import { Site } from './extraction-rig.ts';
import { bindDev, bindProc, type Image, makeBusyboxImage, planRun, runPlan, writePlan } from './plan-rig.ts';

const needing = testNeeding('root', 'userns', 'mksquashfs', 'busybox');
const { keep, reuse, quiet } = extractFlags;
const kept = keep | reuse | quiet;
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

describe('an extraction below a place', () => {
  needing('is there while the command runs, and gone when it ends', async () => {
    const site = new Site();
    const running = await site.startUp(image, 'read x; exit 3');
    const [nest = ''] = site.names();
    expect(nest).toMatch(/^extract-[a-z0-9]{6}$/);
    expect(statSync(path.join(site.place, nest)).mode & 0o777).toBe(0o700);
    expect(readdirSync(path.join(site.place, nest, 'root'))).toContain('etc');
    expect((await running.end('\n')).status).toBe(3);
    await site.endsWith();
  });

  needing('is writable, and a command that made it hard to remove does not keep it', async () => {
    const site = new Site();
    const script =
      'echo x > /etc/new; mkdir -p /a/b/c; touch /a/b/c/d; chmod 0 /a/b/c /a/b /a; chmod 500 /; cat /etc/new; cat /.bundler';
    const ran = await site.run(image, { command: ['sh', '-ec', script] });
    expect(ran).toMatchObject({ status: 0, stdout: 'x\nfrom the image\n' });
    await site.endsWith();
  });

  needing('stays as long as a background process of the container, and no longer', async () => {
    const site = new Site();
    const script =
      'setsid sh -c "while [ ! -e /stop ]; do sleep 0.05; done; cat /etc/hosts > /seen; sleep 0.3" >/dev/null 2>&1 </dev/null & echo left';
    expect(await site.run(image, { command: ['sh', '-c', script] })).toMatchObject({ stdout: 'left\n' });
    const root = path.join(site.place, site.names()[0] ?? '', 'root');
    expect(existsSync(path.join(root, 'etc/hosts'))).toBe(true);
    writeFileSync(path.join(root, 'stop'), '');
    await until(
      () => existsSync(path.join(root, 'seen')),
      () => 'the background process saw nothing',
    );
    await site.endsWith();
  });

  needing(
    'is gone after kill -9 of the command, at any moment',
    async () => {
      const site = new Site();
      for (let delayMs = 0; delayMs < 400; delayMs += 25) {
        const running = site.start(large, { command: ['sleep', '100'] });
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        running.child.kill('SIGKILL');
        await running.end();
        await untilAllEnded(site.user);
        expect(site.names(), `after ${delayMs} ms`).toEqual([]);
      }
    },
    120_000,
  );

  needing('is gone after Ctrl-C during the unpacking', async () => {
    const site = new Site();
    const running = site.start(large, {}, { detached: true });
    await until(
      () => site.names().length > 0,
      () => 'nothing is unpacked',
    );
    process.kill(-running.pid, 'SIGINT');
    expect((await running.end()).signal).toBe('SIGINT');
    await site.endsWith();
  });

  needing('is swept by the next start after everything was killed at once, and a live one is spared', async () => {
    const site = new Site();
    await site.leaveKilled(image);
    const [dead = ''] = site.names();
    expect(dead).toMatch(/^extract-/);
    const live = await site.startUp(image, 'read x');
    expect(site.names().length).toBe(1);
    expect(site.names()).not.toContain(dead);
    expect(await site.sweep()).toMatchObject({ status: 0, stderr: '' });
    expect(site.names().length).toBe(1);
    await live.end('\n');
    await site.endsWith();
  });

  needing('is spared by the sweep when only its janitor was killed, until the container ends', async () => {
    const site = new Site();
    const running = await site.startUp(image, 'read x; cat /etc/hosts');
    const janitor = listProcesses(site.user).find(({ pid }) =>
      readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('bundler-janitor'),
    );
    expect(janitor).toBeDefined();
    process.kill(janitor?.pid ?? Number.NaN, 'SIGKILL');
    await site.sweep();
    expect(site.names().length).toBe(1);
    expect(await running.end('\n')).toMatchObject({ status: 0, stdout: 'up\n127.0.0.1 image\n' });
    await untilAllEnded(site.user);
    expect(site.names().length).toBe(1);
    await site.sweep();
    await site.endsWith();
  });

  needing('a janitor without inotify watches through /proc', async () => {
    const site = new Site();
    // the user's inotify instances are used up (fs.inotify.max_user_instances)
    const fill =
      'import ctypes,sys\nc=ctypes.CDLL(None)\nwhile c.inotify_init()>=0: pass\nprint("full",flush=True)\nsys.stdin.read()';
    const holder = start(['python3', '-c', fill], { user: site.user });
    await holder.see(/full/);
    const script = 'setsid sh -c "while [ ! -e /stop ]; do sleep 0.05; done" >/dev/null 2>&1 </dev/null & echo left';
    expect(await site.run(image, { command: ['sh', '-c', script] })).toMatchObject({ stdout: 'left\n' });
    await new Promise((resolve) => setTimeout(resolve, 700));
    const root = path.join(site.place, site.names()[0] ?? '', 'root');
    expect(existsSync(path.join(root, 'etc/hosts'))).toBe(true);
    writeFileSync(path.join(root, 'stop'), '');
    await until(
      () => site.names().length === 0,
      () => site.names().join(),
    );
    await holder.end();
    await untilAllEnded(site.user);
  });

  needing(
    'a hundred at once work and leave nothing',
    async () => {
      const site = new Site();
      const numbers = Array.from({ length: 100 }, (_, i) => String(i));
      const ran = await Promise.all(numbers.map((number) => site.run(image, { command: ['echo', number] })));
      expect(ran.map(({ stdout }) => stdout)).toEqual(numbers.map((number) => `${number}\n`));
      await site.endsWith();
    },
    120_000,
  );

  needing('says how much room is missing, before it unpacks', async () => {
    const site = new Site();
    const flags = ['--uid', String(site.user.uid), '--host-root', '--tmpfs', '/mnt=size=16m,mode=1777', '--'];
    const plan = writePlan(site.plan(large, { place: '/mnt/bundler' }));
    const ran = await new Running([compileProgram('bare-host'), ...flags, planRun(), plan], {
      env: { PATH: '/usr/bin' },
    }).end();
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(
      /unpack the image in \/mnt\/bundler: it needs [67]\d\.\d MB, and 16\.\d MB are free: No space left on device\n {2}try: /,
    );
  });

  needing('into memory leaves nothing on any disk and no janitor', async () => {
    const site = new Site();
    const running = await site.startUp(image, 'read x; cat /etc/hosts', { driver: 'memory' });
    expect(listProcesses(site.user).length).toBe(1);
    expect((await running.end('\n')).stdout).toBe('up\n127.0.0.1 image\n');
    await site.endsWith();
  });
});

describe('a start of any kind', () => {
  needing('sweeps the directories of ours', async () => {
    const site = new Site();
    await site.leaveKilled(image);
    expect(site.names()).toEqual([expect.stringMatching(/^extract-/)]);
    const options = { user: site.user, env: { BUNDLER_CACHE_DIR: site.place } };
    expect(await runPlan([done], options)).toMatchObject({ status: 0, stdout: 'done\n' });
    await site.endsWith();
  });
});

describe('an extraction into a target', () => {
  const name = 'my target';
  const setUp = () => {
    const site = new Site();
    return { site, target: path.join(site.place, name) };
  };

  needing('that is kept is complete, marked, private, and stays', async () => {
    const { site, target } = setUp();
    const ran = await site.run(image, { target, flags: kept, command: ['touch', '/etc/by-the-run'] });
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    await site.endsWith(name);
    expect(statSync(target).mode & 0o777).toBe(0o700);
    expect(readFileSync(path.join(target, '.bundler'), 'utf8')).toBe('bundler 1\ndigest d1\nkeep\n');
    expect(existsSync(path.join(target, 'etc/by-the-run'))).toBe(true);
  });

  needing('that is kept is used again with the same digest, and refused with another, naming both', async () => {
    const { site, target } = setUp();
    const shape = { target, flags: kept };
    await site.run(image, { ...shape, command: ['sh', '-c', 'echo mine > /etc/own'] });
    const inode = statSync(target).ino;
    const second = await site.run(image, { ...shape, command: ['cat', '/etc/own'] });
    expect(second).toMatchObject({ status: 0, stdout: 'mine\n' });
    expect(statSync(target).ino).toBe(inode);
    const other = await site.run(image, { ...shape, digest: 'd2' });
    expect(other.status).toBe(125);
    expect(other.stderr).toMatch(/holds another image \(digest d1, and this one's is d2\)/);
    const again = await site.run(image, { ...shape, flags: keep | quiet });
    expect(again).toMatchObject({ status: 125, stderr: expect.stringMatching(/File exists\n {2}try: .*--keep/) });
    await untilAllEnded(site.user);
    expect(readFileSync(path.join(target, 'etc/own'), 'utf8')).toBe('mine\n');
  });

  needing('that is not kept is removed at the end', async () => {
    const { site, target } = setUp();
    const running = await site.startUp(image, 'read x', { target });
    expect(site.names()).toEqual([name]);
    const second = await site.run(image, { target, flags: kept });
    expect(second).toMatchObject({ status: 125, stderr: expect.stringContaining('another run uses it') });
    await running.end('\n');
    await site.endsWith();
  });

  needing('that a killed run left is taken over by the next with the same target', async () => {
    const { site, target } = setUp();
    await site.leaveKilled(image, { target });
    expect(site.names()).toEqual([name]);
    expect(await site.run(image, { target })).toMatchObject({ status: 0, stderr: '' });
    await site.endsWith();
  });

  needing('never touches what somebody else made: a directory, an empty one, a file, a symlink', async () => {
    const site = new Site();
    const inPlace = (last: string) => path.join(site.place, last);
    const elsewhere = makeDir(site.user, 'elsewhere');
    writeFileSync(path.join(elsewhere, 'precious'), 'x');
    mkdirSync(inPlace('empty'));
    writeFileSync(inPlace('file'), 'x');
    symlinkSync(elsewhere, inPlace('link'));
    symlinkSync('nowhere', inPlace('dangling'));
    const others = ['dangling', 'empty', 'file', 'link'];
    for (const target of [elsewhere, `${elsewhere}/`, ...others.map(inPlace)]) {
      for (const flags of [quiet, kept]) {
        const ran = await site.run(image, { target, flags, end: done });
        expect(ran.status, target).toBe(125);
        expect(ran.stderr).toMatch(
          /unpack into .*: it exists and .*\n {2}try: name a directory that does not exist yet/,
        );
      }
    }
    await site.endsWith(...others);
    expect(readdirSync(elsewhere)).toEqual(['precious']);
    expect(lstatSync(inPlace('link')).isSymbolicLink()).toBe(true);
  });

  needing('in a directory that is missing or may not be written is refused, with what to do', async () => {
    const site = new Site();
    const into = (target: string) => site.run(image, { target, end: done });
    expect(await into(`${site.place}/none/x`)).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(/No such file or directory\n {2}try: .*mkdir -p/),
    });
    expect(await into('/usr/target-of-a-test')).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(/\/usr\/target-of-a-test: Permission denied\n {2}try: /),
    });
    for (const target of ['/', '.', '..', `${site.place}/..`]) expect((await into(target)).status, target).toBe(125);
  });

  needing('that is interrupted leaves nothing under the final name, and the next start clears the rest', async () => {
    const { site, target } = setUp();
    const shape = { target, flags: kept, end: done };
    for (let round = 0; round < 5; round += 1) {
      const earlier = site.names();
      const running = site.start(large, shape);
      await until(
        () => site.names().some((one) => one.includes('.partial-') && !earlier.includes(one)),
        () => 'nothing is unpacked',
      );
      site.killAll();
      await running.end();
      await untilAllEnded(site.user);
      expect(existsSync(target)).toBe(false);
      expect(site.names().filter((one) => one.startsWith(`${name}.partial-`)).length).toBe(1);
    }
    expect(await site.run(large, shape)).toMatchObject({ status: 0, stdout: 'done\n', stderr: '' });
    await site.endsWith(name);
    expect(readdirSync(path.join(target, 'var')).length).toBe(3000);
  });

  needing(
    'by many runs at once is unpacked and all use it',
    async () => {
      const { site, target } = setUp();
      const shape = { target, flags: kept, command: ['sh', '-c', 'ls /var | wc -l'] };
      const ran = await Promise.all(Array.from({ length: 20 }, () => site.run(large, shape)));
      expect(ran.map(({ stdout, stderr }) => stdout + stderr)).toEqual(ran.map(() => '3000\n'));
      await site.endsWith(name);
    },
    120_000,
  );

  needing('shows no progress unless stderr is a terminal, and then only without quiet', async () => {
    const site = new Site();
    const run = (flags: number, ...before: string[]) =>
      site.run(large, { flags, inside: [bindProc, bindDev] }, { before });
    const terminal = compileProgram('pty-run');
    expect((await run(0)).stderr).toBe('');
    expect((await run(0, terminal)).stdout).toMatch(/unpacking \[#* *\] \d+ of \d+ MB/);
    expect((await run(quiet, terminal)).stdout).not.toContain('unpacking');
    await site.endsWith();
  });
});
