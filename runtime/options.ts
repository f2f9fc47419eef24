// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { UsageFailure } from './failure.ts';

/** One option of a `.run`. This table is the parser, the text of --help and docs/cmd/run.md. */
export interface OptionRow {
  readonly long: string;
  readonly short?: string;
  /** Name of its argument; without one it is a flag. */
  readonly argument?: string;
  readonly text: string;
  /** A blank line stands before it in --help. */
  readonly group?: true;
}

export const optionRows: readonly OptionRow[] = [
  { long: 'info', short: 'i', text: 'Display the information about this bundle' },
  { long: 'verify', short: 'v', text: 'Verify that this host can run the bundle, and tell what would improve it' },
  { long: 'extract', short: 'x', text: 'Extract the bundle in the target directory and exit (implies --keep)' },
  { long: 'keep', short: 'k', text: 'Run from the target directory, keep it there, and use it again the next time' },
  { long: 'target', short: 't', argument: 'DIR', text: 'Extract in DIR: kept with --keep, else removed at the end' },
  { long: 'quiet', short: 'q', text: 'Suppress the progress bar output' },
  {
    long: 'env',
    short: 'e',
    argument: 'KEY[=VAL]',
    text: 'Export an environment variable inside the container',
    group: true,
  },
  { long: 'env-file', argument: 'FILE', text: 'Export the variables of FILE (KEY=VAL or KEY, one a line)' },
  { long: 'keep-env', text: "Pass the caller's environment, below the image's and --env" },
  {
    long: 'mount',
    short: 'm',
    argument: 'FSTAB',
    text: 'Perform a mount from the host inside the container (colon-separated)',
  },
  {
    long: 'gpus',
    argument: 'LIST',
    text: 'Use these GPUs: all, none, or indexes, UUIDs, MIG devices and CDI names (vendor/class=name), separated by commas',
  },
  { long: 'rc', argument: 'SCRIPT', text: 'Override the command script inside the container' },
  {
    long: 'entrypoint',
    argument: 'PROGRAM',
    text: 'Run PROGRAM with the arguments instead of the command script ("" for none)',
  },
  { long: 'workdir', argument: 'DIR', text: 'Start the command in DIR inside the container' },
  {
    long: 'conf',
    short: 'c',
    argument: 'SCRIPT',
    text: 'Run a configuration script of the host before the container starts',
    group: true,
  },
  {
    long: 'host-config',
    text: "Use this host's enroot configuration (/etc/enroot and the user's) besides the embedded one",
  },
  { long: 'root', short: 'r', text: 'Ask to be remapped to root inside the container' },
  { long: 'rw', short: 'w', text: 'Make the container root filesystem writable' },
  {
    long: 'overlay',
    argument: 'DIR',
    text: 'Keep what is written in DIR, and use it again the next time (implies --rw)',
  },
  { long: 'user', argument: 'USER[:GROUP]', text: "Be that user inside: a name of the image's, or a number" },
  {
    long: 'subuid',
    text: "Map the ranges of ids that /etc/subuid and /etc/subgid give you, and show files' real owners",
  },
  { long: 'pid', text: 'Run the container in a new PID namespace' },
  { long: 'init', text: 'Run a small init as its process 1, which reaps and passes signals on (implies --pid)' },
  { long: 'net', text: 'Run the container in a new network namespace (loopback only)' },
  { long: 'ipc', text: 'Run the container in a new IPC namespace, with a minimal /dev' },
  { long: 'uts', text: 'Run the container in a new UTS namespace (its own host name)' },
  {
    long: 'no-share',
    text: 'Do not share the mounted image with the other processes of the job',
  },
  {
    long: 'dry-run',
    text: 'Print the launch plan as JSON and exit (it shows the environment, with its secrets)',
    group: true,
  },
  { long: 'gpu-plan', text: 'Print which GPUs, and what of their drivers, a start would give the container, and exit' },
  { long: 'apparmor', text: 'Print the AppArmor profile that lets this file make user namespaces, and exit' },
  { long: 'json', text: 'Let --info, --verify and --gpu-plan print JSON' },
  { long: 'clear-cache', text: 'Remove what bundler keeps in its cache directories and exit' },
  { long: 'licenses', text: 'Display the licences of what is inside and exit' },
  { long: 'version', text: 'Display the version and exit' },
  { long: 'help', short: 'h', text: 'Display this help and exit' },
];

/** What the command line asks for. Byte strings throughout. */
export interface Options {
  readonly action:
    | 'run'
    | 'info'
    | 'verify'
    | 'gpu-plan'
    | 'apparmor'
    | 'licenses'
    | 'version'
    | 'help'
    | 'clear-cache';
  readonly extract: boolean;
  readonly keep: boolean;
  readonly target: Bytes | null;
  readonly quiet: boolean;
  readonly json: boolean;
  readonly env: readonly Bytes[];
  readonly envFiles: readonly Bytes[];
  readonly keepEnv: boolean;
  readonly mounts: readonly Bytes[];
  /** What --gpus lists, several of them joined by commas; null without. */
  readonly gpus: Bytes | null;
  readonly rc: Bytes | null;
  readonly conf: Bytes | null;
  readonly hostConfig: boolean;
  readonly entrypoint: Bytes | null;
  readonly workdir: Bytes | null;
  readonly root: boolean;
  readonly rw: boolean;
  readonly overlay: Bytes | null;
  /** USER[:GROUP]. */
  readonly user: Bytes | null;
  readonly subuid: boolean;
  /** Namespaces of its own; with an init as process 1. */
  readonly pid: boolean;
  readonly init: boolean;
  readonly net: boolean;
  readonly ipc: boolean;
  readonly uts: boolean;
  readonly noShare: boolean;
  readonly dryRun: boolean;
  readonly command: readonly Bytes[];
}

/** Parses the arguments after argv[0]. Options end at `--` or at the first argument that is not one. */
export function parseOptions(args: readonly Bytes[]): Options {
  const seen = new Map<string, Bytes[]>();
  const add = (row: OptionRow, value: Bytes) => {
    if (row.argument !== undefined && value === '' && row.long !== 'entrypoint') {
      throw new UsageFailure(`the option --${row.long} needs an argument: ${row.argument}`);
    }
    seen.set(row.long, [...(seen.get(row.long) ?? []), value]);
  };
  let at = 0;
  const next = (row: OptionRow, spelled: string) => {
    at += 1;
    const value = args[at];
    if (value === undefined) throw new UsageFailure(`the option ${spelled} needs an argument: ${row.argument}`);
    return value;
  };
  for (; at < args.length; at += 1) {
    const arg = args[at] as Bytes;
    if (arg === '--') {
      at += 1;
      break;
    }
    if (!arg.startsWith('-') || arg === '-') break;
    if (arg.startsWith('--')) {
      const equals = arg.indexOf('=');
      const name = equals < 0 ? arg.slice(2) : arg.slice(2, equals);
      const row = optionRows.find(({ long }) => long === name);
      if (row === undefined) throw new UsageFailure(`unknown option --${printable(name)}`);
      if (row.argument === undefined && equals >= 0) throw new UsageFailure(`the option --${name} takes no argument`);
      if (row.argument === undefined) add(row, '');
      else add(row, equals >= 0 ? arg.slice(equals + 1) : next(row, `--${name}`));
      continue;
    }
    for (let letterAt = 1; letterAt < arg.length; letterAt += 1) {
      const letter = arg[letterAt] as string;
      const row = optionRows.find(({ short }) => short === letter);
      if (row === undefined) throw new UsageFailure(`unknown option -${printable(letter)}`);
      if (row.argument === undefined) {
        add(row, '');
        continue;
      }
      const attached = arg.slice(letterAt + 1);
      add(row, attached !== '' ? attached : next(row, `-${letter}`));
      break;
    }
  }
  return collect(seen, args.slice(at));
}

function collect(seen: ReadonlyMap<string, readonly Bytes[]>, command: readonly Bytes[]): Options {
  const has = (name: string) => seen.has(name);
  const lastOf = (name: string) => seen.get(name)?.at(-1) ?? null;
  const actions = (
    ['help', 'version', 'licenses', 'clear-cache', 'info', 'apparmor', 'gpu-plan', 'verify'] as const
  ).filter(has);
  for (const item of seen.get('env') ?? []) {
    // A value may be a secret: only the name is ever repeated.
    if (!isVariable(item)) {
      throw new UsageFailure(`--env ${printable(item.split('=', 1)[0] ?? '')}: not the name of a variable`);
    }
  }
  if (has('rc') && has('entrypoint')) throw new UsageFailure('--rc and --entrypoint exclude each other');
  for (const other of ['keep', 'extract', 'target']) {
    if (has('overlay') && has(other)) throw new UsageFailure(`--overlay and --${other} exclude each other`);
  }
  if (has('root') && has('user')) throw new UsageFailure('--root and --user exclude each other');
  const workdir = lastOf('workdir');
  if (workdir !== null && !workdir.startsWith('/')) {
    throw new UsageFailure(`--workdir ${printable(workdir)}: not an absolute path`);
  }
  return {
    action: actions[0] ?? 'run',
    extract: has('extract'),
    keep: has('keep') || has('extract'),
    target: lastOf('target'),
    quiet: has('quiet'),
    json: has('json'),
    env: seen.get('env') ?? [],
    envFiles: seen.get('env-file') ?? [],
    keepEnv: has('keep-env'),
    mounts: seen.get('mount') ?? [],
    gpus: seen.get('gpus')?.join(',') ?? null,
    rc: lastOf('rc'),
    conf: lastOf('conf'),
    hostConfig: has('host-config'),
    entrypoint: lastOf('entrypoint'),
    workdir,
    root: has('root'),
    rw: has('rw'),
    overlay: lastOf('overlay'),
    user: lastOf('user'),
    subuid: has('subuid'),
    pid: has('pid') || has('init'),
    init: has('init'),
    net: has('net'),
    ipc: has('ipc'),
    uts: has('uts'),
    noShare: has('no-share'),
    dryRun: has('dry-run'),
    command,
  };
}

/** `NAME` or `NAME=value`, NAME as a shell allows it. */
export function isVariable(item: Bytes): boolean {
  return /^[A-Za-z_][A-Za-z0-9_]*(=|$)/.test(item);
}

/** For messages: control characters shown as \xNN, long text cut. */
export function printable(text: Bytes): Bytes {
  const clean = text.replace(/[\x00-\x1f\x7f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return clean.length > 200 ? `${clean.slice(0, 200)}...` : clean;
}
