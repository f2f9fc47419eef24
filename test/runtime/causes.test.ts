// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import type { Limits } from '../../runtime/launch-input.ts';
import { planLaunch } from '../../runtime/plan-launch.ts';
import { makeInput } from './launch-fixture.ts';

const limits: Limits = {
  maxUserNamespaces: '15000',
  maxMountNamespaces: '15000',
  usernsClone: '',
  apparmorUserns: '',
  seccomp: '0',
  rootIsMount: 'yes',
};

/** The failure of a launch on a host where these probes fail, and tracing is forbidden too. */
function refuse(probes: Record<string, string>, differs: Partial<Limits> = {}): Failure {
  try {
    planLaunch(
      makeInput({ probes, host: { limits: { ...limits, ...differs }, answers: { rungs: 'ptrace seize 1\n' } } }),
    );
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error('it was planned');
}

describe('a host that cannot run containers is told why, and what to do', () => {
  const off = (errno: number) => ({ userns: `unshare ${errno}`, mount: 'skipped', fuse: 'skipped' });

  test.each<[string, Record<string, string>, Partial<Limits>, string, string]>([
    [
      'the limit is 0',
      off(28),
      { maxUserNamespaces: '0' },
      'user.max_user_namespaces is 0',
      'sudo sysctl -w user.max_user_namespaces=15000',
    ],
    [
      'the limit is used up',
      off(28),
      { maxUserNamespaces: '3' },
      'limit of user namespaces is reached: user.max_user_namespaces is 3',
      'sysctl -w user.max',
    ],
    [
      'Debian switched them off',
      off(1),
      { usernsClone: '0' },
      'kernel.unprivileged_userns_clone is 0',
      'sudo sysctl -w kernel.unprivileged_userns_clone=1',
    ],
    ['a chroot', off(1), { rootIsMount: 'no' }, 'runs in a chroot', 'pivot_root'],
    [
      'a seccomp filter',
      off(1),
      { seccomp: '2' },
      "a seccomp filter, such as docker's",
      '--security-opt seccomp=unconfined',
    ],
    ['a kernel without them', off(22), {}, 'the kernel has no user namespaces (unshare: EINVAL)', 'CONFIG_USER_NS=y'],
    ['an unknown denial', off(1), {}, 'refuses user namespaces (unshare: EPERM)', 'journalctl'],
    [
      'AppArmor at uid_map',
      { userns: 'uid_map 1', mount: 'skipped' },
      { apparmorUserns: '1' },
      'AppArmor restricts user namespaces of programs without a profile (uid_map: EPERM)',
      'sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0',
    ],
    [
      'AppArmor at the first mount',
      { mount: 'propagation 13', fuse: 'skipped' },
      { apparmorUserns: '1' },
      'AppArmor restricts user namespaces of programs without a profile (propagation: EACCES)',
      'sysctl',
    ],
    [
      'a filter on mount',
      { mount: 'tmpfs 1', fuse: 'skipped' },
      { seccomp: '2' },
      'forbids mounting (tmpfs: EPERM)',
      'seccomp=unconfined',
    ],
    [
      'no mount namespaces left',
      { mount: 'unshare 28', fuse: 'skipped' },
      { maxMountNamespaces: '0' },
      'user.max_mnt_namespaces is 0',
      'sysctl -w user.max_mnt_namespaces',
    ],
  ])('%s', (_title, probes, differs, message, hint) => {
    const failure = refuse(probes, differs);
    expect(failure.message).toMatch(/^cannot start a container on this host: /);
    expect(failure.message).toContain(message);
    expect(failure.message).toMatch(
      /; root: it needs real root; chroot: it needs real root; proot: .*\(seize: EPERM\)$/,
    );
    expect(failure.hint).toContain(hint);
    expect(failure.message).not.toContain('\n');
  });

  test.each([
    ['open 2', '/dev/fuse is missing', 'modprobe fuse'],
    ['open 13', '/dev/fuse may not be opened', 'chmod 666 /dev/fuse'],
    ['open 1', 'a device rule of the cgroup', '--device /dev/fuse'],
    ['open 19', 'the kernel has no FUSE driver', 'modprobe fuse'],
    ['mount 1', 'FUSE cannot be mounted in a user namespace', '4.18'],
  ])('BUNDLER_DRIVER=fuse with %s', (probe, message, hint) => {
    try {
      planLaunch(makeInput({ env: { BUNDLER_DRIVER: 'fuse' }, probes: { fuse: probe } }));
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(Failure);
      expect((error as Failure).message).toContain(message);
      expect((error as Failure).hint).toContain(hint);
    }
  });
});
