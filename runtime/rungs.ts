// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { type Cause, explainNamespaces, readFailure } from './causes.ts';
import type { LaunchInput } from './launch-input.ts';

/** How a container is put together, best first: docs/sandbox.md. */
export const rungs = ['userns', 'root', 'chroot', 'proot'] as const;
export type Rung = (typeof rungs)[number];

export function isRung(name: string): name is Rung {
  return (rungs as readonly string[]).includes(name);
}

/** Asks the launcher what is left where no user namespace can be had (docs/plan.md). */
export const rungsQuestion = 'rungs';

/** `NAME ok` or `NAME STEP ERRNO` lines as probes. */
export function readRungs(answer: Bytes): Readonly<Record<string, string>> {
  const lines = answer.split('\n').filter((line) => line !== '');
  return Object.fromEntries(lines.map((line) => [line.split(' ')[0] ?? '', line.slice(line.indexOf(' ') + 1)]));
}

/** Why a rung cannot be used here; null when it can. The answer to `rungsQuestion` must be in the input, but for `userns`. */
export function explainRung(rung: Rung, input: LaunchInput): Cause | null {
  const tried = readRungs(input.host.answers[rungsQuestion] ?? '');
  switch (rung) {
    case 'userns':
      return explainNamespaces(input.host);
    case 'root':
      return explainRoot(input, tried.root);
    case 'chroot':
      return explainChroot(input, tried.chroot);
    case 'proot':
      return explainProot(input, tried.ptrace);
  }
}

function explainRoot({ request }: LaunchInput, probe: string | undefined): Cause | null {
  if (request.euid !== 0) return { cause: 'it needs real root', cure: '' };
  const failed = readFailure(probe);
  if (failed === null) return null;
  const said = `${failed.step}: ${failed.errno}`;
  if (failed.step === 'propagation' && failed.errno === 'EINVAL') {
    return { cause: `this process runs in a chroot, in which mounts cannot be kept apart (${said})`, cure: '' };
  }
  return {
    cause: `root has no right to mount here (${said})`,
    cure: 'in docker: docker run --cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined',
  };
}

function explainChroot({ request }: LaunchInput, probe: string | undefined): Cause | null {
  if (request.euid !== 0) return { cause: 'it needs real root', cure: '' };
  const failed = readFailure(probe);
  if (failed === null) return null;
  return {
    cause: `root may not change its root directory (${failed.step}: ${failed.errno})`,
    cure: 'in docker: docker run --cap-add SYS_CHROOT',
  };
}

function explainProot({ request, host }: LaunchInput, probe: string | undefined): Cause | null {
  if (request.runtimeDir === '') {
    return {
      cause: 'no directory could take the programs that it needs',
      cure: 'name a directory of yours that is not mounted noexec: BUNDLER_CACHE_DIR=DIR',
    };
  }
  const filter = readFailure(host.probes.seccomp);
  if (filter !== null) {
    return {
      cause: `the kernel takes no seccomp filter (${filter.step}: ${filter.errno})`,
      cure: 'use a kernel with CONFIG_SECCOMP_FILTER',
    };
  }
  const failed = readFailure(probe);
  if (failed === null) return null;
  return {
    cause: `a process may not be traced here, not even by one that it allows to (${failed.step}: ${failed.errno})`,
    cure: 'sudo sysctl -w kernel.yama.ptrace_scope=1; in docker before 19.03: docker run --cap-add SYS_PTRACE',
  };
}
