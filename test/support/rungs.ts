// SPDX-License-Identifier: Apache-2.0
import { compileProgram } from './programs.ts';
import { type BareOptions, Running, startBare } from './run.ts';
import { bareFlags, sanitizerEnv } from './sanitize.ts';
import { freshUser, makeDir, type User } from './session.ts';

/** What docker's default profile leaves: root without CAP_SYS_ADMIN, no namespaces, no mounts, no /dev/fuse, parts of /proc covered. */
export const docker = ['--uid', '0', '--docker', '--no-fuse', '--deny', 'userns', '--deny', 'mount'] as const;

/** A host on which the bundle stands on one rung of the sandbox ladder, whatever is forced or not. */
export interface RungHost {
  readonly rung: 'userns' | 'root' | 'chroot' | 'proot';
  readonly title: string;
  readonly flags: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export const rungHosts: readonly RungHost[] = [
  { rung: 'userns', title: 'served in place', flags: [], env: {} },
  { rung: 'userns', title: 'unpacked', flags: ['--no-fuse'], env: {} },
  { rung: 'root', title: 'real root', flags: ['--uid', '0'], env: { ENROOT_ALLOW_SUPERUSER: 'y' } },
  { rung: 'chroot', title: 'root in docker', flags: docker, env: {} },
  { rung: 'proot', title: 'a user without namespaces', flags: ['--deny', 'userns'], env: {} },
  { rung: 'proot', title: 'root in docker, proot forced', flags: docker, env: { BUNDLER_SANDBOX: 'proot' } },
];

/** Root of a test: with a home that is this test's alone. */
export function rootUser(): User {
  const user = { uid: 0, home: '' };
  return { ...user, home: makeDir(user, 'root-home') };
}

const users = new Map<string, User>();

/** The user of a rung's tests, whose cache is warm after the first start. */
function userOf({ title, flags }: RungHost): User {
  const user = users.get(title) ?? (flags.includes('--uid') ? rootUser() : freshUser());
  users.set(title, user);
  return user;
}

/** Starts a bundle on such a host; -q: the chroot tells every time what it lacks. */
export function startOn(host: RungHost, argv: readonly string[], options: BareOptions = {}): Running {
  const user = options.user ?? userOf(host);
  const [file = '', ...rest] = argv;
  return startBare([file, '-q', ...rest], {
    ...options,
    user,
    flags: [...host.flags, ...(options.flags ?? [])],
    env: { ...host.env, ...options.env },
  });
}

/** The same on a terminal of its own. */
export function startOnTerminalOf(host: RungHost, file: string, rest: readonly string[]): Running {
  const user = userOf(host);
  const bare = [compileProgram('bare-host'), '--uid', String(user.uid), ...host.flags];
  const shown = ['--bind', `${user.home}=/home/user`, '--file', `${file}=/x.run`, ...bareFlags(file)];
  const env = { PATH: '/bin', HOME: '/home/user', TERM: 'xterm', ...sanitizerEnv('bare host'), ...host.env };
  return new Running([compileProgram('pty-run'), ...bare, ...shown, '--', '/x.run', '-q', ...rest], { cwd: '/', env });
}
