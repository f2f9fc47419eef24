// SPDX-License-Identifier: Apache-2.0

/**
 * The launch plan: a list of typed operations that the launcher obeys in order. This table is the description of
 * the wire; `native/plan.h` mirrors it and `test/format/plan-table.test.ts` compares the two. docs/plan.md tells the rest.
 */
export const planVersion = 1;

/** How a field is written: see docs/plan.md. `str` and `strs` hold byte strings without NUL. */
export type FieldKind = 'u32' | 'u64' | 'str' | 'bytes' | 'strs';

export interface OpTable {
  readonly [name: string]: { readonly code: number; readonly fields: readonly (readonly [string, FieldKind])[] };
}

// biome-ignore format: a table, one operation a line
export const ops = {
  /** One synthetic entry that `serve` adds to the tree. kind: see `entryKinds`; data: content or link target. */
  entry: { code: 1, fields: [['kind', 'u32'], ['path', 'str'], ['mode', 'u32'], ['data', 'bytes']] },
  /** Forks the file server for a squashfs image inside a file ('' is the running executable). uid, gid: shown as every file's owner; flags: see `serveFlags`. */
  serve: { code: 2, fields: [['file', 'str'], ['offset', 'u64'], ['sizeBytes', 'u64'], ['uid', 'u32'], ['gid', 'u32'], ['threads', 'u32'], ['cacheBytes', 'u64'], ['flags', 'u32']] },
  /** Unpacks the image: into target when given, else into a fresh directory below place; place '' and target '' is a tmpfs mounted later. */
  extract: { code: 3, fields: [['file', 'str'], ['offset', 'u64'], ['sizeBytes', 'u64'], ['place', 'str'], ['target', 'str'], ['digest', 'str'], ['flags', 'u32']] },
  /** A user namespace with one uid and one gid mapped, setgroups denied. */
  userns: { code: 4, fields: [['insideUid', 'u32'], ['insideGid', 'u32'], ['outsideUid', 'u32'], ['outsideGid', 'u32']] },
  /** Other namespaces; flags: see `unshareFlags`. Sources of every later `mount` are opened right after the last one. */
  unshare: { code: 5, fields: [['flags', 'u32']] },
  /** Mounts the root filesystem of `serve` (1), `extract` (2) or of a loop device over a file (3). */
  root: { code: 6, fields: [['driver', 'u32'], ['file', 'str'], ['offset', 'u64'], ['sizeBytes', 'u64'], ['flags', 'u32']] },
  /** Puts a writable overlay over the root; upper and work '' are those of `layer`, or directories on a fresh tmpfs of sizeBytes (0: the kernel's default). */
  overlay: { code: 7, fields: [['upper', 'str'], ['work', 'str'], ['sizeBytes', 'u64']] },
  /** One mount(2) as fstab(5) would write it. msFlags and propagation: MS_* of mount(2); options: see `mountOptions`. */
  mount: { code: 8, fields: [['source', 'str'], ['target', 'str'], ['type', 'str'], ['msFlags', 'u64'], ['propagation', 'u64'], ['data', 'str'], ['options', 'u32']] },
  /** Makes a directory and its parents where missing. */
  mkdir: { code: 9, fields: [['path', 'str'], ['mode', 'u32']] },
  /** Writes a file in the root, replacing what is there (a symlink itself, not its target). */
  file: { code: 10, fields: [['path', 'str'], ['mode', 'u32'], ['content', 'bytes']] },
  /** Writes a symlink, replacing what is there unless it is a directory. */
  symlink: { code: 11, fields: [['path', 'str'], ['target', 'str']] },
  /** Shows content at path by a read-only bind mount of a private file, changing at most the mountpoint. */
  inject: { code: 12, fields: [['path', 'str'], ['mode', 'u32'], ['content', 'bytes']] },
  /** Makes the root's own mount read-only (mounts inside it stay as they are). */
  readonly: { code: 13, fields: [] },
  /** Makes the root the process's root and forgets the host's. */
  pivot: { code: 14, fields: [] },
  hostname: { code: 15, fields: [['name', 'str']] },
  /** The working directory inside the container; flags: see `cwdFlags`. */
  cwd: { code: 16, fields: [['path', 'str'], ['flags', 'u32']] },
  noNewPrivs: { code: 17, fields: [] },
  dropCaps: { code: 18, fields: [] },
  /** The whole environment of the command, `K=V` each. */
  env: { code: 19, fields: [['vars', 'strs']] },
  /** Execs argv; a name without a slash is looked up in search (a PATH). 126 and 127 as a shell would. */
  exec: { code: 20, fields: [['argv', 'strs'], ['search', 'str']] },
  /** Prints and exits, when a plan has no command to start. */
  exit: { code: 21, fields: [['status', 'u32'], ['stdout', 'bytes'], ['stderr', 'bytes']] },
  /** Prints text on stderr and goes on. */
  warn: { code: 22, fields: [['text', 'bytes']] },
  /** Writes a file of ours below the staging file system, a tmpfs that only this launch sees; its root directory `root` is the container's. */
  stage: { code: 30, fields: [['path', 'str'], ['mode', 'u32'], ['content', 'bytes']] },
  /** Runs a program of the host with the root in place, and waits: see docs/plan.md, Hooks. A failure ends the launch. */
  hook: { code: 31, fields: [['name', 'str'], ['argv', 'strs'], ['env', 'strs'], ['paths', 'strs'], ['search', 'str'], ['output', 'str']] },
  /** Sends the planner the content of these staged files; its reply is the rest of the plan. Only as the last operation. */
  resume: { code: 32, fields: [['files', 'strs']] },
  /** A seccomp filter for the command and all it starts; kind: see `filterKinds`. After `noNewPrivs`, or with all capabilities of the user namespace. */
  seccomp: { code: 35, fields: [['kind', 'u32']] },
  /**
   * A user namespace with ranges of ids, by the host's newuidmap(1) and newgidmap(1); maps: `INSIDE OUTSIDE COUNT` as their arguments.
   * setgroups stays allowed.
   */
  usernsRanges: { code: 36, fields: [['uidMap', 'strs'], ['gidMap', 'strs'], ['newuidmap', 'str'], ['newgidmap', 'str']] },
  /** Forks: the process that the user started becomes a supervisor (native/supervise.h), its child goes on. termSignal: what SIGTERM reaches the command as; 0: as itself. */
  supervise: { code: 37, fields: [['termSignal', 'u32'], ['flags', 'u32']] },
  /** Forks: this process stays as an init that reaps, its child goes on. After `supervise` with the flag init. */
  init: { code: 38, fields: [] },
  /** A directory as the root filesystem, without a mount: `extract`'s, or the one named. */
  tree: { code: 45, fields: [['directory', 'str']] },
  /** Makes the root the process's root directory by chroot(2), with nothing mounted. */
  chroot: { code: 46, fields: [] },
  /** Copies a small file of the host into the root, replacing what is there (a symlink itself); without a word when the host has none. */
  copy: { code: 47, fields: [['source', 'str'], ['path', 'str'], ['mode', 'u32']] },
  /** Makes the device node that the host has at path; a message on stderr when it cannot be used. */
  node: { code: 48, fields: [['path', 'str']] },
  /** Becomes the command, traced by the proot of the runtime directory; options: of proot; binds: `HOST:PLACE`; cwdFlags: see `cwdFlags`. */
  proot: { code: 49, fields: [['runtime', 'str'], ['options', 'strs'], ['binds', 'strs'], ['argv', 'strs'], ['search', 'str'], ['cwd', 'str'], ['cwdFlags', 'u32']] },
  /** The file server of the next `serve` may be shared with starts that have the same key and the same entries, owners and image; they meet in dir. */
  share: { code: 50, fields: [['dir', 'str'], ['key', 'str']] },
  /** Takes a writable layer on disk for a later `overlay` with upper '': a fresh one below place that goes after the run, or the directory dir, which stays and is used again for the same digest and owners. */
  layer: { code: 55, fields: [['place', 'str'], ['dir', 'str'], ['digest', 'str'], ['owners', 'str']] },
} as const satisfies OpTable;

/** dir and mountpoint (a file, empty as a rule): made only where nothing is; file and symlink replace what the image has there. */
export const entryKinds = { dir: 1, file: 2, symlink: 3, mountpoint: 4 } as const;
export const unshareFlags = { mount: 1, pid: 2, net: 4, ipc: 8, uts: 16, cgroup: 32 } as const;
export const rootDrivers = { fuse: 1, directory: 2, loop: 3 } as const;
/** owners: the image's own owners are shown, uid and gid only for entries of ours; other users of the namespace may look, too. */
export const serveFlags = { owners: 1 } as const;
/** nosuid and nodev always hold for the root; readonly: mount it so from the start. */
export const rootFlags = { readonly: 1 } as const;
/** keep: leave it after the run and mark it complete; reuse: take an earlier complete one with the same digest; quiet: no progress. */
export const extractFlags = { keep: 1, reuse: 2, quiet: 4 } as const;
/** create*: make the mountpoint (auto: as the source is); nofail: go on after a failure; silent: without a word; inside: source is a path in the root. */
export const mountOptions = {
  createDir: 1,
  createFile: 2,
  createAuto: 4,
  nofail: 8,
  silent: 16,
  move: 32,
  detach: 64,
  inside: 128,
} as const;
/** fakeRoot: chown, setuid, setgroups and their kin succeed without effect. */
export const filterKinds = { fakeRoot: 1 } as const;
/** init: an `init` follows. */
export const superviseFlags = { init: 1 } as const;
/** create: make it (rw roots); optional: stay in / when it cannot be entered. */
export const cwdFlags = { create: 1, optional: 2 } as const;

type FieldValue<K> = K extends 'u32'
  ? number
  : K extends 'u64'
    ? bigint | number
    : K extends 'strs'
      ? readonly string[]
      : string;
type Fields<F extends readonly (readonly [string, FieldKind])[]> = { [P in F[number] as P[0]]: FieldValue<P[1]> };

/** One operation as data: `{op: 'mkdir', path: '/x', mode: 0o755}`. All strings are byte strings (`bytes.ts`). */
export type Op = { [N in keyof typeof ops]: { op: N } & Fields<(typeof ops)[N]['fields']> }[keyof typeof ops];
export type Plan = readonly Op[];
