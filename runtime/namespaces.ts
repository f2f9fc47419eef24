// SPDX-License-Identifier: Apache-2.0
import { extractFlags, filterKinds, type Op, superviseFlags, unshareFlags } from '../src/format/plan.ts';
import { Failure } from './failure.ts';
import type { Identity } from './identity.ts';
import type { LaunchInput } from './launch-input.ts';
import type { Payload } from './payload.ts';
import { planRanges } from './subids.ts';

/** The namespaces that a container gets, user namespace first. With a process namespace the rest is done by a child (native/supervise.h). */
export function planNamespaces(
  input: LaunchInput,
  identity: Identity,
  payload: Payload,
): readonly Op[] | { readonly ask: readonly string[] } {
  const { request, settings } = input;
  const others = planOtherNamespaces(input);
  if (payload.sandbox.rung !== 'userns') return others;
  if (settings.subuid) {
    refuseStrangers(input, payload);
    const ranges = planRanges(input, identity);
    return 'ask' in ranges ? ranges : [ranges, ...others];
  }
  const { uid, gid } = identity;
  return [
    { op: 'userns', insideUid: uid, insideGid: gid, outsideUid: request.euid, outsideGid: request.egid },
    ...others,
  ];
}

/** Files that other ids of ours own cannot be removed again from outside: what goes after the run must not hold any. */
function refuseStrangers({ settings }: LaunchInput, payload: Payload): void {
  if (payload.driver === 'kernel') return;
  const inMemory = payload.driver === 'extract' && payload.place === '' && payload.target === '';
  const unpacked = payload.driver === 'extract' && settings.rw && payload.layer === null && !inMemory;
  const goes = unpacked && (payload.flags & extractFlags.keep) === 0;
  if (!goes && payload.layer?.in !== 'disk') return;
  throw new Failure(
    '--subuid with --rw needs a writable layer in memory or in a directory that stays',
    'add --overlay DIR, or leave out --subuid',
  );
}

function planOtherNamespaces({ settings, manifest, host }: LaunchInput): Op[] {
  const { pid, net, ipc, uts } = settings.unshare;
  const flags = [
    unshareFlags.mount,
    // As enroot, which does so where the kernel has control groups.
    settings.hooks.includes('10-cgroups') && host.cgroup !== '' ? unshareFlags.cgroup : 0,
    net ? unshareFlags.net : 0,
    ipc ? unshareFlags.ipc : 0,
    uts ? unshareFlags.uts : 0,
  ].reduce((all, flag) => all | flag);
  const rest: Op = { op: 'unshare', flags };
  if (!pid) return [rest];
  const termSignal = readSignal(manifest.config?.stopSignal ?? '');
  return [
    { op: 'unshare', flags: unshareFlags.pid },
    { op: 'supervise', termSignal, flags: settings.init ? superviseFlags.init : 0 },
    rest,
  ];
}

/** What the command gives up, and what it is spared. enroot leaves a mapped root its (namespaced) capabilities, so that package managers work. */
export function planPrivileges(input: LaunchInput, identity: Identity, namespaces: readonly Op[]): Op[] {
  const { settings, host } = input;
  return [
    { op: 'noNewPrivs' },
    ...(identity.uid === 0 ? [] : [{ op: 'dropCaps' } as const]),
    // With one id mapped chown and setuid can only fail.
    ...(identity.uid === 0 && namespaces[0]?.op === 'userns' ? planFakeRoot(host.probes.seccomp, settings.root) : []),
    ...(settings.unshare.pid && settings.init ? [{ op: 'init' } as const] : []),
  ];
}

function planFakeRoot(probe: string | undefined, isAsked: boolean): Op[] {
  if (probe === 'ok') return [{ op: 'seccomp', kind: filterKinds.fakeRoot }];
  const text =
    'bundler: without seccomp filters, which this host does not have or does not allow, chown and setuid fail in --root\n' +
    '  try: --subuid, where /etc/subuid gives you a range\n';
  return isAsked ? [{ op: 'warn', text }] : [];
}

/** By number, from 1 on: signal(7), the column of x86 and arm. */
const signals =
  'HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS'.split(
    ' ',
  );

/** An image's StopSignal (`SIGQUIT`, `QUIT`, `3`, `RTMIN+3`) as a number; 0 for none, for SIGTERM itself, and for what is no signal. */
export function readSignal(text: string): number {
  const name = text.toUpperCase().replace(/^SIG/, '');
  const realtime = /^RTMIN(?:\+(\d+))?$/.exec(name);
  const number =
    realtime !== null ? 34 + Number(realtime[1] ?? 0) : /^\d+$/.test(name) ? Number(name) : signals.indexOf(name) + 1;
  return number <= 64 && number !== 15 ? number : 0;
}
