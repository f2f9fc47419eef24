// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { hasHostHooks } from './configuration.ts';
import { Failure } from './failure.ts';
import { isBind } from './fstab.ts';
import { planIdentity } from './identity.ts';
import type { LaunchInput } from './launch-input.ts';
import { collectMounts } from './mounts.ts';
import { explainRung, type Rung, readRungs, rungs, rungsQuestion } from './rungs.ts';

/** The rung of the sandbox ladder that a launch stands on. */
export interface Sandbox {
  readonly rung: Rung;
}

const best: Sandbox = { rung: 'userns' };

/** Chooses the best rung that this host allows and that can do what is asked for; or asks what is left without namespaces. */
export function chooseSandbox(input: LaunchInput): Sandbox | { readonly ask: readonly string[] } {
  const { settings, host, request } = input;
  const wanted = settings.sandbox;
  const asRoot = settings.allowSuperuser && request.euid === 0;
  // Extraction alone needs no sandbox at all.
  if (input.options.extract && input.options.keep) return best;
  if (settings.driver === 'kernel') return { rung: 'root' };
  const cause = explainRung('userns', input);
  if (wanted === 'userns') {
    if (cause !== null) throw new Failure(`BUNDLER_SANDBOX=userns cannot be used: ${cause.cause}`, cause.cure);
    return best;
  }
  if (wanted === '' && cause === null && !asRoot) return best;
  if (host.answers[rungsQuestion] === undefined) return { ask: [rungsQuestion] };
  if (wanted !== '') return takeWanted(wanted, input);
  if (asRoot && explainRung('root', input) === null && explainLack('root', input) === null) return { rung: 'root' };
  if (cause === null) return best;
  const refused: string[] = [cause.cause];
  for (const rung of rungs.slice(1)) {
    const why = explainRung(rung, input)?.cause ?? explainLack(rung, input);
    if (why === null) return { rung };
    refused.push(`${rung}: ${why}`);
  }
  throw new Failure(`cannot start a container on this host: ${refused.join('; ')}`, cause.cure);
}

function takeWanted(rung: Rung, input: LaunchInput): Sandbox {
  const cause = explainRung(rung, input);
  const lack = cause?.cause ?? explainLack(rung, input);
  if (lack === null) return { rung };
  throw new Failure(`BUNDLER_SANDBOX=${rung} cannot be used: ${lack}`, cause?.cure || 'leave BUNDLER_SANDBOX unset');
}

/** What is asked for and cannot be done on a rung without mounts; null when nothing is. */
function explainLack(rung: Rung, input: LaunchInput): Bytes | null {
  const { settings, request, options } = input;
  const { uid, gid } = planIdentity(input);
  if (rung !== 'proot' && rung !== 'userns' && uid !== request.euid)
    return `only root can be had, and ${uid}:${gid} is asked for`;
  if (rung === 'userns' || rung === 'root') return null;
  if (options.overlay !== null) return '--overlay needs mounts';
  // They find the root filesystem in a directory of ours.
  const isKept = options.keep || options.target !== null;
  if (hasHostHooks(input) && isKept) return 'hooks of the host and --conf need mounts with --keep or --target';
  const namespaces = Object.entries(settings.unshare).flatMap(([name, on]) => (on ? [`--${name}`] : []));
  if (namespaces.length > 0) return `${namespaces.join(' ')}: namespaces are asked for`;
  if (rung === 'proot') return settings.subuid ? '--subuid needs a user namespace' : null;
  const extra = collectMounts(input).find(
    ({ entry, from }) => from !== 'system' && from !== 'config' && isBind(entry) && !entry.options.includes('nofail'),
  );
  return extra === undefined ? null : `nothing can be mounted, and ${extra.entry.source} is to be`;
}

/** The input as the rung has it: on `root` the probes are those of real root, below it nothing can be mounted. */
export function seenFrom(sandbox: Sandbox, input: LaunchInput): LaunchInput {
  if (sandbox.rung === 'userns') return input;
  const tried = readRungs(input.host.answers[rungsQuestion] ?? '');
  const of = (name: string) => (sandbox.rung === 'root' ? (tried[`root-${name}`] ?? 'skipped') : 'skipped');
  const probes = { ...input.host.probes, fuse: of('fuse'), overlay: of('overlay'), 'tmpfs-xattr': of('tmpfs-xattr') };
  return { ...input, host: { ...input.host, probes } };
}

/** For people: what a container is like on this rung. */
export function describeSandbox({ rung }: Sandbox): string {
  switch (rung) {
    case 'userns':
      return 'in namespaces of its own';
    case 'root':
      return 'as real root, in a mount namespace of its own';
    case 'chroot':
      return 'degraded: in a chroot, without /proc, /sys, most of /dev, and mounts';
    case 'proot':
      return 'degraded: through proot, which makes system calls slower, and without read-only mounts, setuid programs and debuggers';
  }
}

/** Can anything be mounted? */
export function hasMounts({ rung }: Sandbox): boolean {
  return rung === 'userns' || rung === 'root';
}
