// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { Bytes } from '../../src/format/bytes.ts';
import { decodeOctal, type FstabEntry } from '../fstab.ts';
import type { BuiltInHook } from './hook.ts';

/**
 * /sys/fs/cgroup shows the container's own control group, read-only, as the root of each hierarchy: programs find the limits
 * that hold for them (memory.max, cpu.max) where they look. In a step of Slurm it is the step's, not the task's.
 */
export const cgroups: BuiltInHook = {
  name: '10-cgroups',
  byDefault: true,
  text: 'shows the own control group as /sys/fs/cgroup, read-only, in a cgroup namespace',
  add: ({ input: { host, request } }) => {
    const inStep = Boolean(request.env.SLURM_STEP_ID);
    const mounts = planCgroups(host.cgroup, host.cgroupMounts, inStep);
    return mounts.length === 0 ? {} : { mounts };
  },
};

const flags = ['nosuid', 'noexec', 'nodev', 'ro'];
/** A group that has gone, or that another namespace hides, is no reason not to start. */
const lenient = ['nofail', 'silent'];

/** own: /proc/self/cgroup (cgroups(7)); mounts: the lines of /proc/self/mountinfo (proc(5)) that hold cgroup file systems. */
export function planCgroups(own: Bytes, mounts: Bytes, inStep: boolean): FstabEntry[] {
  const hierarchies = mounts.split('\n').flatMap(readHierarchy);
  const entries = own.split('\n').flatMap((line): FstabEntry[] => {
    const [, controllers = '', path = ''] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (path === '' || path.split('/').includes('..')) return [];
    const found = hierarchies.find((one) => holds(one, controllers) && isBelow(path, one.root));
    if (found === undefined) return [];
    const inside = path.slice(found.root === '/' ? 0 : found.root.length);
    const shown = inStep ? posix.dirname(inside || '/') : inside;
    const source = `${found.place}${shown}`.replace(/\/+$/, '');
    return [
      { source, target: found.place, type: '', options: ['x-create=dir', 'rbind', ...flags, ...lenient], pass: 0 },
    ];
  });
  if (entries.length === 0) return [];
  const whole = ['rbind', 'remount', ...flags, 'rslave', ...lenient];
  return [...entries, { source: 'none', target: '/sys/fs/cgroup', type: '', options: whole, pass: 0 }];
}

interface Hierarchy {
  readonly type: string;
  /** The group that is shown at the mount point. */
  readonly root: Bytes;
  readonly place: Bytes;
  readonly options: readonly Bytes[];
}

function readHierarchy(line: Bytes): Hierarchy[] {
  const [left = '', right = ''] = line.split(' - ');
  const [, , , root, place] = left.split(' ');
  const [type, , options = ''] = right.split(' ');
  if (root === undefined || place === undefined || (type !== 'cgroup' && type !== 'cgroup2')) return [];
  return [{ type, root: decodeOctal(root), place: decodeOctal(place), options: options.split(',') }];
}

/** No controllers: the unified hierarchy. */
function holds({ type, options }: Hierarchy, controllers: Bytes): boolean {
  if (controllers === '') return type === 'cgroup2';
  return type === 'cgroup' && controllers.split(',').every((one) => options.includes(one));
}

function isBelow(path: Bytes, root: Bytes): boolean {
  return root === '/' || path === root || path.startsWith(`${root}/`);
}
