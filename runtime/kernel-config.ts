// SPDX-License-Identifier: Apache-2.0
import { type Bytes, fromBuffer, toBuffer } from '../src/format/bytes.ts';
import type { Check } from './check.ts';
import type { Observer } from './observer.ts';

/** The kernel's build configuration, where the host keeps it; null when nowhere. */
export function readKernelConfig(observer: Observer, release: string): { path: Bytes; text: Bytes } | null {
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

const oldLibc = 'required if glibc <= 2.13';

/** enroot's list with its words; then what bundler makes use of. Kernels since 4.4 spell the vsyscall choices with LEGACY. */
const wanted: readonly (readonly [name: string, need: string, others?: readonly string[]])[] = [
  ['CONFIG_NAMESPACES', ''],
  ['CONFIG_USER_NS', ''],
  ['CONFIG_SECCOMP_FILTER', 'required for --root'],
  ['CONFIG_OVERLAY_FS', 'required for --rw in place'],
  ['CONFIG_X86_VSYSCALL_EMULATION', oldLibc],
  ['CONFIG_VSYSCALL_EMULATE', oldLibc, ['CONFIG_LEGACY_VSYSCALL_EMULATE', 'CONFIG_LEGACY_VSYSCALL_XONLY']],
  ['CONFIG_VSYSCALL_NATIVE', oldLibc, ['CONFIG_LEGACY_VSYSCALL_NATIVE']],
  ['CONFIG_FUSE_FS', 'required to start in place'],
  ['CONFIG_SQUASHFS', 'BUNDLER_DRIVER=kernel only'],
];

/** CONFIG_* as enroot's --verify lists them. config: the text of the configuration; vsyscall: the page is there, whatever the choices. */
export function checkKernelConfig(config: Bytes, vsyscall: boolean): Check[] {
  return wanted.map(([name, usual, others = []]) => {
    const need = vsyscall && usual === oldLibc ? 'not needed' : usual;
    const value = [name, ...others]
      .map((spelled) => new RegExp(`^${spelled}=([ym])$`, 'm').exec(config)?.[1])
      .find((found) => found !== undefined);
    const ok = value !== undefined;
    return { id: name, group: 'config', name, ok, need, note: value === 'm' ? 'module' : '', cure: '' };
  });
}

/** What the kernel was told at boot (bootparam(7), the kernel's kernel-parameters.txt). vsyscall: the page is there without being asked for. */
export function checkCommandLine(observer: Observer, vsyscall: boolean): Check[] {
  const line = (observer.readFile('/proc/cmdline') ?? '').split(/\s+/);
  const id = /^ID="?([^"\n]*)/m.exec(observer.readFile('/etc/os-release') ?? '')?.[1] ?? '';
  const release = /^VERSION_ID="?(\d+)/m.exec(observer.readFile('/etc/os-release') ?? '')?.[1] ?? '';
  const needed = ['centos', 'rhel', 'ol'].includes(id) && release === '7';
  const forNamespaces = ['namespace.unpriv_enable=1', 'user_namespace.enable=1'];
  return [
    ...(needed ? forNamespaces : []).map((name): Check => {
      const ok = line.includes(name);
      const cure = ok ? '' : `sudo grubby --update-kernel=ALL --args="${forNamespaces.join(' ')}" && sudo reboot`;
      return { id: name, group: 'cmdline', name, ok, need: '', note: '', cure };
    }),
    ...['vsyscall=native', 'vsyscall=emulate'].map((name): Check => {
      const ok = line.includes(name);
      const need = vsyscall ? 'not needed' : oldLibc;
      return { id: name, group: 'cmdline', name, ok, need, note: '', cure: '' };
    }),
  ];
}

const parameters: readonly (readonly [name: string, wantsZero: boolean])[] = [
  ['kernel.unprivileged_userns_clone', false],
  ['user.max_user_namespaces', false],
  ['user.max_mnt_namespaces', false],
  ['kernel.apparmor_restrict_unprivileged_userns', true],
];

/** The sysctls that decide about user namespaces; those the kernel does not have are left out. profile: the command that makes up for AppArmor's. */
export function checkParameters(observer: Observer, profile: Bytes): Check[] {
  const checks: Check[] = [];
  for (const [name, wantsZero] of parameters) {
    const text = observer.readFile(`/proc/sys/${name.replace('.', '/')}`)?.trim();
    if (text === undefined || !/^-?\d+$/.test(text)) continue;
    const ok = wantsZero ? Number(text) === 0 : Number(text) > 0;
    const cure = wantsZero ? profile : `sudo sysctl -w ${name}=${name.startsWith('user.') ? 15000 : 1}`;
    checks.push({
      id: name,
      group: 'sysctl',
      name,
      ok,
      need: wantsZero ? 'required w/o apparmor profile' : '',
      note: `is ${text}`,
      cure: ok ? '' : cure,
    });
  }
  return checks;
}
