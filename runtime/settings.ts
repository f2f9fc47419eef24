// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { isOff } from '../src/format/enroot-conf.ts';
import { Failure } from './failure.ts';
import { chooseHooks } from './hooks/index.ts';
import type { Options } from './options.ts';
import { isRung, type Rung, rungs } from './rungs.ts';

type Variables = Readonly<Record<string, Bytes>>;

/** What configuration and variables decide, in one place: enroot's names and defaults (its doc/configuration.md, doc/cmd/start.md, doc/standard-hooks.md). */
export interface Settings {
  /** --rw, --overlay, ENROOT_ROOTFS_WRITABLE. */
  readonly rw: boolean;
  /** BUNDLER_RW: where the writable layer of --rw goes; '' leaves the choice to the probes. */
  readonly layerIn: '' | 'memory' | 'disk';
  /** BUNDLER_RW_SIZE: how much a layer in memory may hold; 0 is the kernel's default, half of the memory. */
  readonly layerSizeBytes: number;
  /** --root, ENROOT_REMAP_ROOT. */
  readonly root: boolean;
  /** ENROOT_LOGIN_SHELL: scripts are run by a login shell, which reads the image's /etc/profile. Here, unlike in enroot, off by default. */
  readonly loginShell: boolean;
  /** ENROOT_ALLOW_SUPERUSER: root stays the real root inside. */
  readonly allowSuperuser: boolean;
  /** --pid, --net, --ipc, --uts; ENROOT_UNSHARE_PID and so on. */
  readonly unshare: { readonly pid: boolean; readonly net: boolean; readonly ipc: boolean; readonly uts: boolean };
  /** --subuid, BUNDLER_SUBUID: ranges of ids are mapped, not only the caller's. */
  readonly subuid: boolean;
  /** --init: process 1 of a process namespace is ours. */
  readonly init: boolean;
  /** ENROOT_MOUNT_HOME: the hook 10-home. */
  readonly mountHome: boolean;
  /** ENROOT_RESTRICT_DEV: the hook 10-devices. */
  readonly restrictDev: boolean;
  /**
   * Files of enroot's own configuration that were found, by name without ending (`50-slurm-pmi`): `on` where a file is as
   * enroot ships it, so that its built-in serves; `off` where a changed one takes the built-in's place. A name that is
   * not here is as it is by default.
   */
  readonly builtins: Readonly<Record<string, 'on' | 'off'>>;
  /** The built-in hooks to run, by name: the default ones, what builtins says, and BUNDLER_HOOKS. */
  readonly hooks: readonly string[];
  /** ENROOT_*, NVIDIA_* and MELLANOX_* that configuration gives, below the caller's environment: hooks see them. */
  readonly configured: Variables;
  /** The same from the --conf script's directives and from --env, above the caller's environment. */
  readonly overrides: Variables;
  /** Forces a payload driver; '' leaves the choice to the probes. */
  readonly driver: '' | 'fuse' | 'extract' | 'kernel';
  /** The processes of a job share one mount: --no-share, BUNDLER_SHARE=0. */
  readonly share: boolean;
  /** Forces a rung of the sandbox ladder; '' leaves the choice to what was tried. */
  readonly sandbox: '' | Rung;
}

/** Where settings come from besides the command line; each later one wins over those before it. */
export interface SettingSources {
  /** Of configuration files: embedded by `make`, or the host's with --host-config. */
  readonly configured: Variables;
  /** The caller's environment. */
  readonly env: Variables;
  /** `#ENROOT_X=y` lines of the --conf script. */
  readonly directives: Variables;
  readonly builtins: Settings['builtins'];
}

/** The same for a variable that is on by default, and stays so when it is empty. */
function isNo(value: Bytes): boolean {
  return value === '0' || (value !== '' && isOff(value));
}

export function readSettings(sources: SettingSources, options: Options): Settings {
  const { env } = sources;
  const given: Record<string, Bytes> = {};
  for (const item of options.env) {
    const at = item.indexOf('=');
    if (at > 0 && item.startsWith('ENROOT_')) given[item.slice(0, at)] = item.slice(at + 1);
  }
  const layers = [given, sources.directives, env, sources.configured];
  const value = (name: string) => layers.find((layer) => layer[name] !== undefined)?.[name] ?? '';
  const isOn = (name: string) => !isOff(value(name));
  const sandbox = env.BUNDLER_SANDBOX ?? '';
  if (sandbox !== '' && !isRung(sandbox)) {
    throw new Failure(
      `BUNDLER_SANDBOX=${sandbox}: no such way to run a container`,
      `use one of ${rungs.join(', ')}, or leave it unset`,
    );
  }
  const driver = env.BUNDLER_DRIVER ?? '';
  if (driver !== '' && driver !== 'fuse' && driver !== 'extract' && driver !== 'kernel') {
    throw new Failure(
      `BUNDLER_DRIVER=${driver} is not in this version`,
      'use fuse, extract or kernel, or leave it unset',
    );
  }
  const layerIn = env.BUNDLER_RW ?? '';
  if (layerIn !== '' && layerIn !== 'memory' && layerIn !== 'disk') {
    throw new Failure(
      `BUNDLER_RW=${layerIn}: not a place for a writable layer`,
      'use memory or disk, or leave it unset',
    );
  }
  return {
    layerIn,
    layerSizeBytes: readSize('BUNDLER_RW_SIZE', env.BUNDLER_RW_SIZE ?? ''),
    rw: options.rw || options.overlay !== null || isOn('ENROOT_ROOTFS_WRITABLE'),
    root: options.root || isOn('ENROOT_REMAP_ROOT'),
    loginShell: isOn('ENROOT_LOGIN_SHELL'),
    allowSuperuser: isOn('ENROOT_ALLOW_SUPERUSER'),
    unshare: {
      pid: options.pid || isOn('ENROOT_UNSHARE_PID'),
      net: options.net || isOn('ENROOT_UNSHARE_NET'),
      ipc: options.ipc || isOn('ENROOT_UNSHARE_IPC'),
      uts: options.uts || isOn('ENROOT_UNSHARE_UTS'),
    },
    subuid: options.subuid || isOn('BUNDLER_SUBUID'),
    // What became another user is no longer killed with the visible process: an init is (native/supervise.h).
    init: options.init || options.subuid || isOn('BUNDLER_SUBUID'),
    mountHome: isOn('ENROOT_MOUNT_HOME'),
    restrictDev: isOn('ENROOT_RESTRICT_DEV'),
    builtins: sources.builtins,
    hooks: chooseHooks(env.BUNDLER_HOOKS ?? '', sources.builtins),
    configured: sources.configured,
    overrides: { ...sources.directives, ...given },
    driver,
    share: !options.noShare && !isNo(env.BUNDLER_SHARE ?? ''),
    sandbox,
  };
}

/** Sources where nothing is configured. */
export function settingsFrom(env: Variables): SettingSources {
  return { configured: {}, env, directives: {}, builtins: {} };
}

/** `512M`, `2G` or plain bytes, in bytes; 0 for ''. The letters are powers of 1024, as for the size of a tmpfs (tmpfs(5)). */
function readSize(name: string, text: Bytes): number {
  const [, digits, letter = ''] = /^(\d{1,15})([kKmMgGtT]?)$/.exec(text) ?? [];
  const sizeBytes = Number(digits ?? 0) * 1024 ** ' KMGT'.indexOf(letter.toUpperCase() || ' ');
  if (text === '' || (sizeBytes > 0 && Number.isSafeInteger(sizeBytes))) return sizeBytes;
  throw new Failure(`${name}=${text}: not a size`, `give bytes, or a number with K, M, G or T: ${name}=2G`);
}
