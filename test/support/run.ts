// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import path from 'node:path';
import { compileProgram } from './programs.ts';
import { bareFlags, sanitizerEnv } from './sanitize.ts';
import { isRoot, ordinaryUser, type User } from './session.ts';

export interface Ran {
  /** As a shell gives it: 128+N after a signal. */
  readonly status: number;
  readonly signal: NodeJS.Signals | null;
  readonly bytes: Buffer;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly user?: User;
  /** The whole environment besides PATH, HOME and TERM. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly input?: string | Buffer;
  readonly timeoutMs?: number;
  /** Own session and process group, as a job of its own; kill(-pid) then reaches all of it. */
  readonly detached?: boolean;
}

export interface BareOptions extends RunOptions {
  /** Host files shown read-only, by their place in the bare host. */
  readonly files?: Readonly<Record<string, string>>;
  /** Further options of bare-host.c. */
  readonly flags?: readonly string[];
  /** A fresh, empty home (and so an empty cache) instead of the user's; 'none' for no home at all. */
  readonly home?: 'user' | 'fresh' | 'none';
}

/** A command that is under way. */
export class Running {
  readonly child: ChildProcess;
  readonly #out: Buffer[] = [];
  readonly #err: Buffer[] = [];
  readonly #done: Promise<Ran>;
  readonly #what: string;
  #watchers: (() => void)[] = [];

  constructor(argv: readonly string[], options: RunOptions & { env: Record<string, string> }) {
    const [command = '', ...rest] = argv;
    this.#what = argv.join(' ');
    this.child = spawn(command, rest, {
      env: options.env,
      cwd: options.cwd ?? '/',
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: options.detached ?? false,
    });
    const timer = setTimeout(() => this.child.kill('SIGKILL'), options.timeoutMs ?? 50_000);
    this.child.stdout?.on('data', (data: Buffer) => this.#take(this.#out, data));
    this.child.stderr?.on('data', (data: Buffer) => this.#take(this.#err, data));
    this.child.stdin?.on('error', () => {}); // a command that does not read its input
    this.#done = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (code, signal) => {
        clearTimeout(timer);
        const status = code ?? 128 + (signal ? constants.signals[signal] : 0);
        const bytes = Buffer.concat(this.#out);
        resolve({ status, signal, bytes, stdout: bytes.toString(), stderr: Buffer.concat(this.#err).toString() });
        for (const wake of this.#watchers) wake();
      });
    });
    this.#done.catch(() => {}); // reported where it is awaited
  }

  #take(list: Buffer[], data: Buffer): void {
    list.push(data);
    for (const wake of this.#watchers) wake();
  }

  /** Throws where nothing was started: kill(2) takes -1 for every process there is. */
  get pid(): number {
    const { pid } = this.child;
    if (pid === undefined) throw new Error(`${this.#what}: was not started`);
    return pid;
  }

  get shown(): string {
    return Buffer.concat(this.#out).toString();
  }

  get complaints(): string {
    return Buffer.concat(this.#err).toString();
  }

  type(text: string): void {
    this.child.stdin?.write(text);
  }

  /** Waits until stdout, from a character on, matches; returns where the match ends. */
  async see(pattern: RegExp, from = 0, timeoutMs = 20_000): Promise<number> {
    const end = Date.now() + timeoutMs;
    for (;;) {
      const match = pattern.exec(this.shown.slice(from));
      if (match) return from + match.index + match[0].length;
      if (Date.now() > end || this.child.exitCode !== null || this.child.signalCode !== null) {
        const late = pattern.exec(this.shown.slice(from));
        if (late) return from + late.index + late[0].length;
        throw new Error(`${this.#what}: never showed ${pattern} but:\n${this.shown.slice(from)}\n${this.complaints}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 200);
        this.#watchers = [
          () => {
            clearTimeout(timer);
            resolve();
          },
        ];
      });
    }
  }

  end(input?: string | Buffer): Promise<Ran> {
    this.child.stdin?.end(input);
    return this.#done;
  }
}

function environmentOf(
  user: User,
  env: Readonly<Record<string, string>> = {},
  home = user.home,
): Record<string, string> {
  return { PATH: '/usr/local/bin:/usr/bin:/bin', HOME: home, TERM: 'dumb', ...sanitizerEnv(), ...env };
}

/** Starts a command on this machine as a test user. The child's pid is the command's own: setpriv execs it. */
export function start(argv: readonly string[], options: RunOptions = {}): Running {
  const user = options.user ?? ordinaryUser();
  const drop = isRoot ? ['setpriv', `--reuid=${user.uid}`, `--regid=${user.uid}`, '--clear-groups', '--'] : [];
  return new Running([...drop, ...argv], { cwd: user.home, ...options, env: environmentOf(user, options.env) });
}

export function run(argv: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return start(argv, options).end(options.input);
}

/** The command line that runs argv on a bare host; argv[0] is a host file and shown as /NAME. */
function bareCommand(argv: readonly string[], options: BareOptions): string[] {
  const user = options.user ?? ordinaryUser();
  const [command = '', ...rest] = argv;
  const inside = `/${path.basename(command)}`;
  const files = Object.entries(options.files ?? {}).flatMap(([at, from]) => ['--file', `${from}=${at}`]);
  const home = { user: ['--bind', `${user.home}=/home/user`], fresh: ['--dir', '/home/user'], none: [] }[
    options.home ?? 'user'
  ];
  const flags = [...home, '--file', `${command}=${inside}`, ...files, ...bareFlags(command), ...(options.flags ?? [])];
  return [compileProgram('bare-host'), '--uid', String(user.uid), ...flags, '--', inside, ...rest];
}

/** Starts a host file on a bare host: an empty root with /proc, /dev, the file, and what the options add. */
export function startBare(argv: readonly string[], options: BareOptions = {}): Running {
  const user = options.user ?? ordinaryUser();
  const home = options.home === 'none' ? '/nonexistent' : '/home/user';
  const env = environmentOf(user, { ...sanitizerEnv('bare host'), ...options.env }, home);
  return new Running(bareCommand(argv, options), { ...options, cwd: '/', env });
}

export function runBare(argv: readonly string[], options: BareOptions = {}): Promise<Ran> {
  return startBare(argv, options).end(options.input);
}

/** Runs a command on a terminal of its own as a test user. */
export function startOnTerminal(argv: readonly string[], options: RunOptions = {}): Running {
  return start([compileProgram('pty-run'), ...argv], { ...options, env: { TERM: 'xterm', ...options.env } });
}
