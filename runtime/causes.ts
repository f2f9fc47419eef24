// SPDX-License-Identifier: Apache-2.0
import type { HostFacts } from './launch-input.ts';

/** Why something cannot be had on this host, and the command that would change it. */
export interface Cause {
  readonly cause: string;
  readonly cure: string;
}

/** What helps against AppArmor's restriction without a profile; --verify knows the profile instead. */
export const appArmorCure = 'sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0';

/** Errors by number as asm-generic/errno*.h has them; probes may also name them. */
const errnoNames: Readonly<Record<string, string>> = {
  1: 'EPERM',
  2: 'ENOENT',
  5: 'EIO',
  6: 'ENXIO',
  12: 'ENOMEM',
  13: 'EACCES',
  16: 'EBUSY',
  19: 'ENODEV',
  22: 'EINVAL',
  28: 'ENOSPC',
  30: 'EROFS',
  38: 'ENOSYS',
  75: 'EOVERFLOW',
  87: 'EUSERS',
  95: 'EOPNOTSUPP',
  122: 'EDQUOT',
};

/** `STEP ERRNO` of a probe, its errno by name; null when the probe went well. */
export function readFailure(probe: string | undefined): { step: string; errno: string } | null {
  if (probe === 'ok') return null;
  const [step = '', errno = ''] = (probe ?? '').split(' ');
  return { step: step === '' ? 'missing' : step, errno: nameErrno(errno) };
}

/** `13` as `EACCES`; what has no name here, as it is. */
export function nameErrno(errno: string): string {
  return errnoNames[errno] ?? errno;
}

/** Why no user namespace with mounts in it can be made: FACTS measured on kernels 5.10 to 6.18, user_namespaces(7). */
export function explainNamespaces({ probes, limits }: HostFacts): Cause | null {
  const userns = readFailure(probes.userns);
  const mount = readFailure(probes.mount);
  const failed = userns ?? mount;
  if (failed === null) return null;
  const said = `${failed.step}: ${failed.errno}`;
  if (userns !== null && userns.step === 'unshare') return explainUnshare(userns.errno, said, limits);
  if (limits.apparmorUserns === '1' && ['EPERM', 'EACCES'].includes(failed.errno)) {
    return {
      cause: `AppArmor restricts user namespaces of programs without a profile (${said})`,
      cure: appArmorCure,
    };
  }
  if (userns === null && failed.errno === 'ENOSPC' && limits.maxMountNamespaces !== '') {
    return {
      cause: `the limit of mount namespaces is reached: user.max_mnt_namespaces is ${limits.maxMountNamespaces} (${said})`,
      cure: 'sudo sysctl -w user.max_mnt_namespaces=15000',
    };
  }
  if (limits.seccomp === '2') return seccomp(userns === null ? 'mounting' : 'setting up a user namespace', said);
  return {
    cause: `${userns === null ? 'mounting inside a user namespace' : 'setting up a user namespace'} is refused (${said})`,
    cure: 'look for a security module (AppArmor, SELinux, Landlock) that confines this process: journalctl -k | grep -i denied',
  };
}

function explainUnshare(errno: string, said: string, limits: HostFacts['limits']): Cause {
  if (errno === 'ENOSPC' || errno === 'EUSERS') {
    const limit = limits.maxUserNamespaces;
    return {
      cause:
        limit === '0'
          ? `user namespaces are switched off: user.max_user_namespaces is 0 (${said})`
          : `the limit of user namespaces is reached: user.max_user_namespaces is ${limit || 'unknown'} (${said})`,
      cure: 'sudo sysctl -w user.max_user_namespaces=15000',
    };
  }
  if (errno === 'ENOSYS' || errno === 'EINVAL') {
    return {
      cause: `the kernel has no user namespaces (${said})`,
      cure: 'use a kernel with CONFIG_USER_NS=y; on RHEL 7: sudo grubby --update-kernel=ALL --args="namespace.unpriv_enable=1 user_namespace.enable=1"',
    };
  }
  if (limits.usernsClone === '0') {
    return {
      cause: `user namespaces are switched off for ordinary users: kernel.unprivileged_userns_clone is 0 (${said})`,
      cure: 'sudo sysctl -w kernel.unprivileged_userns_clone=1',
    };
  }
  if (limits.rootIsMount === 'no') {
    return {
      cause: `this process runs in a chroot, where the kernel forbids user namespaces (${said})`,
      cure: 'enter the directory with pivot_root instead of chroot, for example: systemd-nspawn -D DIR',
    };
  }
  if (limits.seccomp === '2') return seccomp('user namespaces', said);
  if (limits.apparmorUserns === '1') {
    return {
      cause: `AppArmor restricts user namespaces of programs without a profile (${said})`,
      cure: appArmorCure,
    };
  }
  return {
    cause: `the kernel or a security module refuses user namespaces (${said})`,
    cure: 'look for the denial: journalctl -k | grep -i denied',
  };
}

function seccomp(what: string, said: string): Cause {
  return {
    cause: `a seccomp filter, such as docker's default one, forbids ${what} (${said})`,
    cure: 'start the outer container with: docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined',
  };
}

/** Why a squashfs cannot be mounted through /dev/fuse. */
export function explainFuse({ probes }: HostFacts): Cause | null {
  const failed = readFailure(probes.fuse);
  if (failed === null) return null;
  const said = `${failed.step}: ${failed.errno}`;
  if (failed.step === 'skipped') return { cause: 'not tried, because no user namespace can be had', cure: '' };
  if (failed.step === 'open' && failed.errno === 'ENOENT') {
    return {
      cause: `/dev/fuse is missing (${said})`,
      cure: 'sudo modprobe fuse; in docker: docker run --device /dev/fuse',
    };
  }
  if (failed.step === 'open' && failed.errno === 'EACCES') {
    return { cause: `/dev/fuse may not be opened (${said})`, cure: 'sudo chmod 666 /dev/fuse' };
  }
  if (failed.step === 'open' && failed.errno === 'EPERM') {
    return {
      cause: `a device rule of the cgroup forbids /dev/fuse (${said})`,
      cure: 'in docker: docker run --device /dev/fuse',
    };
  }
  if (failed.errno === 'ENODEV' || failed.errno === 'ENXIO') {
    return { cause: `the kernel has no FUSE driver (${said})`, cure: 'sudo modprobe fuse' };
  }
  return {
    cause: `FUSE cannot be mounted in a user namespace (${said})`,
    cure: 'use a kernel of at least 4.18 with CONFIG_FUSE_FS',
  };
}

/** Why no overlay can be mounted in a user namespace, whatever its directories are; null when one can. */
export function explainOverlayMount({ probes }: HostFacts): Cause | null {
  const failed = readFailure(probes.overlay);
  // The other steps fail for want of user xattrs, which is a matter of the directory.
  if (failed === null || failed.step === 'rmdir' || failed.step === 'mkdir') return null;
  if (failed.step === 'skipped') return { cause: 'not tried, because no user namespace can be had', cure: '' };
  return {
    cause: `overlay cannot be mounted in a user namespace (${failed.step}: ${failed.errno})`,
    cure: failed.errno === 'ENODEV' ? 'sudo modprobe overlay' : 'use a kernel of at least 5.11 with CONFIG_OVERLAY_FS',
  };
}

/** Why a writable layer in memory cannot be put over the image; null when it can. */
export function explainOverlay(host: HostFacts): Cause | null {
  const mount = explainOverlayMount(host);
  const failed = readFailure(host.probes.overlay) ?? readFailure(host.probes['tmpfs-xattr']);
  if (mount !== null || failed === null) return mount;
  return {
    cause: `tmpfs keeps no user xattrs here (${failed.step}: ${failed.errno})`,
    cure: 'use a kernel of at least 6.6; until then --rw writes to a disk: BUNDLER_RW=disk',
  };
}
