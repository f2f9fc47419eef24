// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { cwdFlags, type Op } from '../src/format/plan.ts';
import { type Account, variable } from './environment.ts';
import { Failure } from './failure.ts';
import type { LaunchInput, Shown } from './launch-input.ts';

/** What runs, and where. */
export interface Command {
  readonly argv: readonly Bytes[];
  readonly shown: readonly Shown[];
  readonly cwd: Op;
}

const rcPath = '/etc/rc';

/**
 * The first that there is: --rc; --entrypoint; rc() of the --conf script; the script or entry point given to `make`; the image's /etc/rc when
 * the image has a shell; its ENTRYPOINT with CMD, or with the user's arguments in CMD's place; the arguments; a shell. Programs are
 * executed directly, as docker does: nothing but a script goes through a shell, unless ENROOT_LOGIN_SHELL asks for a login shell.
 */
export function planCommand(input: LaunchInput, account: Account, environment: readonly Bytes[]): Command {
  const command = chooseCommand(input, account, environment);
  const { settings, manifest } = input;
  return settings.loginShell && manifest.rootfs?.shell ? { ...command, argv: throughLogin(command.argv) } : command;
}

/** The command as a login shell of the image starts it, which reads /etc/profile and the user's own first. */
function throughLogin(argv: readonly Bytes[]): readonly Bytes[] {
  const [program = '', ...rest] = argv;
  const isShell = /(^|\/)(ba|da|k|z|)sh$/.test(program);
  if (isShell && (rest.length === 0 || rest[0] === rcPath)) return [program, '-l', ...rest];
  return ['/bin/sh', '-l', '-c', 'exec "$@"', 'sh', ...argv];
}

function chooseCommand(input: LaunchInput, account: Account, environment: readonly Bytes[]): Command {
  const { manifest, options, host, settings, resumed } = input;
  const { rootfs, config } = manifest;
  const args = options.command;
  const shell = variable(environment, 'SHELL') || '/bin/sh';
  const given =
    options.rc !== null
      ? (host.files[options.rc] ?? '')
      : options.entrypoint === null
        ? (resumed?.conf?.rc ?? manifest.options.rc)
        : null;
  const entrypoint = options.entrypoint !== null ? [options.entrypoint].filter(Boolean) : manifest.options.entrypoint;
  const home: Op = { op: 'cwd', path: variable(environment, 'HOME') || account.home, flags: cwdFlags.optional };
  const asked = askedDirectory(options.workdir, settings.rw);
  if (given !== null) {
    const shown: Shown = { kind: 'file', path: rcPath, mode: 0o755, data: given };
    return { argv: [...readInterpreter(given), rcPath, ...args], shown: [shown], cwd: asked ?? home };
  }
  // Without a script the image's working directory holds, as docker has it.
  const workdir: Op = config?.workdir
    ? { op: 'cwd', path: config.workdir, flags: settings.rw ? cwdFlags.create : cwdFlags.optional }
    : home;
  const cwd = asked ?? workdir;
  if (entrypoint !== null) {
    // As with docker, another entry point also forgets the image's CMD.
    return { argv: orShell([...entrypoint, ...args], rootfs?.shell ?? false, shell), shown: [], cwd };
  }
  if (rootfs?.rc && rootfs.shell) return { argv: ['/bin/sh', rcPath, ...args], shown: [], cwd: asked ?? home };
  const argv = [...(config?.entrypoint ?? []), ...(args.length > 0 ? args : (config?.cmd ?? []))];
  return { argv: orShell(argv, rootfs?.shell ?? false, shell), shown: [], cwd };
}

function orShell(argv: readonly Bytes[], hasShell: boolean, shell: Bytes): readonly Bytes[] {
  if (argv.length > 0) return argv;
  if (!hasShell) {
    throw new Failure('no command: the image names none and has no shell', 'give a command: FILE.run COMMAND [ARG...]');
  }
  return [shell];
}

function askedDirectory(workdir: Bytes | null, rw: boolean): Op | null {
  return workdir === null ? null : { op: 'cwd', path: workdir, flags: rw ? cwdFlags.create : 0 };
}

/** The `#!` line of a script given by the user, split as execve(2) does; /bin/sh without one. */
function readInterpreter(script: Bytes): Bytes[] {
  const [, program, argument] = /^#![ \t]*([^ \t\n]+)(?:[ \t]+([^\n]*?))?[ \t]*(?:\n|$)/.exec(script) ?? [];
  if (program === undefined || !program.startsWith('/')) return ['/bin/sh'];
  return argument ? [program, argument] : [program];
}
