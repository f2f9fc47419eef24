// SPDX-License-Identifier: Apache-2.0
import { copyFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { extractFlags, type Op, type Plan } from '../../src/format/plan.ts';
import { testNeeding } from '../support/features.ts';
import { compileProgram } from '../support/programs.ts';
import { type Ran, Running, run, runBare } from '../support/run.ts';
import { freshUser, makeDir, ordinaryUser } from '../support/session.ts';
import { listMounts, untilAllEnded } from '../support/snapshot.ts';
import { untouched } from '../support/untouched.ts';
import {
  bindDev,
  bindProc,
  type Image,
  makeBusyboxImage,
  mount,
  planFor,
  planRun,
  runPlan,
  type Shape,
  writePlan,
} from './plan-rig.ts';
import { makeImage } from './serve-rig.ts';

const needing = testNeeding('root', 'userns', 'fuse', 'mksquashfs', 'busybox');
const overlay: Op = { op: 'overlay', upper: '', work: '', sizeBytes: 0 };
let image: Image;

beforeAll(() => {
  image = makeBusyboxImage();
});

/** The image by its place in a bare host. */
const there = (): Image => ({ ...image, file: '/image' });

function onBareHost(plan: Plan, flags: readonly string[] = []): Promise<Ran> {
  return runBare([planRun(), '/plan'], {
    files: { '/plan': writePlan(plan), '/image': image.file },
    flags,
    home: 'none',
  });
}

/** On the machine's own root, but with something denied. */
function denied(plan: Plan, ...names: string[]): Promise<Ran> {
  const flags = names.flatMap((name) => ['--deny', name]);
  return new Running([compileProgram('bare-host'), '--host-root', ...flags, '--', planRun(), writePlan(plan)], {
    env: { PATH: '/usr/bin:/bin' },
  }).end();
}

const script =
  'cat /etc/hosts; test -r /proc/self/status; test -c /dev/null; test ! -e /image; test ! -e /plan; cut -d" " -f5 /proc/self/mountinfo | grep -cx /';

describe('on a bare host', () => {
  const drivers: [string, Shape][] = [
    ['fuse', {}],
    ['fuse with an overlay', { inside: [overlay, bindProc, bindDev] }],
    ['memory', { driver: 'memory' }],
  ];
  for (const [name, shape] of drivers) {
    needing(`that has /tmp: ${name}`, async () => {
      const ran = await onBareHost(planFor(there(), { ...shape, command: ['sh', '-ec', script] }));
      expect(ran).toMatchObject({ status: 0, stdout: '127.0.0.1 image\n1\n', stderr: '' });
    });

    needing(`that has nothing but /proc and /dev, read-only: ${name}`, async () => {
      const ran = await onBareHost(planFor(there(), { ...shape, command: ['sh', '-ec', script] }), [
        '--no-tmp',
        '--read-only',
      ]);
      expect(ran).toMatchObject({ status: 0, stdout: '127.0.0.1 image\n1\n', stderr: '' });
    });
  }
});

describe('without openat2', () => {
  needing('paths are resolved by a walk, with the same results', async () => {
    const inside: Op[] = [
      overlay,
      bindProc,
      bindDev,
      { op: 'symlink', path: '/a/link', target: '../../../b/./' },
      { op: 'symlink', path: '/b', target: '/c' },
      { op: 'mkdir', path: '/c', mode: 0o755 },
      { op: 'file', path: '/a/link/file', mode: 0o644, content: 'content\n' },
      mount({ source: 'x', target: '/a/../a/link/deep/', type: 'tmpfs', options: 1 }),
      { op: 'symlink', path: '/loop', target: 'loop' },
      mount({ source: 'x', target: '/loop/x', type: 'tmpfs', options: 1 | 8 }),
    ];
    const plan = planFor(image, {
      inside,
      command: ['sh', '-ec', 'cat /c/file; grep -c " /c/deep " /proc/self/mountinfo; test ! -e /a/file'],
    });
    const [plain, without] = [await runPlan(plan), await denied(plan, 'openat2')];
    expect(plain).toMatchObject({ status: 0, stdout: 'content\n1\n' });
    expect(plain.stderr).toContain('/loop/x in the root filesystem: Too many levels of symbolic links');
    expect(without).toMatchObject({ status: 0, stdout: plain.stdout, stderr: plain.stderr });
  });
});

describe('what a host forbids is named, with the cure', () => {
  needing('user namespaces, by a seccomp filter', async () => {
    expect(await denied(planFor(image), 'userns')).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(
        /create a user namespace: Operation not permitted\n {2}try: user namespaces are forbidden here/,
      ),
    });
  });

  needing('user namespaces, by their number', async () => {
    const ran = await new Running(
      [compileProgram('bare-host'), '--host-root', '--no-userns', '--', planRun(), writePlan(planFor(image))],
      { env: { PATH: '/usr/bin' } },
    ).end();
    expect(ran).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(/No space left on device\n {2}try: .*user\.max_user_namespaces/),
    });
  });

  needing('user namespaces, by a chroot', async () => {
    expect(await onBareHost(planFor(there()), ['--chroot'])).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(/create a user namespace: .*\n {2}try: .*chroot/),
    });
  });

  needing('mounts, by a seccomp filter', async () => {
    const ran = await denied(planFor(image, { driver: 'memory' }), 'mount');
    expect(ran).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(/Operation not permitted\n {2}try: .*seccomp/),
    });
  });

  needing('/dev/fuse', async () => {
    expect(await onBareHost(planFor(there()), ['--no-fuse'])).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(/open \/dev\/fuse: No such file or directory\n {2}try: /),
    });
  });
});

describe("the kernel's own squashfs, as real root", () => {
  const root = { uid: 0, home: '/root' };
  const plan = (
    file: string,
    offset: number,
    sizeBytes: number,
    inside: Plan = [bindProc, bindDev],
    command = ['sh', '-ec', 'cat /etc/hosts; id -u; awk \'$5 == "/" { print $6, $(NF-2) }\' /proc/self/mountinfo'],
  ): Plan => [
    { op: 'unshare', flags: 1 },
    { op: 'root', driver: 3, file, offset, sizeBytes, flags: 1 },
    ...inside,
    { op: 'pivot' },
    { op: 'env', vars: ['PATH=/bin'] },
    { op: 'exec', argv: command, search: '/bin' },
  ];
  const asRoot = (ops: Plan) => run([planRun(), writePlan(ops)], { user: root });
  const loops = (file: string) =>
    readdirSync('/sys/block').filter((name) => {
      const backing = `/sys/block/${name}/loop/backing_file`;
      return existsSync(backing) && readFileSync(backing, 'utf8').trim() === file;
    });

  needing('mounts the image at an offset of a file, and frees the loop device at the end', async () => {
    const file = `${image.file}.run`;
    writeFileSync(file, Buffer.concat([Buffer.alloc(8192, 1), readFileSync(image.file), Buffer.alloc(4096, 2)]));
    const mounts = listMounts();
    const ran = await asRoot(plan(file, 8192, image.sizeBytes));
    expect(ran).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^127\.0\.0\.1 image\n0\nro,nosuid,nodev,\S+ squashfs\n$/),
      stderr: '',
    });
    expect(loops(file)).toEqual([]);
    expect(listMounts()).toEqual(mounts);
  });

  needing('carries an overlay and injected files', async () => {
    const inside: Op[] = [
      overlay,
      bindProc,
      bindDev,
      { op: 'inject', path: '/etc/hosts', mode: 0o644, content: 'injected\n' },
    ];
    expect(
      await asRoot(
        plan(image.file, 0, image.sizeBytes, inside, [
          'sh',
          '-ec',
          'cat /etc/hosts; rm -r /etc/passwd /usr; ls / | grep -c usr || true',
        ]),
      ),
    ).toMatchObject({ status: 0, stdout: 'injected\n0\n', stderr: '' });
  });

  needing('refuses what is not a squashfs image', async () => {
    expect(await asRoot(plan('/bin/busybox', 0, 1 << 16))).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(/mount the image on \/dev\/loop\d+: /),
    });
  });

  needing('and an extraction keeps the owners of the image', async () => {
    const place = makeDir(root, 'place');
    const owned = makeBusyboxImage();
    makeImage(owned.root, owned.file, '-force-uid', '1234', '-force-gid', '77');
    const ops = planFor(
      { ...owned, sizeBytes: statSync(owned.file).size },
      {
        user: root,
        driver: 'extract',
        place,
        flags: extractFlags.quiet,
        command: ['stat', '-c', '%u %g', '/etc/hosts', '/bin'],
      },
    );
    expect(await run([planRun(), writePlan(ops)], { user: root })).toMatchObject({
      status: 0,
      stdout: '1234 77\n1234 77\n',
    });
  });
});

interface Peek {
  readonly descriptors: Record<string, { inode: number; lock: string }>;
  readonly [key: string]: unknown;
}

describe('the command sees what a plainly started one sees', () => {
  const same = [...untouched, 'foreground'] as const;
  const shapes: [string, Shape][] = [
    ['by fuse', {}],
    [
      'by fuse with an overlay and an injected file',
      { inside: [overlay, bindProc, bindDev, { op: 'inject', path: '/etc/hosts', mode: 0o644, content: 'x' }] },
    ],
    ['unpacked to disk', { driver: 'extract', flags: extractFlags.quiet }],
    ['unpacked to memory', { driver: 'memory', flags: extractFlags.quiet }],
  ];
  const peek = (ran: Ran): Peek => {
    expect(ran.status, ran.stderr).toBe(0);
    return JSON.parse(ran.stdout) as Peek;
  };
  const pick = (seen: Peek) => Object.fromEntries(same.map((key) => [key, seen[key]]));

  for (const [name, shape] of shapes) {
    needing(`descriptors 0 to 300, locks, limits, umask, nice, affinity, signals: ${name}`, async () => {
      const user = ordinaryUser();
      const dir = makeDir(user, 'stage');
      const plain = path.join(makeDir(user, 'plain'), 'peek');
      copyFileSync(compileProgram('peek'), plain);
      const stage = [compileProgram('stage'), dir, '--'];
      const expected = peek(await run([...stage, plain], { user }));
      const actual = peek(
        await runPlan(planFor(image, { ...shape, user, place: makeDir(user, 'place'), command: ['peek'] }), {
          user,
          before: stage,
        }),
      );
      expect(pick(actual)).toEqual(pick(expected));
      expect(Object.keys(actual.descriptors)).toEqual(Object.keys(expected.descriptors));
      expect(Object.keys(expected.descriptors).length).toBeGreaterThan(300);
      for (const fd of ['3', '7', '8', '299']) expect(actual.descriptors[fd]).toEqual(expected.descriptors[fd]);
    });

    needing(`no child, although it adopts orphans: ${name}`, async () => {
      const user = freshUser();
      const adopt = [
        'python3',
        '-c',
        'import ctypes,os,sys\nctypes.CDLL(None).prctl(36,1,0,0,0)\nos.execv(sys.argv[1],sys.argv[1:])',
      ];
      const seen = peek(
        await runPlan(planFor(image, { ...shape, user, place: makeDir(user, 'place'), command: ['peek'] }), {
          user,
          before: adopt,
        }),
      );
      // the file server is forked by serve_start, whose own business this is
      if (shape.driver) expect(seen['children']).toBe('none');
      expect(String(seen['subreaper'])).toMatch(/1|true/);
      await untilAllEnded(user);
    });
  }
});
