// SPDX-License-Identifier: Apache-2.0
import { mountOptions } from '../src/format/plan.ts';

/** What an option of a mount means: flags of mount(2) that it sets and clears, how mounts spread, and mountOptions of ours. */
export interface OptionMeaning {
  readonly set: number;
  readonly clear: number;
  readonly spread: number;
  readonly ours: number;
}

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
const flags: Readonly<Record<string, readonly [number, number]>> = {
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
};
const propagation: Readonly<Record<string, number>> = {
  shared: MS.SHARED,
  slave: MS.SLAVE,
  private: MS.PRIVATE,
  unbindable: MS.UNBINDABLE,
  rshared: MS.SHARED | MS.REC,
  rslave: MS.SLAVE | MS.REC,
  rprivate: MS.PRIVATE | MS.REC,
  runbindable: MS.UNBINDABLE | MS.REC,
};
/** Options of enroot and of mount(8) that say something about the entry and not to the kernel. */
const ours: Readonly<Record<string, number>> = {
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
};

const none: OptionMeaning = { set: 0, clear: 0, spread: 0, ours: 0 };
const meanings: ReadonlyMap<string, OptionMeaning> = new Map([
  ...Object.entries(flags).map(([name, [set, clear]]) => [name, { ...none, set, clear }] as const),
  ...Object.entries(propagation).map(([name, spread]) => [name, { ...none, spread }] as const),
  ...Object.entries(ours).map(([name, value]) => [name, { ...none, ours: value }] as const),
]);

/** undefined for what only the file system itself can know (`size=1m`). */
export function meaningOf(option: string): OptionMeaning | undefined {
  return meanings.get(option);
}
