// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { mountOptions, type Op } from '../src/format/plan.ts';
import { absolutePath } from './expand.ts';
import { Failure } from './failure.ts';

/** One mount as fstab(5) writes it, with enroot's extensions. Paths are decoded. */
export interface FstabEntry {
  readonly source: Bytes;
  readonly target: Bytes;
  readonly type: Bytes;
  readonly options: readonly Bytes[];
  /** -1: before everything else; 0: after it. enroot mounts no other pass. */
  readonly pass: number;
}

/** Stands in a source for the container's root, which has no path that the planner knows: `${ENROOT_ROOTFS}/usr`. No variable holds a NUL. */
export const rootMark = '\0';

const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  SYNCHRONOUS: 16,
  REMOUNT: 32,
  MANDLOCK: 64,
  DIRSYNC: 128,
  NOSYMFOLLOW: 256,
  NOATIME: 1024,
  NODIRATIME: 2048,
  BIND: 4096,
  REC: 16384,
  UNBINDABLE: 1 << 17,
  PRIVATE: 1 << 18,
  SLAVE: 1 << 19,
  SHARED: 1 << 20,
  RELATIME: 1 << 21,
  I_VERSION: 1 << 23,
  STRICTATIME: 1 << 24,
  LAZYTIME: 1 << 25,
} as const;

/** Options that set (first) or clear (second) flags of mount(2): mount(8), linux/mount.h. */
const flags = table<readonly [number, number]>({
  ro: [MS.RDONLY, 0],
  rw: [0, MS.RDONLY],
  nosuid: [MS.NOSUID, 0],
  suid: [0, MS.NOSUID],
  nodev: [MS.NODEV, 0],
  dev: [0, MS.NODEV],
  noexec: [MS.NOEXEC, 0],
  exec: [0, MS.NOEXEC],
  sync: [MS.SYNCHRONOUS, 0],
  async: [0, MS.SYNCHRONOUS],
  remount: [MS.REMOUNT, 0],
  mand: [MS.MANDLOCK, 0],
  nomand: [0, MS.MANDLOCK],
  dirsync: [MS.DIRSYNC, 0],
  nosymfollow: [MS.NOSYMFOLLOW, 0],
  noatime: [MS.NOATIME, 0],
  atime: [0, MS.NOATIME],
  nodiratime: [MS.NODIRATIME, 0],
  diratime: [0, MS.NODIRATIME],
  bind: [MS.BIND, 0],
  rbind: [MS.BIND | MS.REC, 0],
  relatime: [MS.RELATIME, 0],
  norelatime: [0, MS.RELATIME],
  iversion: [MS.I_VERSION, 0],
  noiversion: [0, MS.I_VERSION],
  strictatime: [MS.STRICTATIME, 0],
  nostrictatime: [0, MS.STRICTATIME],
  lazytime: [MS.LAZYTIME, 0],
  nolazytime: [0, MS.LAZYTIME],
});
const propagation = table<number>({
  shared: MS.SHARED,
  slave: MS.SLAVE,
  private: MS.PRIVATE,
  unbindable: MS.UNBINDABLE,
  rshared: MS.SHARED | MS.REC,
  rslave: MS.SLAVE | MS.REC,
  rprivate: MS.PRIVATE | MS.REC,
  runbindable: MS.UNBINDABLE | MS.REC,
});
/** Options of enroot and of mount(8) that say something about the entry and not to the kernel. */
const ours = table<number>({
  'x-create=dir': mountOptions.createDir,
  'x-create=file': mountOptions.createFile,
  'x-create=auto': mountOptions.createAuto,
  nofail: mountOptions.nofail,
  silent: mountOptions.silent,
  'x-move': mountOptions.move,
  'x-detach': mountOptions.detach,
  loud: 0,
  auto: 0,
  noauto: 0,
  defaults: 0,
  group: 0,
  nogroup: 0,
  owner: 0,
  noowner: 0,
  user: 0,
  nouser: 0,
  users: 0,
  nousers: 0,
  _netdev: 0,
});

function table<T>(rows: Readonly<Record<string, T>>): ReadonlyMap<string, T> {
  return new Map(Object.entries(rows));
}

/** Reads fstab text; what: names it in errors. */
export function parseFstab(text: Bytes, what: string): FstabEntry[] {
  const entries: FstabEntry[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const fields = line.trim().split(/[ \t]+/);
    if (fields[0] === '' || fields[0]?.startsWith('#')) continue;
    entries.push(guessEntry(fields.map(decodeOctal), `line ${index + 1} of ${what}`));
  }
  return entries;
}

/**
 * Reads the argument of --mount: the fields of an fstab line with `:` between them. `SRC:DST` binds a file or a directory
 * and makes the mountpoint. `\072` is a colon and `\040` a blank, as in fstab(5).
 */
export function parseMountSpec(spec: Bytes): FstabEntry {
  if (spec === '' || spec.startsWith(':')) throw new Failure(`--mount ${spec}: the source is missing`);
  return guessEntry(spec.split(':').map(decodeOctal), `--mount ${spec}`);
}

/** Fills in omitted fields as enroot-mount does: the second may be missing, the third and fourth may be missing or stand earlier. */
function guessEntry(fields: readonly Bytes[], where: string): FstabEntry {
  let [source = '', target = '', type = '', options = '', freq = '', pass = ''] = fields;
  if (type === '' && options === '' && isOptions(target)) {
    options = target;
    target = '';
  }
  if (type !== '' && options === '' && isOptions(type)) {
    options = type;
    type = '';
    if (target === 'none') target = '';
  }
  if (target === '' && source !== 'tmpfs' && source !== 'none') target = source;
  if (type === 'none') type = '';
  if (source === 'tmpfs' && type === '') type = 'tmpfs';
  if (source === '' || target === '') throw new Failure(`${where}: not a mount; expected SOURCE TARGET TYPE OPTIONS`);
  let list = options.split(',').filter((option) => option !== '');
  if (type === '' && list.length === 0) list = ['rbind', 'x-create=auto'];
  // `SRC:DST:ro` can only mean a bind mount: without one mount(2) would refuse it.
  if (type === '' && source !== 'none' && !list.some((option) => propagation.has(option) || doesMount(option))) {
    list = ['rbind', 'x-create=auto', ...list];
  }
  const passText = pass === '' || pass === '0' ? freq : pass;
  if (!/^-?\d*$/.test(passText)) throw new Failure(`${where}: ${passText} is not a pass number`);
  return { source, target, type, options: list, pass: passText === '' ? 0 : Number(passText) };
}

function isOptions(field: Bytes): boolean {
  return field.includes(',') || flags.has(field) || propagation.has(field) || ours.has(field);
}

function doesMount(option: Bytes): boolean {
  return ['bind', 'rbind', 'remount', 'x-move', 'x-detach'].includes(option);
}

/** fstab(5), and /proc/PID/mountinfo: `\` and three octal digits are a byte. */
export function decodeOctal(field: Bytes): Bytes {
  return field.replace(/\\([0-3][0-7]{2})/g, (_all, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** The mount as an operation; a relative source is taken from the caller's directory, a relative target from the root. */
export function toMountOp(entry: FstabEntry, cwd: Bytes): Extract<Op, { op: 'mount' }> {
  let msFlags = 0;
  let spread = 0;
  let options = 0;
  const data: Bytes[] = [];
  for (const option of entry.options) {
    const flag = flags.get(option);
    if (flag !== undefined) msFlags = (msFlags & ~flag[1]) | flag[0];
    else if (propagation.has(option)) spread |= propagation.get(option) ?? 0;
    else if (ours.has(option)) options |= ours.get(option) ?? 0;
    else if (!option.startsWith('x-')) data.push(option);
  }
  const source = sourcePath(entry, cwd);
  const inside = source.startsWith(rootMark);
  const target = entry.target.replace(rootMark, '');
  if ([target, entry.type, ...data].some((text) => text.includes(rootMark))) {
    throw new Failure(
      `cannot mount on ${target}: \${ENROOT_ROOTFS} may only begin the source or the target of a mount`,
    );
  }
  return {
    op: 'mount',
    source: inside ? source.slice(rootMark.length) || '/' : source,
    target: target.startsWith('/') ? target : `/${target}`,
    type: entry.type,
    msFlags,
    propagation: spread,
    data: data.join(','),
    options: inside ? options | mountOptions.inside : options,
  };
}

/** Does the entry show something of the host's file tree? Then its source is a path. */
export function isBind({ source, options }: FstabEntry): boolean {
  if (source.startsWith(rootMark) || options.includes('remount')) return false;
  return options.some((option) => option === 'bind' || option === 'rbind');
}

/** The source as an absolute path where it is one. */
export function sourcePath(entry: FstabEntry, cwd: Bytes): Bytes {
  return isBind(entry) && !entry.source.startsWith(rootMark) ? absolutePath(entry.source, cwd) : entry.source;
}
