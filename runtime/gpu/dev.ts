// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { Bytes } from '../../src/format/bytes.ts';
import type { Op } from '../../src/format/plan.ts';
import { type FstabEntry, toMountOp } from '../fstab.ts';
import type { Observer } from '../observer.ts';

/** One name of the host's /dev. target: a symlink's text. */
export interface DevEntry {
  readonly path: Bytes;
  readonly kind: 'dir' | 'link' | 'node';
  readonly target: Bytes;
}

/** Directories of /dev in which some nodes may be hidden and others not. */
const divided = [
  '/dev/dri',
  '/dev/dri/by-path',
  '/dev/nvidia-caps',
  '/dev/nvidia-caps-imex-channels',
  '/dev/infiniband',
];
/** Consoles of the host and their memory: nothing for a container, and there are more than a hundred. */
const consoles = /^\/dev\/(tty\d+|vcs[au]?\d*)$/;

/** Everything in the host's /dev, and in those directories of it that may have to be divided. */
export function readDev(observer: Observer): DevEntry[] {
  const read = (dir: Bytes): DevEntry[] =>
    observer.listKinds(dir).flatMap(({ name, kind }) => {
      const path = `${dir}/${name}`;
      const target = kind === 'link' ? (observer.readLink(path) ?? '') : '';
      return [{ path, kind, target }, ...(kind === 'dir' && divided.includes(path) ? read(path) : [])];
    });
  return read('/dev');
}

/**
 * A /dev like the host's without some nodes, in place of the host's own: a tmpfs on which everything else is mounted. Nothing can be removed from
 * the host's, and what covers a node would still be there to be seen. Links to hidden nodes are left out.
 */
export function hideDevices(hidden: readonly Bytes[], dev: readonly DevEntry[], cwd: Bytes): Op[] {
  const isHidden = ({ path, kind, target }: DevEntry): boolean =>
    hidden.includes(path) || (kind === 'link' && hidden.includes(posix.resolve(posix.dirname(path), target)));
  const isDivided = (path: Bytes) => hidden.some((one) => one.startsWith(`${path}/`)) && divided.includes(path);
  const kept = dev.filter((entry) => !isHidden(entry) && !consoles.test(entry.path));
  const ops: Op[] = [mount('none', '/dev', ['x-detach', 'nofail', 'silent'], cwd), tmpfs('/dev', cwd)];
  for (const { path, kind, target } of kept) {
    const dir = posix.dirname(path);
    if (dir !== '/dev' && !isDivided(dir)) continue;
    if (kind === 'link') ops.push({ op: 'symlink', path, target });
    else if (isDivided(path)) ops.push({ op: 'mkdir', path, mode: 0o755 });
    else ops.push(showNode(path, kind, cwd));
  }
  return ops;
}

/** Device nodes on a /dev that has not all of the host's. */
export function showDevices(devices: readonly Bytes[], cwd: Bytes): Op[] {
  return devices.map((path) => showNode(path, 'node', cwd));
}

function showNode(path: Bytes, kind: 'dir' | 'node', cwd: Bytes): Op {
  const options =
    kind === 'dir'
      ? ['x-create=dir', 'rbind', 'rw', 'nosuid', 'noexec', 'rslave', 'nofail', 'silent']
      : ['x-create=file', 'bind', 'rw', 'nosuid', 'noexec', 'private', 'nofail', 'silent'];
  return mount(path, path, options, cwd);
}

function tmpfs(path: Bytes, cwd: Bytes): Op {
  const options = ['x-create=dir', 'rw', 'nosuid', 'noexec', 'mode=755', 'slave'];
  return toMountOp({ source: 'tmpfs', target: path, type: 'tmpfs', options, pass: 0 }, cwd);
}

function mount(source: Bytes, target: Bytes, options: FstabEntry['options'], cwd: Bytes): Op {
  return toMountOp({ source, target, type: '', options, pass: 0 }, cwd);
}
