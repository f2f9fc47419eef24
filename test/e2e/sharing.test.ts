// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { Cgroup } from '../support/cgroup.ts';
import { e2e, exampleImage, testNeeding } from '../support/features.ts';
import { type Running, run, start } from '../support/run.ts';
import { sanitize } from '../support/sanitize.ts';
import { freshUser, makeDir, type User } from '../support/session.ts';
import { listProcesses, until, untilAllEnded } from '../support/snapshot.ts';

const inJobs = testNeeding('root', 'bundler', 'userns', 'fuse', 'mksquashfs', 'busybox', 'cgroup');
const members = sanitize ? 16 : 64;
const mebibyte = 1 << 20;

/** Whether it has a connection; the path of its device is told from a root that is gone. */
function serves(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => /\/fuse$/.test(readlinkSync(`/proc/${pid}/fd/${fd}`)));
  } catch {
    return false; // it ended meanwhile
  }
}

const named = (user: User, name: string): number[] =>
  listProcesses(user)
    .filter(({ command }) => command === name)
    .map(({ pid }) => pid);
/** File servers at work: one that was made in advance, and is not needed, is about to end. */
const servers = (user: User): number[] => named(user, 'bundler-fs').filter(serves);
/** Kills the only one there is; never -1, which is everybody. */
function killOne(pids: readonly number[]): void {
  const [pid, ...more] = pids;
  if (pid === undefined || pid <= 1 || more.length > 0) throw new Error(`not one process to kill: ${pids}`);
  process.kill(pid, 'SIGKILL');
}
const keepers = (user: User): number[] => named(user, 'bundler-keeper');
const sockets = (user: User): string[] =>
  readdirSync(path.join(user.home, '.cache/bundler')).filter((name) => name.startsWith('share-'));

/** Reads the large file of the image, says so, and does the same again for every line of its input. */
const reader = 'while cat /large > /dev/null && echo read all && read line; do :; done';
const done = /^read all\n/m;

async function startReader(file: string, user: User, ...options: string[]): Promise<Running> {
  const running = start([file, ...options, 'sh', '-c', reader], { user });
  await running.see(done);
  return running;
}

/** Lets it read once more. */
async function readAgain(running: Running): Promise<void> {
  const from = running.shown.length;
  running.type('\n');
  await running.see(done, from);
}

async function expectNothingLeft(user: User): Promise<void> {
  await untilAllEnded(user);
  expect(sockets(user)).toEqual([]);
}

function field(pid: number, file: string, name: string): string {
  return new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/${file}`, 'utf8'))?.[1] ?? '';
}

const memoryBytes = (pid: number, name: string): number => 1024 * Number.parseInt(field(pid, 'smaps_rollup', name), 10);

/** Proportional memory of all the user's processes, less what is the commands' own: their heaps and stacks. */
function sharedBytes(user: User): number {
  const sizes = listProcesses(user).map(({ pid, command }) =>
    command.startsWith('bundler-') ? memoryBytes(pid, 'Pss') : memoryBytes(pid, 'Pss') - memoryBytes(pid, 'Pss_Anon'),
  );
  return sizes.reduce((all, size) => all + size, 0);
}

/** numpy with its libraries, read as `reader` reads the large file. */
const numpyReader = `
import glob, numpy, sys
def read_all():
    for name in glob.glob(numpy.__path__[0] + '/**/*.so', recursive=True):
        with open(name, 'rb') as file: file.read()
    print('read all', flush=True)
read_all()
for line in sys.stdin: read_all()
`;

/** The image of the example where the demo has made it, else a generated one of some megabytes. */
function chooseLoad(): { file: string; command: readonly string[] } {
  if (sanitize || !existsSync(exampleImage)) return { file: makeBundle('large'), command: ['sh', '-c', reader] };
  const one = ['--env', 'OPENBLAS_NUM_THREADS=1'];
  return { file: makeBundle(exampleImage), command: [...one, 'python3', '-c', numpyReader] };
}

describe('the processes of a job', () => {
  e2e(
    `share one file server and its memory: ${members} simultaneous starts`,
    async () => {
      const user = freshUser();
      const { file, command } = chooseLoad();
      const alone = start([file, ...command], { user });
      await alone.see(done);
      const aloneBytes = sharedBytes(user);
      await alone.end();
      await expectNothingLeft(user);
      // Each is bound to one core, as a batch system does it.
      const all = Array.from({ length: members }, (_, i) =>
        start(['taskset', '-c', String(i % availableParallelism()), file, ...command], { user, timeoutMs: 100_000 }),
      );
      await Promise.all(all.map((running) => running.see(done, 0, 90_000)));
      const [server = Number.NaN, ...otherServers] = servers(user);
      const [keeper = Number.NaN, ...otherKeepers] = keepers(user);
      expect([otherServers, otherKeepers]).toEqual([[], []]);
      for (const pid of [server, keeper])
        expect(field(pid, 'status', 'Cpus_allowed_list')).toBe(field(process.pid, 'status', 'Cpus_allowed_list'));
      // The issue allows 15 MiB for each member.
      if (!sanitize) expect((sharedBytes(user) - aloneBytes) / (members - 1)).toBeLessThan(mebibyte);
      // All pages are in memory, once: reading them all again asks the server for none.
      const readBefore = Number(field(server, 'io', 'rchar'));
      await Promise.all(all.map(readAgain));
      expect(Number(field(server, 'io', 'rchar')) - readBefore).toBeLessThan(mebibyte);
      for (const ran of await Promise.all(all.map((running) => running.end()))) expect(ran.status, ran.stderr).toBe(0);
      await expectNothingLeft(user);
    },
    150_000,
  );

  e2e('do not notice that the first of them was killed, and others still join', async () => {
    const user = freshUser();
    const file = makeBundle('large');
    const first = await startReader(file, user);
    const second = await startReader(file, user);
    const [server] = servers(user);
    first.child.kill('SIGKILL');
    await first.end();
    await readAgain(second);
    const third = await startReader(file, user);
    second.child.kill('SIGKILL');
    await second.end();
    await readAgain(third);
    expect(servers(user)).toEqual([server]);
    expect(keepers(user)).toHaveLength(1);
    await third.end();
    await expectNothingLeft(user);
  });

  e2e('go on when the keeper is killed; the next start makes a new one', async () => {
    const user = freshUser();
    const file = makeBundle('large');
    const first = await startReader(file, user);
    const second = await startReader(file, user);
    killOne(keepers(user));
    await until(
      () => keepers(user).length === 0,
      () => `keepers ${keepers(user)}`,
    );
    expect(await run([file, 'sha256sum', '/large'], { user })).toMatchObject({ status: 0, stderr: '' });
    for (const running of [first, second]) await readAgain(running);
    const third = await startReader(file, user);
    expect(servers(user)).toHaveLength(2);
    for (const running of [first, second, third]) await running.end();
    await expectNothingLeft(user);
  });

  e2e('see errors when the server is killed, and the next start works', async () => {
    const user = freshUser();
    const file = makeBundle('large');
    const first = await startReader(file, user);
    const broken = start([file, 'sh', '-c', 'echo up; read line; ls /usr; echo "status $?"'], { user });
    await broken.see(/up\n/);
    killOne(servers(user));
    // The keeper's end is the sign that nobody will be let in any more; a start that comes before it finds out by itself.
    const next = await startReader(file, user);
    expect(servers(user)).toHaveLength(1);
    const ran = await broken.end('\n');
    expect(ran.stdout).not.toContain('status 0');
    await first.end('\n');
    await readAgain(next);
    await next.end();
    await expectNothingLeft(user);
  });

  e2e('leave the mount to a background process that outlives them', async () => {
    const user = freshUser();
    const file = makeBundle('large');
    const shared = makeDir(user, 'fifo');
    await run(['mkfifo', `${shared}/go`], { user });
    const script = '(read x < /mnt/go; md5sum < /large > /mnt/sum) > /dev/null 2>&1 & echo left';
    const first = await startReader(file, user, '--mount', `${shared}:/mnt`);
    const second = await run([file, '--mount', `${shared}:/mnt`, 'sh', '-c', script], { user });
    expect(second).toMatchObject({ status: 0, stdout: 'left\n' });
    await first.end();
    await until(
      () => keepers(user).length === 0,
      () => `keepers ${keepers(user)}`,
    );
    expect(servers(user)).toHaveLength(1);
    await run(['sh', '-c', `echo > ${shared}/go`], { user });
    await untilAllEnded(user);
    expect(readFileSync(`${shared}/sum`, 'utf8')).toMatch(/^[0-9a-f]{32} {2}-\n$/);
    await expectNothingLeft(user);
  });

  e2e('write each into a layer of its own', async () => {
    const user = freshUser();
    const file = makeBundle('large');
    const first = await startReader(file, user);
    const script = 'cat /etc/mine 2>/dev/null; echo $0 > /etc/mine; rm /large; cat /etc/mine';
    const runs = await Promise.all([1, 2, 3].map((i) => run([file, '--rw', 'sh', '-c', script, String(i)], { user })));
    expect(runs.map(({ stdout, stderr }) => stdout + stderr)).toEqual(['1\n', '2\n', '3\n']);
    expect(servers(user)).toHaveLength(1);
    await readAgain(first);
    await first.end();
    await expectNothingLeft(user);
  });

  e2e('keep apart what would look different, and what --no-share asks for', async () => {
    const user = freshUser();
    const file = makeBundle('large');
    const first = await startReader(file, user);
    const others = [
      await startReader(file, user, '--root'),
      await startReader(file, user, '--mount', '/usr:/some/where/else'),
      await startReader(file, user, '--no-share'),
      await startReader(file, user, '--no-share'),
    ];
    expect(servers(user)).toHaveLength(5);
    expect(keepers(user)).toHaveLength(3);
    for (const running of [first, ...others]) await running.end();
    await expectNothingLeft(user);
  });

  e2e('have a keeper that hears no signal of the terminal or of the job, in a session of its own', async () => {
    const user = freshUser();
    const file = makeBundle('large');
    const first = await startReader(file, user);
    const keeper = keepers(user)[0] ?? Number.NaN;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGTSTP', 'SIGUSR1'] as const)
      process.kill(keeper, signal);
    const stat = readFileSync(`/proc/${keeper}/stat`, 'latin1')
      .replace(/^.*\) /, '')
      .split(' ');
    expect(stat.slice(2, 5)).toEqual([String(keeper), String(keeper), '0']);
    const second = await startReader(file, user);
    expect([servers(user).length, keepers(user)]).toEqual([1, [keeper]]);
    await first.end();
    await second.end();
    await expectNothingLeft(user);
  });

  e2e('do not wait for ever: a stopped keeper is done without', async () => {
    const user = freshUser();
    const file = makeBundle('large');
    const first = await startReader(file, user);
    const keeper = keepers(user)[0] ?? Number.NaN;
    process.kill(keeper, 'SIGSTOP');
    const second = await startReader(file, user);
    expect(servers(user)).toHaveLength(2);
    process.kill(keeper, 'SIGCONT');
    await first.end();
    await second.end();
    await expectNothingLeft(user);
  });
});

describe('two jobs on one node', () => {
  inJobs('share nothing, and the end of one harms nothing of the other', async () => {
    const user = freshUser();
    const file = makeBundle('large');
    const jobs = [new Cgroup(), new Cgroup()] as const;
    const command = [file, 'sh', '-c', reader];
    const running = [];
    for (const job of [jobs[0], jobs[0], jobs[1], jobs[1]]) {
      running.push(job.start(command, { user }));
      await running.at(-1)?.see(done);
    }
    expect(servers(user)).toHaveLength(2);
    for (const job of jobs) expect(job.pids().filter((pid) => servers(user).includes(pid))).toHaveLength(1);
    jobs[0].kill();
    for (const one of running.slice(0, 2)) await one.end();
    await until(
      () => jobs[0].pids().length === 0,
      () => `processes ${jobs[0].pids()}`,
    );
    for (const one of running.slice(2)) await readAgain(one);
    const third = jobs[1].start(command, { user });
    await third.see(done);
    expect(servers(user)).toHaveLength(1);
    for (const one of [...running.slice(2), third]) await one.end();
    // What the killed job could not take away itself is gone as well.
    await expectNothingLeft(user);
    for (const job of jobs) job.remove();
  });

  inJobs("but the tasks of a step share, though Slurm gives each a cgroup, whatever the task's number", async () => {
    const user = freshUser();
    const file = makeBundle('large');
    const job = new Cgroup();
    const tasks = [0, 1].map((i) => job.inside(`job_7/step_0/user/task_${i}`));
    const running = tasks.map((dir, i) =>
      job.start([file, 'sh', '-c', reader], { user, env: { SLURM_JOB_ID: '7', SLURM_PROCID: String(i) } }, dir),
    );
    for (const one of running) await one.see(done);
    expect(servers(user)).toHaveLength(1);
    for (const one of running) await one.end();
    await expectNothingLeft(user);
    job.remove(...tasks, job.inside('job_7/step_0/user'), job.inside('job_7/step_0'), job.inside('job_7'));
  });
});

describe('the directory where they meet', () => {
  e2e('may hold what a killed keeper left: it is replaced, and removed by --clear-cache', async () => {
    const user = freshUser();
    const file = makeBundle('large');
    const killAll = async (): Promise<void> => {
      const running = await startReader(file, user);
      // The keeper first: it would take its socket away at the end of the others.
      for (const pid of [...keepers(user), ...servers(user), running.pid]) process.kill(pid, 'SIGKILL');
      await running.end();
      await untilAllEnded(user);
      expect(sockets(user)).toHaveLength(1);
    };
    await killAll();
    const first = await startReader(file, user);
    const second = await startReader(file, user);
    expect(servers(user)).toHaveLength(1);
    await first.end();
    await second.end();
    await expectNothingLeft(user);
    await killAll();
    await run([file, '--clear-cache'], { user });
    expect(existsSync(path.join(user.home, '.cache/bundler'))).toBe(false);
  });

  e2e('is gone in the end, when --clear-cache found a keeper in it', async () => {
    const user = freshUser();
    const file = makeBundle('busybox');
    const running = start([file, 'sh', '-c', 'echo up; read line'], { user });
    await running.see(/up\n/);
    await run([file, '--clear-cache'], { user });
    expect(sockets(user)).toHaveLength(1);
    await running.end('\n');
    await untilAllEnded(user);
    expect(existsSync(path.join(user.home, '.cache/bundler'))).toBe(false);
  });
});
