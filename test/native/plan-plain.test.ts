// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import type { Op } from '../../src/format/plan.ts';
import { testNeeding } from '../support/features.ts';
import { run } from '../support/run.ts';
import { rootUser } from '../support/rungs.ts';
import { freshUser, makeDir, type User } from '../support/session.ts';
import { listProcesses, until, untilAllEnded } from '../support/snapshot.ts';
import { type Image, makeBusyboxImage, path0, runPlan, startPlan } from './plan-rig.ts';

const needing = testNeeding('root', 'mksquashfs', 'busybox');
let image: Image;

beforeAll(() => {
  image = makeBusyboxImage();
});

/** None where the directory is gone: the janitor removes it too, once it is empty, between any two looks. */
function listNames(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function extractInto(place: string): Op {
  const { file, sizeBytes } = image;
  return { op: 'extract', file, offset: 0, sizeBytes, place, target: '', digest: 'd', flags: 4 };
}

const tree: Op = { op: 'tree', directory: '' };
const inChroot = (user: User, place: string, script: string, ...more: Op[]): Parameters<typeof runPlan>[0] => [
  extractInto(place),
  tree,
  ...more,
  { op: 'chroot' },
  { op: 'noNewPrivs' },
  { op: 'env', vars: [`HOME=${user.home}`] },
  { op: 'exec', argv: ['/bin/sh', '-c', script], search: path0 },
];

describe('a plain directory as the root', () => {
  needing('chroot: the command is inside, as the process that was started, and the tree goes with it', async () => {
    const user = rootUser();
    const place = makeDir(user, 'place');
    const running = startPlan(inChroot(user, place, 'echo $$; ls /; pwd; read x'), { user });
    await running.see(/\/\n/);
    expect(running.shown).toMatch(new RegExp(`^${running.pid}\nbin\n`));
    expect(readdirSync(place)).toHaveLength(1);
    await running.end('\n');
    await until(
      () => listNames(place).length === 0,
      () => listNames(place).join(' '),
    );
  });

  needing('chroot: the tree stays while a background process has it as its root', async () => {
    const user = rootUser();
    const place = makeDir(user, 'place');
    const script = '(read x < /fifo; ls /bin/sh > /seen; sleep 1) > /dev/null 2>&1 & echo left';
    // A shell without job control gives its background processes this as their input.
    const device: Op = { op: 'node', path: '/dev/null' };
    const ran = await runPlan(inChroot(user, place, `mkfifo /fifo; ${script}`, device), { user });
    expect(ran, ran.stderr).toMatchObject({ status: 0, stdout: 'left\n' });
    const [nest = ''] = readdirSync(place);
    const seen = path.join(place, nest, 'root/seen');
    await run(['sh', '-c', 'echo go > "$0"', path.join(place, nest, 'root/fifo')], { user });
    await until(
      () => existsSync(seen) && readFileSync(seen, 'utf8') === '/bin/sh\n',
      () => 'nothing seen',
    );
    await until(
      () => readdirSync(path.dirname(place)).every((name) => name !== path.basename(place)),
      () => 'the tree stays',
    );
  });

  needing('copy takes a file of the host, replaces a symlink itself, and passes over what is not there', async () => {
    const user = freshUser();
    const target = path.join(makeDir(user, 'kept'), 'root');
    writeFileSync(`${user.home}/source`, 'from the host\n', { mode: 0o644 });
    const { file, sizeBytes } = image;
    const ran = await runPlan(
      [
        { op: 'extract', file, offset: 0, sizeBytes, place: '', target, digest: 'd', flags: 5 },
        tree,
        { op: 'symlink', path: '/etc/resolv.conf', target: '/etc/passwd' },
        { op: 'copy', source: `${user.home}/source`, path: '/etc/resolv.conf', mode: 0o640 },
        { op: 'copy', source: '/nowhere/at/all', path: '/etc/hosts', mode: 0o644 },
        { op: 'copy', source: '/dev/zero', path: '/etc/zero', mode: 0o644 },
        { op: 'exit', status: 0, stdout: '', stderr: '' },
      ],
      { user },
    );
    expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(`${target}/etc/resolv.conf`, 'utf8')).toBe('from the host\n');
    expect(statSync(`${target}/etc/resolv.conf`).mode & 0o777).toBe(0o640);
    expect(readFileSync(`${target}/etc/passwd`, 'utf8')).toContain('root:');
    expect(readFileSync(`${target}/etc/hosts`, 'utf8')).toBe('127.0.0.1 image\n');
    expect(readdirSync(`${target}/etc`)).not.toContain('zero');
    await untilAllEnded(user);
  });

  needing('node makes what the host has; where it may not, it says so and goes on', async () => {
    const user = freshUser();
    const place = makeDir(user, 'place');
    const device: Op = { op: 'node', path: '/dev/null' };
    const ran = await runPlan([extractInto(place), tree, device, { op: 'exit', status: 3, stdout: '', stderr: '' }], {
      user,
    });
    expect(ran).toMatchObject({
      status: 3,
      stderr: 'bundler: the container lacks /dev/null: Operation not permitted\n',
    });
    const root = rootUser();
    const script = 'echo x > /dev/null; ls -l /dev/null; ls -A /dev';
    const made = await runPlan(
      inChroot(root, makeDir(root, 'place'), script, device, { op: 'node', path: '/dev/nothing' }),
      { user: root },
    );
    expect(made, made.stderr).toMatchObject({ status: 0, stderr: '' });
    expect(made.stdout).toMatch(/^crw-rw-rw- .* 1, +3 .*\nnull\n$/);
  });

  needing('proot with a runtime that is not there: 125, with its path, and nothing stays', async () => {
    const user = freshUser();
    const place = makeDir(user, 'place');
    const proot: Op = {
      op: 'proot',
      runtime: '/nowhere',
      options: [],
      binds: [],
      argv: ['true'],
      search: path0,
      cwd: '',
      cwdFlags: 0,
    };
    const ran = await runPlan([extractInto(place), tree, { op: 'noNewPrivs' }, proot], { user });
    expect(ran).toMatchObject({ status: 125, stderr: 'bundler: start /nowhere/ld.so: No such file or directory\n' });
    await untilAllEnded(user);
    expect(listProcesses(user)).toEqual([]);
  });
});
