// SPDX-License-Identifier: Apache-2.0
import { type Bytes, fromBuffer, toBuffer } from '../src/format/bytes.ts';
import type { Observer } from './observer.ts';

/** One requirement of the host, checked. */
export interface Check {
  readonly group: string;
  readonly name: string;
  readonly ok: boolean;
  /** A bundle also runs without it. */
  readonly optional: boolean;
  /** What follows from it, or why it is missing. */
  readonly note: string;
  readonly cure: string;
}

/** The kernel's build configuration, where the host keeps it; null when nowhere. */
function readKernelConfig(observer: Observer, release: string): { path: Bytes; text: Bytes } | null {
  const packed = observer.readFile('/proc/config.gz');
  if (packed !== null) {
    const zlib = process.getBuiltinModule('node:zlib');
    return { path: '/proc/config.gz', text: fromBuffer(zlib.gunzipSync(toBuffer(packed))) };
  }
  const paths = [
    `/boot/config-${release}`,
    `/lib/modules/${release}/config`,
    `/usr/src/linux-${release}/.config`,
    '/usr/src/linux/.config',
    `/lib/modules/${release}/build/.config`,
  ];
  for (const path of paths) {
    const text = observer.readFile(path);
    if (text !== null) return { path, text };
  }
  return null;
}

const wanted: readonly (readonly [name: string, optional: boolean, note: string])[] = [
  ['CONFIG_NAMESPACES', false, 'containers'],
  ['CONFIG_USER_NS', false, 'containers without root'],
  ['CONFIG_SECCOMP_FILTER', true, ''],
  ['CONFIG_FUSE_FS', true, 'starting without unpacking'],
  ['CONFIG_OVERLAY_FS', true, '--rw without unpacking'],
  ['CONFIG_SQUASHFS', true, 'BUNDLER_DRIVER=kernel'],
  ['CONFIG_X86_VSYSCALL_EMULATION', true, 'images with glibc 2.13 or older'],
];

/** CONFIG_* as enroot's --verify lists them. */
export function checkKernelConfig(observer: Observer, release: string): Check[] {
  const config = readKernelConfig(observer, release);
  if (config === null) return [];
  return wanted.map(([name, optional, note]) => {
    const value = new RegExp(`^${name}=([ym])$`, 'm').exec(config.text)?.[1];
    return {
      group: 'Kernel configuration',
      name,
      ok: value !== undefined,
      optional,
      note: value === 'm' ? 'module' : value === undefined ? `needed for ${note || 'some programs'}` : '',
      cure: '',
    };
  });
}

const parameters: readonly (readonly [name: string, wantsZero: boolean])[] = [
  ['kernel.unprivileged_userns_clone', false],
  ['user.max_user_namespaces', false],
  ['user.max_mnt_namespaces', false],
  ['kernel.apparmor_restrict_unprivileged_userns', true],
];

/** The sysctls that decide about user namespaces; those the kernel does not have are left out. */
export function checkParameters(observer: Observer): Check[] {
  const checks: Check[] = [];
  for (const [name, wantsZero] of parameters) {
    const text = observer.readFile(`/proc/sys/${name.replace('.', '/')}`)?.trim();
    if (text === undefined || !/^-?\d+$/.test(text)) continue;
    const ok = wantsZero ? Number(text) === 0 : Number(text) > 0;
    checks.push({
      group: 'Kernel parameters',
      name,
      ok,
      optional: wantsZero,
      note: `is ${text}`,
      cure: ok ? '' : `sudo sysctl -w ${name}=${wantsZero ? 0 : name.startsWith('user.') ? 15000 : 1}`,
    });
  }
  return checks;
}
