// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type Running, type RunOptions, start } from './run.ts';
import { ordinaryUser } from './session.ts';

/** Where this machine has its tree of cgroup v2, if any. */
function findTree(): string | undefined {
  const line = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .find((text) => text.split(' ')[2] === 'cgroup2');
  return line?.split(' ')[1];
}

/** Why no cgroup can be made here; undefined when one can. */
export function whyNoCgroups(): string | undefined {
  const tree = findTree();
  if (tree === undefined) return 'no cgroup2 file system is mounted';
  const dir = path.join(tree, `bundler-test-${process.pid}`);
  try {
    mkdirSync(dir);
    rmdirSync(dir);
    return undefined;
  } catch (error) {
    return `no cgroup can be made in ${tree}: ${error}`;
  }
}

let count = 0;

/** A cgroup as a batch system makes one for a job. */
export class Cgroup {
  readonly #dir: string;

  constructor() {
    count += 1;
    this.#dir = path.join(findTree() ?? '/nonexistent', `bundler-test-${process.pid}-${count}`);
    mkdirSync(this.#dir);
  }

  /** A cgroup inside, as Slurm makes one for each step and task. */
  inside(name: string): string {
    const dir = path.join(this.#dir, name);
    mkdirSync(dir, { recursive: true });
    return dir;
  }

  /** Starts a command in it (or in one inside) as a test user. */
  start(argv: readonly string[], options: RunOptions = {}, dir = this.#dir): Running {
    const user = options.user ?? ordinaryUser();
    const drop = ['setpriv', `--reuid=${user.uid}`, `--regid=${user.uid}`, '--clear-groups', '--'];
    const script = 'echo $$ > "$0/cgroup.procs" && exec "$@"';
    return start(['sh', '-c', script, dir, ...drop, ...argv], {
      ...options,
      user: { uid: 0, home: user.home },
    });
  }

  pids(): number[] {
    return readFileSync(path.join(this.#dir, 'cgroup.procs'), 'utf8')
      .split('\n')
      .map(Number)
      .filter((pid) => pid > 1);
  }

  /** Kills all that is in it, as the end of a job does. */
  kill(): void {
    const file = path.join(this.#dir, 'cgroup.kill'); // Linux 5.14
    if (existsSync(file)) writeFileSync(file, '1');
    else for (const pid of this.pids()) process.kill(pid, 'SIGKILL');
  }

  /** Removes it; its processes must have ended. */
  remove(...inside: string[]): void {
    for (const dir of [...inside, this.#dir]) rmdirSync(dir);
  }
}
