// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { Bytes } from '../src/format/bytes.ts';
import type { Fact } from '../src/format/wire.ts';
import { absolutePath } from './expand.ts';
import { Failure } from './failure.ts';
import { findLine } from './hooks/shadow.ts';
import type { HostFacts, Limits, SourceKind } from './launch-input.ts';
import { type MountInput, mountSources } from './mounts.ts';
import type { Observer } from './observer.ts';
import { type Options, printable } from './options.ts';
import { targetOf } from './payload.ts';
import type { Request } from './request.ts';
import type { Settings } from './settings.ts';
import type { Subids } from './subids.ts';

/** Looks at everything on the host that a launch depends on. Plain files only: no NSS, no program of the host. */
export function readHost(
  observer: Observer,
  input: MountInput,
  probeFacts: readonly Fact[],
  /** Those that were read already: a pipe can be read only once. */
  files: HostFacts['files'] = {},
): HostFacts {
  const { request, options, settings } = input;
  const probes: Record<string, string> = {};
  for (const [key, value] of probeFacts) if (key.startsWith('probe.')) probes[key.slice(6)] = value;
  const needsLimits = probes.userns !== 'ok' || probes.mount !== 'ok';
  let mounts: Bytes | undefined;
  /** Long where much is mounted, so read when it is needed, and once. */
  const mountinfo = () => {
    mounts ??= observer.readFile('/proc/self/mountinfo') ?? '';
    return mounts;
  };
  const needsMemory = probes.fuse !== 'ok' || options.action === 'verify' || request.env.BUNDLER_DRIVER === 'extract';
  return {
    probes,
    kinds: lookAtSources(observer, input),
    passwdLine: findLine(observer.readFile('/etc/passwd'), request.euid),
    groupLine: findLine(observer.readFile('/etc/group'), request.egid),
    overflowUid: readNumber(observer, '/proc/sys/kernel/overflowuid', 65534),
    overflowGid: readNumber(observer, '/proc/sys/kernel/overflowgid', 65534),
    localtime: readLocaltime(observer),
    ...readCgroups(observer, request, settings, mountinfo),
    terminal: readTerminal(observer, request, settings),
    shell: options.conf === null ? '' : findShell(observer, request),
    covered: settings.unshare.pid || settings.unshare.net ? findCovered(mountinfo()) : [],
    subids: settings.subuid ? readSubids(observer, request) : noSubids,
    files: { ...files, ...readFiles(observer, request, options) },
    memoryAvailableBytes: needsMemory || options.rw ? readMemory(observer) : 0,
    limits: needsLimits ? readLimits(observer, mountinfo()) : noLimits,
    kept: options.keep && !options.extract ? readKept(observer, input) : null,
    devices: null,
    answers: {},
  };
}

/** What the paths are that mounts come from. */
export function lookAtSources(observer: Observer, input: MountInput): Record<Bytes, SourceKind> {
  const kinds: Record<Bytes, SourceKind> = Object.create(null);
  for (const path of mountSources(input)) kinds[path] = observer.lookAt(path);
  return kinds;
}

/** The accounts in a target directory that is there already. A symlink in it could lead anywhere on the host: then the image's count. */
function readKept(observer: Observer, { options, manifest, request }: MountInput): HostFacts['kept'] {
  const etc = `${targetOf(options, manifest, request)}/etc`;
  const names = ['', '/passwd', '/group'];
  if (names.some((name) => observer.readLink(`${etc}${name}`) !== null)) return null;
  const [passwd, group] = [observer.readFile(`${etc}/passwd`), observer.readFile(`${etc}/group`)];
  return passwd === null || group === null ? null : { passwd, group };
}

function readNumber(observer: Observer, path: Bytes, otherwise: number): number {
  const text = observer.readFile(path)?.trim() ?? '';
  return /^\d+$/.test(text) ? Number(text) : otherwise;
}

/** Only a symlink to a zone file (tzfile(5): it begins with TZif) is taken over. */
function readLocaltime(observer: Observer): HostFacts['localtime'] {
  const link = observer.readLink('/etc/localtime');
  const zone = link === null ? null : observer.readFile(posix.resolve('/etc', link));
  return link === null || !zone?.startsWith('TZif') ? null : { link, zone };
}

/** Where all is in the unified hierarchy, at its usual place, that is known without going through the whole list of mounts. */
export function readCgroups(
  observer: Observer,
  request: Request,
  settings: Settings,
  mountinfo: () => Bytes,
): Pick<HostFacts, 'cgroup' | 'cgroupMounts'> {
  const cgroup = settings.hooks.includes('10-cgroups') ? request.cgroup : '';
  if (cgroup === '') return { cgroup, cgroupMounts: '' };
  const [, unified] = /^0::(\/.*)\n?$/.exec(cgroup) ?? [];
  if (unified !== undefined && observer.lookAt(`/sys/fs/cgroup${unified}/cgroup.procs`) === 'file') {
    return { cgroup, cgroupMounts: '0 0 0:0 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw' };
  }
  return {
    cgroup,
    cgroupMounts:
      mountinfo()
        .match(/^.* - cgroup2? .*$/gm)
        ?.join('\n') ?? '',
  };
}

/**
 * Mounts below /proc and /sys by which a surrounding container hides a part of them. A kernel then refuses new ones to a user
 * namespace (mount_too_revealing in fs/namespace.c), except where the directory below is always empty, made to be mounted on.
 */
export function findCovered(mountinfo: Bytes): Bytes[] {
  const points = mountinfo.split('\n').map((line) => line.split(' ')[4] ?? '');
  const madeForMounts =
    /^\/(proc\/(sys\/fs\/binfmt_misc|fs\/(nfsd|xfs))|sys\/(kernel\/(debug|tracing|security|config)|fs\/(bpf|cgroup|fuse\/connections|pstore|resctrl|selinux|smackfs)|firmware\/efi\/efivars))(\/|$)/;
  return points.filter((point) => /^\/(proc|sys)\/./.test(point) && !madeForMounts.test(point));
}

const noSubids: Subids = { subuid: '', subgid: '', newuidmap: '', newgidmap: '' };

function readSubids(observer: Observer, { env }: Request): Subids {
  const dirs = [...(env.PATH ?? '').split(':').filter((dir) => dir.startsWith('/')), '/usr/bin', '/bin', '/usr/sbin'];
  const find = (name: string) =>
    dirs.map((dir) => `${dir}/${name}`).find((path) => observer.lookAt(path) === 'file') ?? '';
  return {
    subuid: observer.readFile('/etc/subuid') ?? '',
    subgid: observer.readFile('/etc/subgid') ?? '',
    newuidmap: find('newuidmap'),
    newgidmap: find('newgidmap'),
  };
}

function readTerminal(observer: Observer, request: Request, settings: Settings): Bytes {
  const restricts = settings.hooks.includes('10-devices') && (settings.restrictDev || settings.unshare.ipc);
  return restricts && request.tty.includes('0') ? (observer.readLink(`/proc/${request.pid}/fd/0`) ?? '') : '';
}

/** The shell for --conf scripts, which are bash scripts; much of what they hold works in another. */
function findShell(observer: Observer, { env }: Request): Bytes {
  const dirs = [...(env.PATH ?? '').split(':').filter((dir) => dir.startsWith('/')), '/usr/bin', '/bin'];
  const candidates = ['bash', 'sh'].flatMap((name) => dirs.map((dir) => `${dir}/${name}`));
  return candidates.find((path) => ((observer.modeOfFile(path) ?? 0) & 0o111) !== 0) ?? '';
}

function readFiles(observer: Observer, request: Request, options: Options): Record<Bytes, Bytes> {
  const files: Record<Bytes, Bytes> = Object.create(null);
  const read = (option: string, path: Bytes) => {
    files[path] = readOptionFile(observer, request, option, path);
  };
  if (options.rc !== null) read('rc', options.rc);
  for (const path of options.envFiles) read('env-file', path);
  return files;
}

/** A file that an option names. Throws Failure when it cannot be read. */
export function readOptionFile(observer: Observer, request: Request, option: string, path: Bytes): Bytes {
  try {
    return observer.readFileOrThrow(callersPath(absolutePath(path, request.cwd), request.pid));
  } catch (error) {
    throw new Failure(`--${option} ${printable(path)}: ${describe(error)}`);
  }
}

/** Names of open descriptors (`--rc <(..)`) mean the caller's, which this process does not have: proc(5), /proc/PID/fd. */
export function callersPath(path: Bytes, pid: number): Bytes {
  const standard = ['/dev/stdin', '/dev/stdout', '/dev/stderr'].indexOf(path);
  const fd = standard >= 0 ? String(standard) : /^\/(?:dev|proc\/self)\/fd\/(\d+)$/.exec(path)?.[1];
  return fd === undefined ? path : `/proc/${pid}/fd/${fd}`;
}

/** The kernel's word for a failed file operation, without the path that Node adds. */
export function describe(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'EISDIR') return 'it is a directory';
  return /^\w+: ([^,]+)/.exec(message)?.[1] ?? code ?? message;
}

/** MemAvailable of /proc/meminfo, and never more than what cgroup v2 still allows (memory.max, memory.current). */
function readMemory(observer: Observer): number {
  const [, kib = '0'] = /^MemAvailable:\s+(\d+) kB$/m.exec(observer.readFile('/proc/meminfo') ?? '') ?? [];
  let availableBytes = Number(kib) * 1024;
  const [, group] = /^0::(\/.*)$/m.exec(observer.readFile('/proc/self/cgroup') ?? '') ?? [];
  for (let dir = group; dir !== undefined && dir !== '/' && dir !== '.'; dir = posix.dirname(dir)) {
    const limit = observer.readFile(`/sys/fs/cgroup${dir}/memory.max`)?.trim() ?? 'max';
    if (!/^\d+$/.test(limit)) continue;
    const usedBytes = readNumber(observer, `/sys/fs/cgroup${dir}/memory.current`, 0);
    availableBytes = Math.min(availableBytes, Math.max(0, Number(limit) - usedBytes));
  }
  return availableBytes;
}

const noLimits: Limits = {
  maxUserNamespaces: '',
  maxMountNamespaces: '',
  usernsClone: '',
  apparmorUserns: '',
  seccomp: '',
  rootIsMount: '',
};

function readLimits(observer: Observer, mountinfo: Bytes): Limits {
  const read = (path: Bytes) => observer.readFile(path)?.trim() ?? '';
  // proc(5): the fifth field is the mount point, relative to this process's root. In a plain chroot none is `/`.
  const isMount = mountinfo.split('\n').some((line) => line.split(' ')[4] === '/');
  return {
    maxUserNamespaces: read('/proc/sys/user/max_user_namespaces'),
    maxMountNamespaces: read('/proc/sys/user/max_mnt_namespaces'),
    usernsClone: read('/proc/sys/kernel/unprivileged_userns_clone'),
    apparmorUserns: read('/proc/sys/kernel/apparmor_restrict_unprivileged_userns'),
    seccomp: /^Seccomp:\s*(\d)/m.exec(observer.readFile('/proc/self/status') ?? '')?.[1] ?? '',
    rootIsMount: mountinfo === '' ? '' : isMount ? 'yes' : 'no',
  };
}
