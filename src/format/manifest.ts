// SPDX-License-Identifier: Apache-2.0

/** What the `manifest` section holds, as JSON in UTF-8. Strings here are Unicode; `bytes.ts` converts them for the planner. */
export interface Manifest {
  readonly manifestVersion: 1;
  /** The bundle's name: shown by --info, default file name and target directory. */
  readonly name: string;
  readonly description: string;
  /** What made it, and from what. */
  readonly provenance: { readonly bundler: string; readonly source: string; readonly createdSeconds: number };
  /** Absent in the tool itself. */
  readonly image?: ImageFacts;
  readonly rootfs?: RootfsFacts;
  /** The image's OCI configuration, when it has one. */
  readonly config?: ImageConfig;
  /** What `make` was told. */
  readonly options: BuildOptions;
  /** enroot's configuration as it was on the machine that made it; absent where there was none. */
  readonly configuration?: EmbeddedConfiguration;
}

export interface ImageFacts {
  readonly compressor: string;
  readonly blockSizeBytes: number;
  readonly inodes: number;
  /** Size of the squashfs as its superblock says, and of the file that was given. */
  readonly usedBytes: number;
  readonly sizeBytes: number;
  /** Root of the hash tree, in hex: the payload's digest. */
  readonly digest: string;
  /** Sum of the regular files' sizes, hard links once; 0 when all are empty. */
  readonly unpackedBytes: number;
}

/** The small files of the image that a launch depends on, resolved inside the image. Absent files are ''. */
export interface RootfsFacts {
  readonly passwd: string;
  readonly group: string;
  readonly environment: string;
  readonly fstab: string;
  readonly osRelease: string;
  readonly loginDefs: string;
  readonly useradd: string;
  /** /etc/rc exists, and its `# enroot-provenance:` line if any. */
  readonly rc: boolean;
  readonly rcProvenance: string;
  /** /bin/sh is there and can be executed. */
  readonly shell: boolean;
  readonly debian: boolean;
  /** Names in /home; with none of the next two in files of older versions. */
  readonly homes?: readonly string[];
  /** What a new home directory begins with: /etc/skel. */
  readonly skeleton?: readonly SkeletonEntry[];
  /** Of the image's libraries; absent in files of older versions. */
  readonly loader?: LoaderFacts;
}

/** What putting a driver's libraries into the image depends on. */
export interface LoaderFacts {
  /** The image's C library by its loader: /lib64/ld-linux-x86-64.so.2 and its kin, or /lib/ld-musl-ARCH.so.1; '' for neither. */
  readonly libc: 'glibc' | 'musl' | '';
  /** The newest GLIBC_ symbol version that libc.so.6 defines, such as `2.36`; '' unknown. */
  readonly glibcVersion: string;
  /** /etc/ld.so.cache as text (ld-cache-text.ts); '' where there is none. */
  readonly cache: string;
  /** /etc/ld-musl-ARCH.path; '' where there is none. */
  readonly muslPath: string;
  /** Those of the usual library directories that are there, as `/usr/lib/x86_64-linux-gnu`; symlinks to directories count. */
  readonly directories: readonly string[];
  /** Path of a library of CUDA's in the image, wherever it lies; '' without one. */
  readonly cuda: string;
  /** The names of files in /usr/local/cuda/compat, the libraries of a newer driver for an older kernel module. */
  readonly compat: readonly string[];
}

export interface SkeletonEntry {
  /** Relative, without `..`. */
  readonly path: string;
  readonly mode: number;
  /** null: a directory. */
  readonly content: string | null;
}

export interface ImageConfig {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly env: readonly string[];
  readonly workdir: string;
  readonly user: string;
  /** The signal that asks it to end; absent: SIGTERM. */
  readonly stopSignal?: string;
}

export interface EmbeddedConfiguration {
  /** ENROOT_*, NVIDIA_* and MELLANOX_* that a launch looks at, evaluated. */
  readonly settings: Readonly<Record<string, string>>;
  /** Those of environ.d, mounts.d and hooks.d, in the order in which they count. */
  readonly files: readonly EmbeddedFile[];
}

export interface EmbeddedFile {
  /** Of the system (/etc/enroot), or of the user who made it (`make --all`). */
  readonly from: 'system' | 'user';
  /** Below that directory: `hooks.d/50-site.sh`. */
  readonly path: string;
  /** Its permissions; a hook without an x bit is not run. */
  readonly mode: number;
  /** Where it is a file as enroot ships it: what serves it (`10-home`), and then there is no content. '' otherwise. */
  readonly builtin: string;
  readonly encoding: 'utf8' | 'base64';
  readonly content: string;
}

export interface BuildOptions {
  /** --target, expanded at run time as a shell would (`${HOME}`); '' for the default `$PWD/NAME`. */
  readonly target: string;
  /** --env K=V given to make. */
  readonly env: readonly string[];
  /** Content of the script given with --rc; null without. */
  readonly rc: string | null;
  /** --entrypoint given to make; null without. */
  readonly entrypoint: readonly string[] | null;
}
