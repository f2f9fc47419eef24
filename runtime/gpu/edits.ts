// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';

/**
 * What support for a device adds to a container, before it is decided how the root shows it. Each vendor's planner makes one, from facts
 * alone; combine() puts them together. All paths are absolute; those inside the container are resolved inside its root.
 */
export interface Edits {
  /** Files and directories of the host. */
  readonly binds: readonly Bind[];
  /** Device nodes below /dev that the container must have, at the same path. */
  readonly devices: readonly Bytes[];
  /** Device nodes and directories below /dev that it must not have: of devices that were not chosen. */
  readonly hidden: readonly Bytes[];
  /** Libraries of a driver: the loader's planner finds their place. */
  readonly libraries: readonly DriverLibrary[];
  /** Libraries that have their place already, in the image or in a directory that `binds` show: the loader's cache is told of them. */
  readonly named: readonly NamedLibrary[];
  /** Directories that `binds` show and in which the loader must look, most important first. */
  readonly libraryDirs: readonly Bytes[];
  /** Directories of /proc and /sys that an empty tmpfs covers before `files`, `links` and `binds` fill it; read-only in the end. */
  readonly masks: readonly Bytes[];
  readonly links: readonly Link[];
  readonly files: readonly MadeFile[];
  /** `K=V` of the container. */
  readonly env: readonly Bytes[];
  /** What is optional and not there, for --verify. */
  readonly missing: readonly Missing[];
  /** Lines for stderr, without prefix and line break. */
  readonly warnings: readonly Bytes[];
}

export interface Bind {
  readonly source: Bytes;
  readonly target: Bytes;
  /**
   * What it is, which decides the flags of the mount: files, directories and programs ro,nosuid,nodev; sockets nosuid,nodev,noexec; proc ro and
   * all three; device nodes at another path than the host's nosuid,noexec.
   */
  readonly kind: 'file' | 'dir' | 'program' | 'socket' | 'proc' | 'device';
  /** The flags in place of its kind's, where somebody has said which: a CDI specification. */
  readonly flags?: readonly MountFlag[];
}

export type MountFlag = 'ro' | 'nosuid' | 'nodev' | 'noexec';

export interface DriverLibrary {
  /** The regular file on the host. */
  readonly source: Bytes;
  /** DT_SONAME; '' without one. */
  readonly soname: Bytes;
  /** Further names in its directory that are symlinks to it on the host and should be in the container: `libcuda.so`. */
  readonly links: readonly Bytes[];
  /** ELF class. */
  readonly abi: '64' | '32';
  /** A directory below the library directory: `vdpau`; '' for itself. */
  readonly subdir: Bytes;
  /** The newest GLIBC_ symbol version that it needs, such as `2.17`; '' for none. */
  readonly needsGlibc: string;
}

export interface NamedLibrary {
  readonly soname: Bytes;
  /** In the container. */
  readonly path: Bytes;
  readonly abi: '64' | '32';
}

export interface Link {
  readonly path: Bytes;
  readonly target: Bytes;
}

export interface MadeFile {
  readonly path: Bytes;
  readonly mode: number;
  readonly data: Bytes;
}

export interface Missing {
  /** A path of the host, or the name of a library. */
  readonly what: Bytes;
  /** What does not work without it. */
  readonly follows: string;
}

export const noEdits: Edits = {
  binds: [],
  devices: [],
  hidden: [],
  libraries: [],
  named: [],
  libraryDirs: [],
  masks: [],
  links: [],
  files: [],
  env: [],
  missing: [],
  warnings: [],
};

/** All of several, in their order; the same path is not named twice by the same kind of edit. A device that one of them needs is not hidden. */
export function combine(all: readonly Edits[]): Edits {
  const unique = <T>(items: readonly T[], key: (item: T) => Bytes): T[] => [
    ...new Map(items.map((item) => [key(item), item])).values(),
  ];
  const self = (path: Bytes) => path;
  const devices = unique(
    all.flatMap((edits) => edits.devices),
    self,
  );
  return {
    binds: unique(
      all.flatMap((edits) => edits.binds),
      ({ target }) => target,
    ),
    devices,
    hidden: unique(
      all.flatMap((edits) => edits.hidden),
      self,
    ).filter((path) => !devices.includes(path)),
    libraries: unique(
      all.flatMap((edits) => edits.libraries),
      ({ source }) => source,
    ),
    named: unique(
      all.flatMap((edits) => edits.named),
      ({ soname, abi }) => `${abi} ${soname}`,
    ),
    libraryDirs: unique(
      all.flatMap((edits) => edits.libraryDirs),
      self,
    ),
    masks: unique(
      all.flatMap((edits) => edits.masks),
      self,
    ),
    links: unique(
      all.flatMap((edits) => edits.links),
      ({ path }) => path,
    ),
    files: unique(
      all.flatMap((edits) => edits.files),
      ({ path }) => path,
    ),
    env: all.flatMap((edits) => edits.env),
    missing: all.flatMap((edits) => edits.missing),
    warnings: all.flatMap((edits) => edits.warnings),
  };
}
