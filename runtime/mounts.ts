// SPDX-License-Identifier: Apache-2.0

import type { Bytes } from '../src/format/bytes.ts';
import { mountOptions, type Op } from '../src/format/plan.ts';
import { filesOf } from './configuration.ts';
import { type Lookup, substitute } from './expand.ts';
import { Failure } from './failure.ts';
import { type FstabEntry, isBind, parseFstab, parseMountSpec, rootMark, sourcePath, toMountOp } from './fstab.ts';
import type { LaunchInput, Shown, SourceKind } from './launch-input.ts';

/** What every container gets, as enroot's 10-system.fstab has it. */
const systemMounts = `
/proc     /proc      none   x-create=dir,rbind,rw,nosuid,nodev,noexec,rslave  0 -1
/sys      /sys       none   x-create=dir,rbind,ro,nosuid,nodev,noexec,rslave  0 -1
/dev      /dev       none   x-create=dir,rbind,rw,nosuid,noexec,rslave        0 -1
tmpfs     /tmp       tmpfs  x-create=dir,rw,nosuid,nodev,mode=755,slave       0 -1
tmpfs     /var/run   tmpfs  x-create=dir,rw,nosuid,nodev,mode=755,slave       0 -1
tmpfs     /var/lock  tmpfs  x-create=dir,rw,nosuid,nodev,mode=755,slave       0 -1
/dev/shm  /dev/shm   none   x-create=dir,bind,rw,nosuid,nodev,noexec,rslave   0 -1
`;

/** The host's network configuration, as enroot's 20-config.fstab; a bare host may lack each of them. */
const configMounts = ['/etc/hosts', '/etc/hostname', '/etc/resolv.conf', '/etc/machine-id']
  .map((path) => `${path} ${path} none x-create=file,bind,ro,nosuid,nodev,noexec,private,nofail,silent`)
  .join('\n');

/** A process or network namespace has a view of its own, mounted over the host's; a host that refuses it keeps its own in sight. */
const ownProc = 'proc /proc proc x-create=dir,rw,nosuid,nodev,noexec,private,nofail 0 -1';
const ownSys = `sysfs /sys sysfs x-create=dir,ro,nosuid,nodev,noexec,private,nofail 0 -1
/sys/fs/cgroup /sys/fs/cgroup none rbind,ro,nosuid,nodev,noexec,rslave,nofail,silent 0 -1`;

type MountOp = Extract<Op, { op: 'mount' }>;

/** A mount, and who asked for it: site is a file of mounts.d, hook a hook of the host or the --conf script. */
export interface PlannedMount {
  readonly entry: FstabEntry;
  readonly from: 'system' | 'config' | 'image' | 'site' | 'hook' | 'user';
}

/** What the list of mounts depends on. */
export type MountInput = Omit<LaunchInput, 'host'>;

/**
 * All mounts in the order they are made: the early pass (image, system, mounts.d), then what hooks of the host asked for, then the late
 * pass (image, configuration, mounts.d, mounts() of the --conf script, --mount).
 */
export function collectMounts(input: MountInput): PlannedMount[] {
  const { manifest, options, settings, configuration, resumed } = input;
  const variables = fileVariables(input);
  const fill = (text: Bytes) => substitute(text, (name) => (name === 'ENROOT_ROOTFS' ? rootMark : variables(name)));
  const isOn = (builtin: string) => settings.builtins[builtin] !== 'off';
  const site = filesOf(configuration, 'mounts.d').flatMap(({ path, content }) => parseFstab(fill(content), path));
  const all = [
    ...label('image', parseFstab(fill(manifest.rootfs?.fstab ?? ''), "the image's /etc/fstab").filter(isForContainers)),
    ...label('system', isOn('10-system') ? parseFstab(systemMounts, 'the system mounts') : []),
    ...label('config', isOn('20-config') ? parseFstab(configMounts, 'the configuration mounts') : []),
    ...label('site', site),
    ...label('hook', parseFstab(resumed?.conf?.mounts ?? '', 'mounts() of the --conf script')),
    ...label('user', options.mounts.map(parseMountSpec)),
  ];
  const late = ({ entry }: PlannedMount) => entry.pass === 0;
  const early = all.filter(({ entry }) => entry.pass === -1);
  const hooked = label('hook', parseFstab(resumed?.mounts ?? '', 'the mounts of hooks ($ENROOT_MOUNTS)'));
  return [...early, ...hooked.filter(late), ...all.filter(late)];
}

/** The variables that `${V}` in fstab and environment files means: the caller's, with what the --conf script exported. */
export function fileVariables({ request, resumed }: MountInput): Lookup {
  const env = resumed?.conf?.env ?? request.env;
  return (name) => (name === 'ENROOT_PID' ? String(request.pid) : env[name]);
}

/** The mount operations of both passes, and the mountpoints that a root which cannot be written must show from the start. */
export interface MountPlan {
  readonly early: readonly Op[];
  readonly late: readonly Op[];
  readonly shown: readonly Shown[];
}

/**
 * hooked: what built-in hooks mount, between the passes. Their sources are not looked at: most of them may be missing. isServed: the root shows the mountpoints
 * of configuration, so that none need be made where a symlink of the image leads, which may be a file system of the host.
 */
export function planMounts(input: LaunchInput, hooked: readonly FstabEntry[] = [], isServed = false): MountPlan {
  const { request, host } = input;
  const early: Op[] = [];
  const late: Op[] = hooked.map((entry) => toMountOp(entry, request.cwd));
  const shown: Shown[] = hooked.flatMap((entry) => showMountpoint(toMountOp(entry, request.cwd), undefined, false));
  for (const mount of collectMounts(input)) {
    const { entry, from } = mount;
    const op = toMountOp(entry, request.cwd);
    // What hooks have made or mounted is for the launcher to see, and not for us.
    const isSeen = isBind(entry) && from !== 'hook';
    const kind = isSeen ? (host.kinds[op.source] ?? 'missing') : undefined;
    if (kind === 'missing' && (from === 'system' || from === 'config')) continue;
    refuseMissing(mount, kind, op.source);
    const { createDir, createFile, createAuto } = mountOptions;
    const made =
      isServed && from === 'config' ? { ...op, options: op.options & ~(createDir | createFile | createAuto) } : op;
    (entry.pass === -1 ? early : late).push(made);
    // An image's symlink to a file that only its own init would make must not hide the host's configuration.
    shown.push(...showMountpoint(op, kind, from === 'config'));
  }
  early.push(...planOwnViews(input));
  return { early, late, shown };
}

/** What can be mounted only by who owns the namespace; where the host covers parts of the old one, the kernel refuses a new one. */
function planOwnViews({ settings, host, request }: LaunchInput): Op[] {
  const views: Op[] = [];
  for (const [wanted, text, place] of [
    [settings.unshare.pid, ownProc, '/proc'],
    [settings.unshare.net, ownSys, '/sys'],
  ] as const) {
    // A kernel shows no new one where there is no old one.
    if (!wanted || host.kinds[place] !== 'dir') continue;
    const cover = host.covered.find((path) => path.startsWith(`${place}/`));
    if (cover === undefined) {
      views.push(...parseFstab(text, 'the system mounts').map((entry) => toMountOp(entry, request.cwd)));
    } else {
      const what = `bundler: this host covers ${cover}, so ${place} keeps showing the host's view\n`;
      views.push({ op: 'warn', text: what });
    }
  }
  return views;
}

/** The mountpoint in the root itself; below /proc, /sys and /dev it is in the host's file systems. replaces: what the image has there. */
function showMountpoint(op: MountOp, kind: SourceKind | undefined, replaces: boolean): Shown[] {
  const point = mountpointKind(op.options, kind);
  if (point === 'none' || /^\/(proc|sys|dev)\//.test(op.target)) return [];
  if (point === 'dir') return [{ kind: 'dir', path: op.target, mode: 0o755, data: '' }];
  return [{ kind: replaces ? 'file' : 'mountpoint', path: op.target, mode: 0o644, data: '' }];
}

/** Does a path of the container lie in a file system that is empty at every start? /var/run is a link to /run in most images. */
export function isInTmpfs(path: Bytes, { early }: MountPlan): boolean {
  const tops = early.flatMap((op) => (op.op === 'mount' && op.type === 'tmpfs' ? [op.target] : []));
  return [...tops, '/run'].some((top) => path.startsWith(`${top}/`));
}

/** The host paths that mounts come from: host.ts looks at each. */
export function mountSources(input: MountInput): Bytes[] {
  const binds = collectMounts(input).filter(({ entry, from }) => isBind(entry) && from !== 'hook');
  return [...new Set(binds.map(({ entry }) => sourcePath(entry, input.request.cwd)))];
}

function refuseMissing({ entry, from }: PlannedMount, kind: SourceKind | undefined, source: Bytes): void {
  if ((kind !== 'missing' && kind !== 'denied') || entry.options.includes('nofail')) return;
  const why = kind === 'missing' ? 'no such file or directory' : 'permission denied';
  const askers: Partial<Record<PlannedMount['from'], string>> = {
    image: "the image's /etc/fstab asks for it",
    site: 'a file of mounts.d asks for it; with nofail there it may be missing',
  };
  const hint = askers[from] ?? `go on without it: --mount ${entry.source}:${entry.target}:nofail`;
  throw new Failure(`cannot mount ${source} on ${entry.target}: ${why}`, hint);
}

function mountpointKind(options: number, kind: SourceKind | undefined): 'dir' | 'file' | 'none' {
  if (options & mountOptions.createFile) return 'file';
  if (options & mountOptions.createDir) return 'dir';
  if (!(options & mountOptions.createAuto)) return 'none';
  if (kind === undefined || kind === 'dir') return 'dir';
  return kind === 'file' ? 'file' : 'none';
}

/** Lines that mount(8) -a would pass over are meant for a booting machine. */
function isForContainers({ type, options }: FstabEntry): boolean {
  return type !== 'swap' && !options.includes('noauto');
}

function label(from: PlannedMount['from'], entries: readonly FstabEntry[]): PlannedMount[] {
  return entries.map((entry) => ({ entry, from }));
}
