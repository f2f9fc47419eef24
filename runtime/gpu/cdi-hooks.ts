// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { Bytes } from '../../src/format/bytes.ts';
import { printable } from '../options.ts';
import type { CdiHook } from './cdi-spec.ts';
import type { Link } from './edits.ts';

/** What hooks of a CDI specification would do, had they been run. */
export interface HookEffects {
  readonly links: readonly Link[];
  /** Where the loader must look; null when no hook updates the loader's cache. */
  readonly libraryDirs: readonly Bytes[] | null;
  /** The driver's version, when newer CUDA libraries of the image are to be preferred to it; '' otherwise. */
  readonly compatDriver: Bytes;
  /** The driver's libraries must not make device nodes. */
  readonly keepsNodes: boolean;
  /** Hooks that are not understood, in words. */
  readonly unknown: readonly Bytes[];
}

/** Nothing is to be done for these: they serve old versions of crun, and EGL where GPUs are chosen (nvidia-container-toolkit's hooks.go). */
const ignored = ['chmod', 'update-application-profile'];

/**
 * Interprets the hooks of nvidia-container-toolkit (cmd/nvidia-cdi-hook), which are `nvidia-cdi-hook COMMAND ...` or, before version 1.15,
 * `nvidia-ctk hook COMMAND ...`. None is ever run: they are programs of the host that expect root and an OCI runtime.
 */
export function interpretHooks(hooks: readonly CdiHook[]): HookEffects {
  const links: Link[] = [];
  const unknown: Bytes[] = [];
  let libraryDirs: Bytes[] | null = null;
  let compatDriver = '';
  let keepsNodes = false;
  for (const hook of hooks) {
    const { name, values } = readCommand(hook);
    if (name === 'create-symlinks') {
      const made = values('link').map(readLink);
      links.push(...made.filter((link) => link !== null));
      if (made.includes(null)) unknown.push(describe(hook));
    } else if (name === 'update-ldcache') {
      libraryDirs = [...(libraryDirs ?? []), ...values('folder')];
    } else if (name === 'enable-cuda-compat') {
      compatDriver = values('host-driver-version').at(-1) ?? '';
    } else if (name === 'disable-device-node-modification') {
      keepsNodes = true;
    } else if (!ignored.includes(name)) {
      unknown.push(describe(hook));
    }
  }
  return { links, libraryDirs, compatDriver, keepsNodes, unknown };
}

/** The command and a look-up of its options, each of which may be given several times or with commas; name '' for any other program. */
function readCommand({ path, args }: CdiHook): { name: Bytes; values: (option: string) => Bytes[] } {
  const program = posix.basename(path);
  const rest = args.slice(1);
  const isHook = program === 'nvidia-cdi-hook' || (program === 'nvidia-ctk' && rest.shift() === 'hook');
  const name = isHook ? (rest.shift() ?? '') : '';
  const options: [Bytes, Bytes][] = [];
  while (rest.length > 0) {
    const [, option, value] = /^--([\w-]+)(?:=(.*))?$/s.exec(rest.shift() ?? '') ?? [];
    if (option !== undefined) options.push([option, value ?? rest.shift() ?? '']);
  }
  const values = (wanted: string) =>
    options.flatMap(([option, value]) => (option === wanted ? value.split(',').filter(Boolean) : []));
  return { name, values };
}

/** `TARGET::PATH`; a PATH without a slash at its beginning is below the root. */
function readLink(text: Bytes): Link | null {
  const [target = '', path = '', ...rest] = text.split('::');
  if (target === '' || path === '' || rest.length > 0) return null;
  return { path: posix.join('/', path), target };
}

function describe({ path, args }: CdiHook): Bytes {
  return printable([path, ...args.slice(1)].join(' '));
}
