// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { hostname } from 'node:os';
import path from 'node:path';
import { type Ran, run } from './run.ts';
import { makeDir, makeUser, type User } from './session.ts';
import { until } from './snapshot.ts';

/** Whom Slurm knows: it makes no step for a user that no account database has. In every Debian. */
export const slurmUser = (): User => makeUser(65534);

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Slurm on this machine alone: its own munged, slurmctld and slurmd, with everything below one directory. Needs root. */
export class Cluster {
  readonly #dir = makeDir({ uid: 0, home: '/root' }, 'slurm');
  readonly #daemons: ChildProcess[] = [];

  get #conf(): string {
    return path.join(this.#dir, 'slurm.conf');
  }

  async start(): Promise<void> {
    const dir = this.#dir;
    for (const name of ['state', 'spool']) mkdirSync(path.join(dir, name));
    // munged insists on a directory that only it can write to, and that everybody can enter.
    mkdirSync(path.join(dir, 'munge'), { mode: 0o711 });
    chmodSync(path.join(dir, 'munge'), 0o711);
    writeFileSync(path.join(dir, 'munge/key'), 'k'.repeat(64), { mode: 0o400 });
    const lines = {
      ClusterName: 'test',
      SlurmctldHost: `${hostname()}(127.0.0.1)`,
      SlurmctldPort: await freePort(),
      SlurmdPort: await freePort(),
      AuthInfo: `socket=${dir}/munge/socket`,
      SlurmUser: 'root',
      StateSaveLocation: `${dir}/state`,
      SlurmdSpoolDir: `${dir}/spool`,
      SlurmctldPidFile: `${dir}/slurmctld.pid`,
      SlurmdPidFile: `${dir}/slurmd.pid`,
      ProctrackType: 'proctrack/pgid',
      TaskPlugin: 'task/none',
      ReturnToService: 2,
      SelectType: 'select/cons_tres',
    };
    const node = `NodeName=${hostname()} NodeAddr=127.0.0.1 CPUs=1\nPartitionName=all Nodes=ALL Default=YES OverSubscribe=FORCE:8\n`;
    const text = Object.entries(lines).map(([name, value]) => `${name}=${value}\n`);
    writeFileSync(this.#conf, `${text.join('')}${node}`, { mode: 0o644 });
    const munge = ['key-file=key', 'socket=socket', 'pid-file=pid', 'log-file=log', 'seed-file=seed'];
    const mungeFiles = munge.map((option) => `--${option.replace('=', `=${dir}/munge/`)}`);
    this.#run('munged', ['--foreground', '--force', ...mungeFiles]);
    this.#run('slurmctld', ['-D', '-f', this.#conf]);
    this.#run('slurmd', ['-D', '-f', this.#conf]);
    await until(
      () => this.#isIdle(),
      () => 'no node of Slurm is idle',
    );
  }

  #run(name: string, args: readonly string[]): void {
    this.#daemons.push(spawn(`/usr/sbin/${name}`, args, { stdio: 'ignore', cwd: '/' }));
  }

  #isIdle(): boolean {
    try {
      const env = { SLURM_CONF: this.#conf };
      return execFileSync('/usr/bin/sinfo', ['-h', '-o', '%T'], { env, stdio: 'pipe' }).toString() === 'idle\n';
    } catch {
      return false;
    }
  }

  /** Runs two tasks of one step, as a user would. */
  srun(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ran> {
    const line = ['srun', '--ntasks=2', '--overcommit', ...args];
    return run(line, { user: slurmUser(), cwd: '/', env: { SLURM_CONF: this.#conf, ...env } });
  }

  async stop(): Promise<void> {
    for (const daemon of this.#daemons.reverse()) {
      const ended = new Promise((resolve) => daemon.once('exit', resolve));
      if (daemon.exitCode === null && daemon.kill()) await ended;
    }
  }
}
