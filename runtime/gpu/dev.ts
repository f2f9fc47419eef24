// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { Bytes } from '../../src/format/bytes.ts';
import type { Op } from '../../src/format/plan.ts';
import { type FstabEntry, toMountOp } from '../fstab.ts';
import type { Entry, Observer } from '../observer.ts';

/** The host's /dev. */
export interface DevFacts {
  readonly entries: readonly DevEntry[];
  /** May the caller make pseudo-terminals by /dev/pts/ptmx? Many hosts have it closed, and a device /dev/ptmx besides. */
  readonly hasOpenPtmx: boolean;
}

/** One name of the host's /dev. target: a symlink's text. usable: a node that the caller may open, where that was looked at. */
export interface DevEntry {
  readonly path: Bytes;
  readonly kind: 'dir' | 'link' | 'node';
  readonly target: Bytes;
  readonly usable: boolean;
}

/** Directories of /dev in which some nodes may be hidden and others not. */
const divided = [
  '/dev/accel',
  '/dev/dri',
  '/dev/dri/by-path',
  '/dev/nvidia-caps',
  '/dev/nvidia-caps-imex-channels',
  '/dev/infiniband',
];
/** Consoles of the host and their memory: nothing for a container, and there are more than a hundred. */
const consoles = /^\/dev\/(tty\d+|vcs[au]?\d*)$/;

/** Everything in the host's /dev, whose names are `listed`, and in those directories of it that may have to be divided. mayHide: look which nodes the caller may open. */
export function readDev(observer: Observer, listed: readonly Entry[], mayHide: boolean): DevFacts {
  const read = (dir: Bytes, names: readonly Entry[]): DevEntry[] =>
    names.flatMap(({ name, kind }) => {
      const path = `${dir}/${name}`;
      const target = kind === 'link' ? (observer.readLink(path) ?? '') : '';
      const usable = kind !== 'node' || !mayHide || consoles.test(path) || observer.mayOpen(path);
      const below = kind === 'dir' && divided.includes(path) ? read(path, observer.listKinds(path)) : [];
      return [{ path, kind, target, usable }, ...below];
    });
  return { entries: read('/dev', listed), hasOpenPtmx: mayHide && observer.access('/dev/pts/ptmx') === 'ok' };
}

/**
 * A /dev like the host's without some nodes, in place of the host's own: a tmpfs on which everything else is mounted that the caller may open. Nothing can
 * be removed from the host's, and what covers a node would still be there to be seen. Links to hidden nodes are left out. isPlain: by proot.
 */
export function hideDevices(
  hidden: readonly Bytes[],
  { entries, hasOpenPtmx }: DevFacts,
  isPlain: boolean,
  cwd: Bytes,
): Op[] {
  const leadsToHidden = ({ path, kind, target }: DevEntry): boolean =>
    kind === 'link' && hidden.includes(posix.resolve(posix.dirname(path), target));
  // Also a directory that was not read: then what else is in it is hidden, too.
  const partly = new Set([...hidden, ...entries.filter(leadsToHidden).map(({ path }) => path)].flatMap(listParents));
  const ops: Op[] = [mount('none', '/dev', ['x-detach', 'nofail', 'silent'], cwd), tmpfs('/dev', cwd)];
  for (const entry of entries) {
    const { path, kind, target } = entry;
    const dir = posix.dirname(path);
    if (hidden.includes(path) || leadsToHidden(entry) || consoles.test(path) || !entry.usable) continue;
    if ((dir !== '/dev' && !partly.has(dir)) || path === '/dev/ptmx' || path === '/dev/pts') continue;
    if (kind === 'link') ops.push({ op: 'symlink', path, target });
    else if (partly.has(path)) ops.push({ op: 'mkdir', path, mode: 0o755 });
    else ops.push(showNode(path, kind, cwd));
  }
  return [...ops, ...planTerminals(hasOpenPtmx, isPlain, cwd)];
}

/** The kernel looks for a pseudo-terminal's file system beside the device /dev/ptmx (devpts.rst), which a mount of the device alone does not have. */
function planTerminals(hasOpenPtmx: boolean, isPlain: boolean, cwd: Bytes): Op[] {
  // proot shows the host's own path.
  if (isPlain) return [showNode('/dev/pts', 'dir', cwd), showNode('/dev/ptmx', 'node', cwd)];
  const options = ['x-create=dir', 'rw', 'nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=620', 'slave'];
  const own = toMountOp({ source: 'devpts', target: '/dev/pts', type: 'devpts', options, pass: 0 }, cwd);
  return [
    hasOpenPtmx ? showNode('/dev/pts', 'dir', cwd) : own,
    { op: 'symlink', path: '/dev/ptmx', target: 'pts/ptmx' },
  ];
}

/** The directories below /dev that a path of it is in. */
function listParents(path: Bytes): Bytes[] {
  const dir = posix.dirname(path);
  return dir === '/dev' || dir === '/' ? [] : [dir, ...listParents(dir)];
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
