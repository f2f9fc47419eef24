// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { Bytes } from '../../src/format/bytes.ts';
import type { RootfsFacts } from '../../src/format/manifest.ts';
import type { Op } from '../../src/format/plan.ts';
import { toMountOp } from '../fstab.ts';
import type { Shown } from '../launch-input.ts';
import { type DevFacts, hideDevices, showDevices } from './dev.ts';
import type { DeviceRoot } from './device-plan.ts';
import type { Bind, Edits, Link, MadeFile } from './edits.ts';
import { cachePath, planLibraries } from './loader.ts';
import { bindLinks, isPrivate, moveToPrivate, privateDir } from './private-root.ts';

/** Of the container that edits are applied to. */
export interface Target {
  readonly rootfs: RootfsFacts | undefined;
  readonly machine: string;
  readonly cwd: Bytes;
  readonly root: DeviceRoot;
  /** The command may write to the root: files of ours in /etc would be in the way of ldconfig, which replaces them. */
  readonly isWritten: boolean;
  /** Nothing is mounted, proot shows files in places. */
  readonly isPlain: boolean;
  /** The caller is root, to whom read-only means something. */
  readonly isRoot: boolean;
  /** /dev is not the host's: it has only what was put there (ENROOT_RESTRICT_DEV, a site's own mounts). */
  readonly hasOwnDev: boolean;
  readonly dev: DevFacts;
  /** The container's environment. */
  readonly environ: ReadonlyMap<string, Bytes>;
}

/** What the plan gets: entries of the root, then operations in this order once the system's mounts are there. */
export interface Applied {
  readonly shown: readonly Shown[];
  readonly ops: readonly Op[];
  readonly environ: readonly Bytes[];
  readonly warnings: readonly Bytes[];
  /** For reports: everything that is put somewhere. */
  readonly binds: readonly Bind[];
  readonly links: readonly Link[];
  readonly files: readonly MadeFile[];
  readonly libraryDir: Bytes;
}

export function applyEdits(given: Edits, target: Target): Applied {
  const isServed = target.root === 'served';
  const { rootfs, machine, cwd, isPlain } = target;
  const edits = isServed ? given : withoutSettings(moveToPrivate(given));
  const loader = planLibraries(
    edits.libraries,
    edits.named,
    edits.libraryDirs,
    rootfs === undefined ? undefined : { debian: rootfs.debian, loader: rootfs.loader },
    machine,
    isServed ? 'root' : 'private',
  );
  // A kept root has a cache of its own, which may be newer than the image's.
  const leavesCache = target.root === 'kept' || (target.root === 'hooked' && target.isWritten);
  const files = [
    ...(leavesCache ? [] : loader.files.filter(({ path }) => isServed || path === cachePath)),
    ...edits.files,
  ];
  const asLinks = [...loader.links, ...edits.links];
  const placed = [...loader.binds, ...edits.binds];
  const [binds, links] = isPlain && !isServed ? [[...placed, ...bindLinks(placed, asLinks)], []] : [placed, asLinks];
  const places = [...binds.map((bind) => bind.target), ...links.map(({ path }) => path)];
  const usesPrivate = !isServed && places.some(isPrivate);
  const inRoot = (path: Bytes) => !isSystem(path) && !isMasked(path, edits) && !(!isServed && isPrivate(path));
  const isLate = (path: Bytes) => !inRoot(path);
  return {
    shown: isServed ? showEntries(binds, links, files, inRoot) : [],
    ops: [
      ...planDev(edits, binds, target),
      ...(usesPrivate ? [tmpfs(privateDir, cwd)] : []),
      ...edits.masks.map((path) => tmpfs(path, cwd)),
      ...files.flatMap((file) => writeLate(file, isServed, isLate(file.path))),
      // The host's own /dev has its links.
      ...links.filter(({ path }) => isLate(path) && (target.hasOwnDev || !path.startsWith('/dev/'))).flatMap(makeLink),
      // Nowhere else: an image's symlink may lead to a file system of the host, in which nothing may be made.
      ...binds.map((bind) =>
        mountBind(bind, target, !isServed || isLate(bind.target) || emptyAtStart.test(bind.target)),
      ),
      ...(usesPrivate ? [readonly(privateDir, cwd)] : []),
      ...edits.masks.map((path) => readonly(path, cwd)),
    ],
    environ: [
      ...edits.env,
      ...(isServed ? loader.env : listLibraryDirs(edits, [...loader.binds, ...edits.binds])).map((item) =>
        beforeOwn(item, target.environ),
      ),
      ...(usesPrivate ? addToPath(target.environ.get('PATH') ?? '') : []),
    ],
    warnings: [...edits.warnings, ...loader.warnings],
    binds,
    links,
    files,
    libraryDir: loader.directory,
  };
}

/** LD_LIBRARY_PATH where a loader's cache does not tell: forward compatibility first, then what edits name, then the driver's. */
function listLibraryDirs({ named, libraryDirs }: Edits, binds: readonly Bind[]): Bytes[] {
  const own = binds.flatMap(({ target }) =>
    isPrivate(target) && /\.so(\.|$)/.test(target) ? [posix.dirname(target)] : [],
  );
  const dirs = new Set([...named.map(({ path }) => posix.dirname(path)), ...libraryDirs, ...own]);
  return dirs.size === 0 ? [] : [`LD_LIBRARY_PATH=${[...dirs].join(':')}`];
}

/** Files by which libraries of OpenCL and graphics are found: where they are not, empty ones would stay. */
function withoutSettings(edits: Edits): Edits {
  const isSetting = /^\/(etc\/(OpenCL|vulkan)|usr\/share\/(glvnd|egl|vulkan|nvidia|X11))\//;
  return { ...edits, binds: edits.binds.filter(({ target }) => !isSetting.test(target)) };
}

function planDev(edits: Edits, binds: readonly Bind[], { hasOwnDev, dev, cwd, isPlain }: Target): Op[] {
  if (hasOwnDev) return showDevices(edits.devices, cwd);
  const isThere = (path: Bytes) => dev.entries.some((entry) => entry.path === path);
  const isBelow = (path: Bytes): boolean =>
    path !== '/dev' && path !== '/' && (isThere(path) || isBelow(posix.dirname(path)));
  const hidden = edits.hidden.filter(isBelow);
  // The host's /dev is no place to make a mountpoint in.
  const isNew = binds.some(({ source, target }) => target.startsWith('/dev/') && target !== source && !isThere(target));
  if (hidden.length === 0 && !isNew) return [];
  // Some may have been made after the look at /dev.
  const added = edits.devices.filter((path) => !isThere(path));
  return [...hideDevices(hidden, dev, isPlain, cwd), ...showDevices(added, cwd)];
}

/** The container's own file systems, below which the root has no entries. */
function isSystem(path: Bytes): boolean {
  return /^\/(dev|proc|sys)\//.test(path);
}

function isMasked(path: Bytes, { masks }: Edits): boolean {
  return masks.some((mask) => path.startsWith(`${mask}/`));
}

/** A list of directories before those that the container has in the same variable. */
function beforeOwn(item: Bytes, environ: Target['environ']): Bytes {
  const own = environ.get(item.slice(0, item.indexOf('='))) ?? '';
  return own === '' ? item : `${item}:${own}`;
}

function addToPath(path: Bytes): Bytes[] {
  const dir = `${privateDir}/bin`;
  return path === '' || path.split(':').includes(dir) ? [] : [`PATH=${path}:${dir}`];
}

/** Mountpoints replace what the image has there, be it a symlink that leads anywhere. */
function showEntries(
  binds: readonly Bind[],
  links: readonly Link[],
  files: readonly MadeFile[],
  inRoot: (path: Bytes) => boolean,
): Shown[] {
  return [
    ...binds.map(({ target, kind }): Shown => {
      if (kind === 'dir') return { kind, path: target, mode: 0o755, data: '' };
      return { kind: emptyAtStart.test(target) ? 'mountpoint' : 'file', path: target, mode: 0o644, data: '' };
    }),
    ...links.map(({ path, target }): Shown => ({ kind: 'symlink', path, mode: 0o777, data: target })),
    ...files.map(({ path, mode, data }): Shown => ({ kind: 'file', path, mode, data })),
  ].filter(({ path }) => inRoot(path));
}

function writeLate({ path, mode, data }: MadeFile, isServed: boolean, isLate: boolean): Op[] {
  if (isLate) return [{ op: 'file', path, mode, content: data }];
  return isServed ? [] : [{ op: 'inject', path, mode, content: data }];
}

function makeLink({ path, target }: Link): Op[] {
  return [
    { op: 'mkdir', path: posix.dirname(path), mode: 0o755 },
    { op: 'symlink', path, target },
  ];
}

const flags: Readonly<Record<Bind['kind'], readonly string[]>> = {
  file: ['bind', 'ro', 'nosuid', 'nodev'],
  program: ['bind', 'ro', 'nosuid', 'nodev'],
  dir: ['rbind', 'ro', 'nosuid', 'nodev'],
  socket: ['bind', 'rw', 'nosuid', 'nodev', 'noexec'],
  proc: ['rbind', 'ro', 'nosuid', 'nodev', 'noexec'],
  device: ['bind', 'rw', 'nosuid', 'noexec'],
};
/** Without these no GPU can be used, and a start that cannot show them fails. */
const mandatory = /\/lib(cuda|nvidia-ml)\.so\.[\d.]+$/;
/** File systems that are empty at every start, in which no entry of the root can be a mountpoint. */
const emptyAtStart = /^\/(run|tmp|var\/run|var\/lock)\//;

/** What was there when the host was looked at may be gone at the mount: no reason to fail, and none to be silent. */
function mountBind(
  { source, target, kind, flags: asked }: Bind,
  { isPlain, isRoot, cwd }: Target,
  makesMountpoint: boolean,
): Op {
  const options = [
    ...(asked === undefined ? flags[kind] : [kind === 'dir' ? 'rbind' : 'bind', ...asked]),
    'private',
    ...(makesMountpoint ? ['x-create=auto'] : []),
    ...(mandatory.test(target) || kind === 'device' ? [] : ['nofail']),
    ...(kind === 'socket' ? ['silent'] : []),
  ];
  // proot shows all that the caller may do; of the host's files an ordinary user may not write these anyway.
  const allowed = isPlain && !isRoot ? options.filter((option) => option !== 'ro') : options;
  return toMountOp({ source, target, type: '', options: allowed, pass: 0 }, cwd);
}

function tmpfs(path: Bytes, cwd: Bytes): Op {
  const options = ['x-create=dir', 'rw', 'nosuid', 'nodev', 'mode=755', 'private'];
  return toMountOp({ source: 'tmpfs', target: path, type: 'tmpfs', options, pass: 0 }, cwd);
}

function readonly(path: Bytes, cwd: Bytes): Op {
  const options = ['bind', 'remount', 'ro', 'nosuid', 'nodev'];
  return toMountOp({ source: 'none', target: path, type: '', options, pass: 0 }, cwd);
}
