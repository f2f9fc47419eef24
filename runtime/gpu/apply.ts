// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { Bytes } from '../../src/format/bytes.ts';
import type { RootfsFacts } from '../../src/format/manifest.ts';
import type { Op } from '../../src/format/plan.ts';
import { toMountOp } from '../fstab.ts';
import type { Shown } from '../launch-input.ts';
import { type DevEntry, hideDevices, showDevices } from './dev.ts';
import type { Bind, Edits, Link, MadeFile } from './edits.ts';
import { planLibraries } from './loader.ts';

/** Of the container that edits are applied to. */
export interface Target {
  readonly rootfs: RootfsFacts | undefined;
  readonly machine: string;
  readonly cwd: Bytes;
  /** `served`: its own root, in which our entries may replace what the image has; `kept`: a directory that stays, to which only mountpoints are added. */
  readonly root: 'served' | 'kept';
  /** A kept root that is written to: files of ours in /etc would be in the way of ldconfig, which replaces them. */
  readonly isWritten: boolean;
  /** Nothing can be mounted read-only, and the caller cannot write the host's files anyway. */
  readonly plainBinds: boolean;
  /** /dev has only what was put there (ENROOT_RESTRICT_DEV). */
  readonly restrictsDev: boolean;
  readonly dev: readonly DevEntry[];
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

/** In a kept root: a tmpfs of ours, over a directory that NVIDIA's images name in their paths and leave empty. */
const privateDir = '/usr/local/nvidia';

export function applyEdits(edits: Edits, target: Target): Applied {
  const isKept = target.root === 'kept';
  const leavesLoader = isKept && target.isWritten;
  const { rootfs, machine } = target;
  const loader = planLibraries(
    edits.libraries,
    edits.named,
    edits.libraryDirs,
    rootfs === undefined ? undefined : { debian: rootfs.debian, loader: rootfs.loader },
    machine,
    isKept ? 'private' : 'root',
  );
  const all = {
    binds: [...loader.binds, ...edits.binds],
    links: [...loader.links, ...edits.links],
    files: [...(leavesLoader ? [] : loader.files), ...edits.files],
  };
  const { binds, links, files } = isKept ? movePrograms(all) : all;
  const usesPrivate =
    isKept && [...binds.map((bind) => bind.target), ...links.map((link) => link.path)].some(isPrivate);
  const inRoot = (path: Bytes) => !isSystem(path) && !isMasked(path, edits) && !(isKept && isPrivate(path));
  const shown = isKept ? [] : showEntries(binds, links, files, inRoot);
  const late = (path: Bytes) => !inRoot(path);
  return {
    shown,
    ops: [
      ...planDev(edits, target),
      ...(usesPrivate ? [tmpfs(privateDir, target.cwd)] : []),
      ...edits.masks.map((path) => tmpfs(path, target.cwd)),
      ...files.flatMap((file) => writeLate(file, isKept, late(file.path))),
      // The host's own /dev has its links.
      ...links.filter(({ path }) => late(path) && (target.restrictsDev || !path.startsWith('/dev/'))).flatMap(makeLink),
      // Nowhere else: an image's symlink may lead to a file system of the host, in which nothing may be made.
      ...binds.map((bind) => mountBind(bind, target, isKept || late(bind.target) || emptyAtStart.test(bind.target))),
      ...(usesPrivate ? [readonly(privateDir, target.cwd)] : []),
      ...edits.masks.map((path) => readonly(path, target.cwd)),
    ],
    environ: [
      ...edits.env,
      ...(leavesLoader && usesPrivate ? [`LD_LIBRARY_PATH=${loader.directory}`] : loader.env).map((item) =>
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

function planDev(edits: Edits, { restrictsDev, dev, cwd }: Target): Op[] {
  if (restrictsDev) return showDevices(edits.devices, cwd);
  const present = edits.hidden.filter((path) => dev.some((entry) => entry.path === path));
  if (present.length === 0) return [];
  // Some may have been made after the look at /dev.
  const added = edits.devices.filter((path) => !dev.some((entry) => entry.path === path));
  return [...hideDevices(present, dev, cwd), ...showDevices(added, cwd)];
}

/** The container's own file systems, below which the root has no entries. */
function isSystem(path: Bytes): boolean {
  return /^\/(dev|proc|sys)\//.test(path);
}

function isMasked(path: Bytes, { masks }: Edits): boolean {
  return masks.some((mask) => path.startsWith(`${mask}/`));
}

function isPrivate(path: Bytes): boolean {
  return path.startsWith(`${privateDir}/`);
}

/** Programs of a kept root lie beside the libraries, so that no empty files of their names stay behind in /usr/bin. */
function movePrograms<T extends { binds: readonly Bind[]; links: readonly Link[]; files: readonly MadeFile[] }>(
  all: T,
): T {
  const move = (path: Bytes) => (/^\/usr\/bin\//.test(path) ? `${privateDir}/bin/${posix.basename(path)}` : path);
  return {
    ...all,
    binds: all.binds.map((bind) => (bind.kind === 'program' ? { ...bind, target: move(bind.target) } : bind)),
    links: all.links.map((link) => ({ ...link, path: move(link.path) })),
  };
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
      return kind === 'dir'
        ? { kind, path: target, mode: 0o755, data: '' }
        : { kind: 'file', path: target, mode: 0o644, data: '' };
    }),
    ...links.map(({ path, target }): Shown => ({ kind: 'symlink', path, mode: 0o777, data: target })),
    ...files.map(({ path, mode, data }): Shown => ({ kind: 'file', path, mode, data })),
  ].filter(({ path }) => inRoot(path));
}

function writeLate({ path, mode, data }: MadeFile, isKept: boolean, isLate: boolean): Op[] {
  if (isLate) return [{ op: 'file', path, mode, content: data }];
  return isKept ? [{ op: 'inject', path, mode, content: data }] : [];
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
  { plainBinds, cwd }: Target,
  makesMountpoint: boolean,
): Op {
  const options = [
    ...(asked === undefined ? flags[kind] : [kind === 'dir' ? 'rbind' : 'bind', ...asked]),
    'private',
    ...(makesMountpoint ? ['x-create=auto'] : []),
    ...(mandatory.test(target) ? [] : ['nofail']),
    ...(kind === 'socket' ? ['silent'] : []),
  ];
  const allowed = plainBinds ? options.filter((option) => option !== 'ro') : options;
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
