// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import type { Manifest } from '../src/format/manifest.ts';
import type { Plan } from '../src/format/plan.ts';
import type { Configuration } from './configuration.ts';
import type { DeviceFacts } from './gpu/collect.ts';
import type { Options } from './options.ts';
import type { Request } from './request.ts';
import type { Settings } from './settings.ts';
import type { Subids } from './subids.ts';

/** Everything a launch depends on, as plain data: `planLaunch(JSON.parse(text))` replays one. Strings are byte strings. */
export interface LaunchInput {
  readonly manifest: Manifest;
  readonly request: Request;
  readonly options: Options;
  readonly settings: Settings;
  readonly configuration: Configuration;
  readonly host: HostFacts;
  /** What hooks of the host said, when the plan was given in two parts and this is the second; null in the first. */
  readonly resumed: Resumed | null;
}

/** Read after the hooks of the host have run. */
export interface Resumed {
  /** The files ENROOT_ENVIRON and ENROOT_MOUNTS as the hooks left them. */
  readonly environ: Bytes;
  readonly mounts: Bytes;
  /** Of the --conf script; null without one. */
  readonly conf: {
    /** What its function mounts() printed; '' without it. */
    readonly mounts: Bytes;
    /** The body of its function rc(); null without it. */
    readonly rc: Bytes | null;
    /** The variables that it exported, with the caller's. */
    readonly env: Readonly<Record<string, Bytes>>;
  } | null;
}

/** What was looked at on the host (host.ts). */
export interface HostFacts {
  /** `probe.NAME` of docs/plan.md without its prefix: `ok`, `skipped`, or `STEP ERRNO`. */
  readonly probes: Readonly<Record<string, string>>;
  /** Kinds of the paths that mounts come from, symlinks followed; files are everything that is not a directory. */
  readonly kinds: Readonly<Record<Bytes, SourceKind>>;
  /** The caller's lines of /etc/passwd and /etc/group; '' where there is none. */
  readonly passwdLine: Bytes;
  readonly groupLine: Bytes;
  /** kernel.overflowuid and overflowgid: who `nobody` is. */
  readonly overflowUid: number;
  readonly overflowGid: number;
  /** /etc/localtime when it is a symlink: its text and the zone's content; null otherwise. */
  readonly localtime: { readonly link: Bytes; readonly zone: Bytes } | null;
  /** Path of bash, else of sh, in the caller's PATH; looked for only with --conf, else ''. */
  readonly shell: Bytes;
  /** /proc/self/cgroup, and the lines of /proc/self/mountinfo with cgroup file systems; '' where the hook cgroups is off or there are none. */
  readonly cgroup: Bytes;
  readonly cgroupMounts: Bytes;
  /** The terminal that is the caller's stdin; '' where there is none or the hook devices has nothing to do. */
  readonly terminal: Bytes;
  /** Where the host's own /proc and /sys are covered, as a container runtime does; looked at only for a process or network namespace. */
  readonly covered: readonly Bytes[];
  /** Looked at only for --subuid. */
  readonly subids: Subids;
  /** The scripts and files that options name, by the path as given. */
  readonly files: Readonly<Record<Bytes, Bytes>>;
  readonly memoryAvailableBytes: number;
  /** Read only when a probe failed: what tells the causes apart (causes.ts). */
  readonly limits: Limits;
  /** /etc/passwd and /etc/group of a root that an earlier --keep left: who was added there stays. Null where there is none. */
  readonly kept: { readonly passwd: Bytes; readonly group: Bytes } | null;
  /** GPUs and HCAs; null where the launch asks for none. */
  readonly devices: DeviceFacts | null;
  /** Answers of the launcher, by question. */
  readonly answers: Readonly<Record<string, Bytes>>;
}

export type SourceKind = 'dir' | 'file' | 'missing' | 'denied';

/** Kernel settings as text; '' where a file is absent. */
export interface Limits {
  readonly maxUserNamespaces: string;
  readonly maxMountNamespaces: string;
  readonly usernsClone: string;
  readonly apparmorUserns: string;
  /** The field `Seccomp` of /proc/self/status: 2 with a filter. */
  readonly seccomp: string;
  /** '/' is a mount point: no plain chroot. 'yes', 'no', or '' when unknown. */
  readonly rootIsMount: string;
}

/** A plan, or the questions that must be answered before there can be one. */
export type Launch = { readonly plan: Plan } | { readonly ask: readonly string[] };

/** One thing of ours that the container's root must show. */
export interface Shown {
  /** dir, mountpoint (an empty file) and default (a file): only where nothing is; file and symlink: in place of what is there. */
  readonly kind: 'dir' | 'file' | 'symlink' | 'mountpoint' | 'default';
  readonly path: Bytes;
  readonly mode: number;
  /** A file's content or a link's target. */
  readonly data: Bytes;
}
