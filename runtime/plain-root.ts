// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { mountOptions, type Op } from '../src/format/plan.ts';
import type { Command } from './command.ts';
import { variable } from './environment.ts';
import { Failure } from './failure.ts';
import type { Identity } from './identity.ts';
import type { LaunchInput } from './launch-input.ts';
import type { Rung } from './rungs.ts';

type MountOp = Extract<Op, { op: 'mount' }>;

/** What every container has, and the rungs without mounts have to put together otherwise. */
export interface PlainParts {
  readonly rung: Rung;
  readonly identity: Identity;
  /** The operations that unpack the image. */
  readonly unpack: readonly Op[];
  /** The operations that write our files and make mountpoints. */
  readonly write: readonly Op[];
  /** What is written when hooks of the host have run. */
  readonly late: readonly Op[];
  /** What is mounted where anything can be, in order; other operations of hooks among it. */
  readonly mounts: readonly Op[];
  /** Null while hooks of the host must still tell. */
  readonly command: (Command & { readonly environment: readonly Bytes[] }) | null;
  /** Runs hooks of the host and asks for the rest of the plan. */
  readonly hosted: readonly Op[];
}

type Known = PlainParts & { readonly command: NonNullable<PlainParts['command']> };

/** Of hooks and mounts: what also works without mounts. */
const plainOps: readonly Op['op'][] = ['mkdir', 'file', 'symlink', 'warn'];
const msRdonly = 1;
const msBind = 4096;
/** Files of the host's network configuration: copied, so that real root does not change them through the container. */
const copied = /^\/etc\/(hosts|hostname|resolv\.conf|machine-id)$/;
/** The devices that every program may count on. */
const devices = ['null', 'zero', 'full', 'random', 'urandom', 'tty'].map((name) => `/dev/${name}`);

/** The plan on the rungs `chroot` and `proot`: a plain directory that belongs to this start is the root. */
export function planWithoutMounts(input: LaunchInput, parts: PlainParts): Op[] {
  const { unpack, write, command, hosted } = parts;
  const begin: Op[] = [
    ...unpack,
    { op: 'tree', directory: '' },
    ...write,
    ...parts.mounts.filter(({ op }) => plainOps.includes(op)),
  ];
  if (command === null) return [...begin, ...hosted];
  const known = { ...parts, command };
  if (input.resumed === null) return [...begin, ...enter(input, known)];
  const script = command.shown.map(({ path, mode, data }): Op => ({ op: 'file', path, mode, content: data }));
  return [...script, ...parts.late.filter(({ op }) => plainOps.includes(op)), ...enter(input, known)];
}

function enter(input: LaunchInput, parts: Known): Op[] {
  const { environment } = parts.command;
  const mounts = uncovered(parts.mounts.filter((op): op is MountOp => op.op === 'mount'));
  return [
    ...mounts.filter(isCopied).map(({ source, target }): Op => ({ op: 'copy', source, path: target, mode: 0o644 })),
    ...mounts.filter(({ type }) => type === 'tmpfs').map(({ target }): Op => mkdir(target, 0o755)),
    ...(parts.rung === 'chroot'
      ? enterByChroot(input, parts, mounts)
      : [
          ...mounts
            .filter(isReadonlyBind)
            .flatMap(({ target }) => warn(input, `${target} can be written, read-only mounts need namespaces`)),
          { op: 'noNewPrivs' } as const,
          { op: 'env', vars: environment } as const,
          proot(input, parts, mounts),
        ]),
  ];
}

/** Without mounts nothing can be unmounted or covered: what a later operation takes out of sight is not shown in the first place. */
function uncovered(mounts: readonly MountOp[]): MountOp[] {
  const covers = ({ type, options }: MountOp) => type === 'tmpfs' || (options & mountOptions.detach) !== 0;
  return mounts.filter(
    ({ target }, index) =>
      !mounts.slice(index + 1).some((later) => covers(later) && `${target}/`.startsWith(`${later.target}/`)),
  );
}

function enterByChroot(input: LaunchInput, { command }: Known, mounts: readonly MountOp[]): Op[] {
  const lost = mounts.filter(needsMount).map(({ target }) => target);
  return [
    mkdir('/dev', 0o755),
    ...devices.map((path): Op => ({ op: 'node', path })),
    mkdir('/dev/shm', 0o1777),
    ...warn(input, `without /proc, /sys and most of /dev, in a chroot; to have them: BUNDLER_SANDBOX=proot`),
    ...lost
      .filter((path) => !/^\/(proc|sys|dev)(\/|$)/.test(path))
      .flatMap((path) => warn(input, `${path} cannot be mounted`)),
    { op: 'chroot' },
    command.cwd,
    { op: 'noNewPrivs' },
    { op: 'env', vars: command.environment },
    { op: 'exec', argv: command.argv, search: variable(command.environment, 'PATH') },
  ];
}

function proot(input: LaunchInput, { command, identity }: Known, mounts: readonly MountOp[]): Op {
  const { cwd } = command;
  if (cwd.op !== 'cwd') throw new Error('the command has no working directory');
  return {
    op: 'proot',
    runtime: input.request.runtimeDir,
    options: fakeIds(input, identity),
    // What may be missing is, where its name cannot be told.
    binds: mounts
      .filter((op) => isBindOp(op) && !isCopied(op) && !(op.options & mountOptions.nofail && op.source.includes(':')))
      .map(bind),
    argv: command.argv,
    search: variable(command.environment, 'PATH'),
    cwd: cwd.path,
    cwdFlags: cwd.flags,
  };
}

/** proot shows other ids than the caller's, and lets chown and the like succeed for root. */
function fakeIds({ request }: LaunchInput, { uid, gid }: Identity): string[] {
  if (uid === request.euid && gid === request.egid) return [];
  return uid === 0 && gid === 0 ? ['-0'] : ['-i', `${uid}:${gid}`];
}

function bind({ source, target }: MountOp): Bytes {
  // proot splits the pair at the first colon, and knows no way to quote one.
  if (source.includes(':')) {
    throw new Failure(
      `cannot mount ${source} on ${target}: a path with a colon cannot be shown without namespaces`,
      'name it by another path, such as a symlink',
    );
  }
  return `${source}:${target}`;
}

function isBindOp({ msFlags, options }: MountOp): boolean {
  return (
    (Number(msFlags) & msBind) !== 0 &&
    (options & (mountOptions.move | mountOptions.detach | mountOptions.inside)) === 0
  );
}

function isCopied(op: MountOp): boolean {
  return isBindOp(op) && op.source === op.target && copied.test(op.target);
}

/** Of the host's own file systems nobody expects more than the kernel grants. */
function isReadonlyBind(op: MountOp): boolean {
  return (
    isBindOp(op) && !isCopied(op) && (Number(op.msFlags) & msRdonly) !== 0 && !/^\/(sys|proc|dev)(\/|$)/.test(op.target)
  );
}

function needsMount(op: MountOp): boolean {
  return op.type !== 'tmpfs' && !isCopied(op);
}

function warn({ options }: LaunchInput, text: Bytes): Op[] {
  return options.quiet ? [] : [{ op: 'warn', text: `bundler: degraded: ${text}` }];
}

function mkdir(path: Bytes, mode: number): Op {
  return { op: 'mkdir', path, mode };
}
