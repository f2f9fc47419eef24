// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type Op, type Plan, superviseFlags, unshareFlags } from '../../src/format/plan.ts';
import { encodePlan } from '../../src/format/wire.ts';
import { compileProgram } from '../support/programs.ts';
import { type Ran, type Running, type RunOptions, start } from '../support/run.ts';
import { ordinaryUser, type User } from '../support/session.ts';
import { compileNative } from './compile.ts';
import { makeImage, scratch } from './serve-rig.ts';

/** The program that obeys a plan. */
export const planRun = (): string => compileNative('plan-run');

/** A busybox root with the mountpoints of a usual image, and what shape() adds. */
export function makeRoot(shape: (root: string) => void = () => {}): string {
  const root = path.join(scratch('plan-root'), 'root');
  for (const dir of ['bin', 'etc', 'proc', 'sys', 'dev', 'tmp', 'usr/bin', 'var', 'root'])
    mkdirSync(path.join(root, dir), { recursive: true });
  chmodSync(root, 0o755);
  cpSync('/bin/busybox', path.join(root, 'bin/busybox'));
  for (const name of execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).trim().split('\n')) {
    if (name !== 'busybox') symlinkSync('busybox', path.join(root, 'bin', name));
  }
  cpSync(compileProgram('peek'), path.join(root, 'bin/peek'));
  writeFileSync(path.join(root, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\n');
  writeFileSync(path.join(root, 'etc/hosts'), '127.0.0.1 image\n');
  shape(root);
  return root;
}

export interface Image {
  readonly root: string;
  readonly file: string;
  readonly sizeBytes: number;
}

export function makeBusyboxImage(shape?: (root: string) => void): Image {
  compileNative('plan-run'); // compiled here, where a beforeAll has the time for it
  const root = makeRoot(shape);
  const file = makeImage(root, `${root}.sqsh`, '-comp', 'zstd', '-Xcompression-level', '1', '-all-root');
  return { root, file, sizeBytes: statSync(file).size };
}

export const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  REMOUNT: 32,
  NOATIME: 1024,
  BIND: 4096,
  REC: 16384,
  PRIVATE: 1 << 18,
  SLAVE: 1 << 19,
} as const;

type MountFields = Partial<Omit<Extract<Op, { op: 'mount' }>, 'op'>> & { target: string };

export function mount(fields: MountFields): Op {
  return { op: 'mount', source: 'none', type: '', msFlags: 0, propagation: 0, data: '', options: 0, ...fields };
}

export const bindProc = mount({
  source: '/proc',
  target: '/proc',
  msFlags: MS.BIND | MS.REC | MS.NOSUID | MS.NODEV | MS.NOEXEC,
  propagation: MS.SLAVE | MS.REC,
});
export const bindDev = mount({
  source: '/dev',
  target: '/dev',
  msFlags: MS.BIND | MS.REC | MS.NOSUID | MS.NOEXEC,
  propagation: MS.SLAVE | MS.REC,
});

export const path0 = '/bin:/usr/bin';

export interface Shape {
  readonly user?: User;
  readonly driver?: 'fuse' | 'directory' | 'extract' | 'memory';
  readonly readonly?: boolean;
  readonly entries?: Plan;
  readonly place?: string;
  readonly target?: string;
  readonly digest?: string;
  readonly flags?: number;
  /** uid inside; the user's own unless given. */
  readonly uid?: number;
  readonly unshare?: number;
  /** A process namespace: the command is its process 1, or the child of our init. */
  readonly processes?: 'own' | 'init';
  /** What SIGTERM reaches the command as; 0: itself. */
  readonly termSignal?: number;
  /** Between root and pivot. */
  readonly inside?: Plan;
  /** Between pivot and exec. */
  readonly after?: Plan;
  readonly command?: readonly string[];
  readonly search?: string;
  /** Instead of exec. */
  readonly end?: Op;
}

function source(image: Image, shape: Shape): Op[] {
  const from = { file: image.file, offset: 0, sizeBytes: image.sizeBytes };
  switch (shape.driver ?? 'fuse') {
    case 'fuse': {
      const user = shape.user ?? ordinaryUser();
      return [
        ...(shape.entries ?? []),
        {
          op: 'serve',
          ...from,
          uid: shape.uid ?? user.uid,
          gid: shape.uid ?? user.uid,
          threads: 0,
          cacheBytes: 0,
          flags: 0,
        },
      ];
    }
    case 'directory':
      return [];
    default: {
      const place = shape.driver === 'memory' ? '' : (shape.place ?? '');
      return [
        {
          op: 'extract',
          ...from,
          place,
          target: shape.target ?? '',
          digest: shape.digest ?? 'd1',
          flags: shape.flags ?? 0,
        },
      ];
    }
  }
}

function supervision({ processes, termSignal = 0 }: Shape): Op[] {
  if (processes === undefined) return [];
  const flags = processes === 'init' ? superviseFlags.init : 0;
  return [
    { op: 'unshare', flags: unshareFlags.pid },
    { op: 'supervise', termSignal, flags },
  ];
}

/** A whole plan: the image by a driver, a user namespace, /proc and /dev, and a command. */
export function planFor(image: Image, shape: Shape = {}): Plan {
  const user = shape.user ?? ordinaryUser();
  const inside = shape.uid ?? user.uid;
  const driver = (shape.driver ?? 'fuse') === 'fuse' ? 1 : 2;
  const file = shape.driver === 'directory' ? image.root : '';
  return [
    ...source(image, shape),
    ...(user.uid === 0 && shape.uid === undefined
      ? []
      : [{ op: 'userns', insideUid: inside, insideGid: inside, outsideUid: user.uid, outsideGid: user.uid } as Op]),
    ...supervision(shape),
    { op: 'unshare', flags: shape.unshare ?? unshareFlags.mount },
    { op: 'root', driver, file, offset: 0, sizeBytes: 0, flags: shape.readonly ? 1 : 0 },
    ...(shape.inside ?? [bindProc, bindDev]),
    { op: 'pivot' },
    ...(shape.after ?? []),
    ...(shape.processes === 'init' ? [{ op: 'init' } as const] : []),
    { op: 'env', vars: ['PATH=/bin:/usr/bin', 'HOME=/root'] },
    shape.end ?? { op: 'exec', argv: shape.command ?? ['true'], search: shape.search ?? path0 },
  ];
}

let count = 0;

/** Writes a plan where any user may read it. */
export function writePlan(plan: Plan): string {
  count += 1;
  const file = path.join(scratch(`plan-${count}`), 'plan');
  chmodSync(path.dirname(file), 0o755);
  writeFileSync(file, encodePlan(plan));
  return file;
}

export interface PlanOptions extends RunOptions {
  /** A command line in front of it. */
  readonly before?: readonly string[];
}

export function startPlan(plan: Plan, options: PlanOptions = {}): Running {
  return start([...(options.before ?? []), compileNative('plan-run'), writePlan(plan)], options);
}

export function runPlan(plan: Plan, options: PlanOptions = {}): Promise<Ran> {
  return startPlan(plan, options).end(options.input);
}

/** A shell script in a container; fails with its messages unless it ends with 0. */
export async function shPlan(
  image: Image,
  script: string,
  shape: Shape = {},
  options: PlanOptions = {},
): Promise<string> {
  const user = shape.user ?? ordinaryUser();
  const ran = await runPlan(planFor(image, { ...shape, command: ['sh', '-ec', script] }), { user, ...options });
  if (ran.status !== 0) throw new Error(`exit status ${ran.status}: ${ran.stdout}\n${ran.stderr}`);
  return ran.stdout;
}
