// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { Failure } from './failure.ts';
import type { Options } from './options.ts';

/** What variables decide: ENROOT_* from the caller or from --env, BUNDLER_* from the caller. */
export interface Settings {
  readonly rw: boolean;
  readonly root: boolean;
  /** Forces a payload driver; '' leaves the choice to the probes. */
  readonly driver: '' | 'fuse' | 'extract' | 'kernel';
}

/** enroot takes these spellings as "off" (its config::fini); the empty string is "off" too. */
const off = /^(no?|N[oO]?|[fF](alse)?|FALSE|)$/;

export function readSettings(env: Readonly<Record<string, Bytes>>, options: Options): Settings {
  const given = new Map(options.env.map((item) => [item.split('=', 1)[0], item] as const));
  const value = (name: string) => {
    const item = given.get(name);
    return item?.includes('=') ? item.slice(name.length + 1) : (env[name] ?? '');
  };
  const sandbox = env.BUNDLER_SANDBOX ?? '';
  if (sandbox !== '' && sandbox !== 'userns') {
    throw new Failure(`BUNDLER_SANDBOX=${sandbox} is not in this version`, 'leave it unset, or use userns');
  }
  const driver = env.BUNDLER_DRIVER ?? '';
  if (driver !== '' && driver !== 'fuse' && driver !== 'extract' && driver !== 'kernel') {
    throw new Failure(
      `BUNDLER_DRIVER=${driver} is not in this version`,
      'use fuse, extract or kernel, or leave it unset',
    );
  }
  return {
    rw: options.rw || !off.test(value('ENROOT_ROOTFS_WRITABLE')),
    root: options.root || !off.test(value('ENROOT_REMAP_ROOT')),
    driver,
  };
}
