// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { bundler, makeBundle } from '../support/bundle.ts';
import { e2e, e2eExceptSanitized, testNeeding } from '../support/features.ts';
import { compileProgram } from '../support/programs.ts';
import { type Ran, run, runBare, start, startOnTerminal } from '../support/run.ts';
import { freshUser, makeDir, ordinaryUser } from '../support/session.ts';
import { untouched } from '../support/untouched.ts';

interface Descriptor {
  readonly inode: number;
  readonly lock: string;
}

interface Peek {
  readonly descriptors: Record<string, Descriptor>;
  readonly limits: [string, string][];
  readonly children: string;
  readonly blocked: number[];
  readonly ignored: number[];
  readonly pid: number;
  readonly [key: string]: unknown;
}

/** What the command must see exactly as when it is started plainly. Its control group, which it sees as the root, is in hooks.test.ts. */
const same = untouched;

function read(ran: Ran): Peek {
  expect(ran.status, ran.stderr).toBe(0);
  return JSON.parse(ran.stdout) as Peek;
}

function pick(peek: Peek): Record<string, unknown> {
  return Object.fromEntries(same.map((key) => [key, peek[key]]));
}

/** A name that is the same plainly and in the container, so that `comm` and argv[0] can be compared. */
const plain = (): string => {
  const dir = makeDir(ordinaryUser(), 'plain');
  const file = path.join(dir, 'peek');
  writeFileSync(file, readFileSync(compileProgram('peek')), { mode: 0o755 });
  return file;
};

describe('a command started by the bundle sees what a plainly started one sees', () => {
  for (const [how, args] of [
    ['', []],
    [' with --rw', ['--rw']],
    [' unpacked', []],
    [' after a hook of the host', ['--conf']],
  ] as const) {
    e2e(`descriptors 0 to 300, locks, limits, umask, nice, affinity, signals${how}`, async () => {
      const dir = makeDir(ordinaryUser(), 'stage');
      const stage = [compileProgram('stage'), dir, '--'];
      const env: Record<string, string> = how === ' unpacked' ? { BUNDLER_DRIVER: 'extract' } : {};
      const bundle = makeBundle('no-rc', '--entrypoint', '/bin/peek');
      const expected = read(await run([...stage, plain()]));
      const conf = path.join(makeDir(ordinaryUser(), 'hook'), 'hook.conf');
      writeFileSync(conf, 'hooks() { umask 0; true | true; trap "" TERM; ulimit -n 64; }\n');
      const options = args[0] === '--conf' ? ['--conf', conf] : args;
      const actual = read(await run([...stage, bundle, ...options], { env }));
      expect(pick(actual)).toEqual(pick(expected));
      const fds = Object.keys(expected.descriptors);
      expect(fds.length).toBeGreaterThan(300);
      expect(Object.keys(actual.descriptors)).toEqual(fds);
      for (const fd of fds) {
        const [mine, theirs] = [actual.descriptors[fd], expected.descriptors[fd]];
        // Pipes and sockets are made anew for each run; the files must be the very same, with their locks.
        const isNew = Number(fd) < 3 || [100, 200].includes(Number(fd)) || Number(fd) > 300;
        expect({ fd, ...mine, ...(isNew && { inode: 0 }) }).toEqual({ fd, ...theirs, ...(isNew && { inode: 0 }) });
      }
      expect(actual.descriptors['7']?.lock).toBe('exclusive');
      expect(actual.descriptors['8']?.lock).toBe('shared');
      expect(actual.blocked).toContain(10);
      expect(actual.ignored).toEqual(expect.arrayContaining([12, 13, 17]));
    });
  }

  e2e('the pid, session, process group and parent', async () => {
    const bundle = makeBundle('no-rc', '--entrypoint', '/bin/peek');
    const running = start([bundle], { detached: true });
    const peek = read(await running.end());
    expect(peek).toMatchObject({ pid: running.pid, group: running.pid, session: running.pid, ppid: process.pid });
    const other = start([bundle]);
    const second = read(await other.end());
    const plainly = read(await run([plain()]));
    expect(second).toMatchObject({ pid: other.pid, group: plainly['group'], session: plainly['session'] });
  });

  e2e('the controlling terminal and its foreground process group', async () => {
    const onTerminal = async (command: string): Promise<Peek> => {
      const shown = (await startOnTerminal([command]).end()).stdout;
      return JSON.parse(shown.replaceAll('\r\n', '\n')) as Peek;
    };
    const expected = await onTerminal(plain());
    const actual = await onTerminal(makeBundle('no-rc', '--entrypoint', '/bin/peek'));
    expect(expected).toMatchObject({ hasTerminal: true, isatty: [1, 1, 1] });
    expect(pick(actual)).toEqual({ ...pick(expected), ppid: actual['ppid'] });
    for (const peek of [expected, actual])
      expect([peek['foreground'], peek['group'], peek['session']]).toEqual([peek.pid, peek.pid, peek.pid]);
    expect(actual['tty']).toMatch(/^\/dev\/pts\/\d+$/);
  });

  e2e('no child that it did not start', async () => {
    // A program that adopts orphans, as job starters do, and then waits until it has no child: by fuse and unpacked.
    const reap = 'import os,sys,ctypes\nctypes.CDLL(None).prctl(36,1,0,0,0)\nos.execv(sys.argv[1],sys.argv[1:])';
    for (const env of [{}, { BUNDLER_DRIVER: 'extract' }]) {
      const bundle = makeBundle('no-rc', '--entrypoint', '/bin/peek');
      const peek = read(await run(['python3', '-c', reap, bundle], { env, user: freshUser() }));
      expect(peek).toMatchObject({ children: 'none', subreaper: 1 });
    }
    expect(read(await run([makeBundle('no-rc', '--entrypoint', '/bin/peek')])).children).toBe('none');
  });

  e2e('a make jobserver’s pipe', async () => {
    const script = 'exec 3<>"$1"; printf tok >&3; exec "$0" sh -c "head -c 3 <&3"';
    const dir = makeDir(ordinaryUser(), 'fifo');
    const ran = await run(['bash', '-c', `mkfifo ${dir}/f; ${script}`, makeBundle('no-rc'), `${dir}/f`]);
    expect(ran).toMatchObject({ status: 0, stdout: 'tok' });
  });
});

describe('the planner', () => {
  const strace = testNeeding('root', 'bundler', 'userns', 'fuse', 'mksquashfs', 'busybox', 'strace');

  strace('opens no ELF file of the host: only what lies in the cache directory', async () => {
    const user = ordinaryUser();
    const bundle = makeBundle('busybox');
    await run([bundle, 'true']);
    const log = path.join(makeDir(user, 'strace'), 'log');
    const ran = await run([
      'strace',
      '-f',
      '-y',
      '-o',
      log,
      '-e',
      'trace=open,openat,openat2,execve,execveat,mmap,clone,clone3,fork,vfork',
      bundle,
      'true',
    ]);
    expect(ran.status, ran.stderr).toBe(0);
    const lines = readFileSync(log, 'latin1').split('\n');
    const planner = lines.find((line) => /execve(at)?\(.*ld\.so.*(= 0|<unfinished \.\.\.>)$/.test(line))?.split(' ')[0];
    expect(planner, lines.slice(0, 40).join('\n')).toBeDefined();
    // Its threads, its children and theirs: Node opens files in threads.
    const ours = new Set([planner]);
    const opened: string[] = [];
    for (const line of lines) {
      if (!ours.has(line.split(' ')[0])) continue;
      const started = /(?:fork|clone3?)(?:\(| resumed).*= (\d+)$/.exec(line)?.[1];
      if (started) ours.add(started);
      opened.push(line);
    }
    expect(ours.size, 'Node has threads').toBeGreaterThan(2);
    // What it opened, and what it mapped to be executed.
    const files = opened
      .map((line) => /= \d+<([^>]*)>$/.exec(line)?.[1] ?? /mmap\([^<]*PROT_EXEC[^<]*<([^>]*)>/.exec(line)?.[1])
      .filter((file) => file !== undefined);
    const elfs = files.filter((file) => {
      try {
        return readFileSync(file, { flag: 'r' }).subarray(0, 4).toString('latin1') === '\x7fELF';
      } catch {
        return false;
      }
    });
    const cache = path.join(user.home, '.cache/bundler');
    expect(elfs.filter((file) => file.includes('/runtime-')).length).toBeGreaterThan(3);
    expect(elfs.filter((file) => !file.startsWith(cache))).toEqual([]);
    expect(opened.join('\n')).not.toMatch(/ld\.so\.preload|ld\.so\.cache|nsswitch|openssl\.cnf/);
  });

  const hostile = (dir: string): Record<string, string> => ({
    LD_PRELOAD: `${dir}/missing.so`,
    LD_LIBRARY_PATH: dir,
    LD_DEBUG: 'all',
    LD_AUDIT: `${dir}/missing.so`,
    NODE_OPTIONS: '--no-such-option',
    NODE_PATH: dir,
    NODE_V8_COVERAGE: `${dir}/coverage`,
    NODE_EXTRA_CA_CERTS: `${dir}/missing.pem`,
    OPENSSL_CONF: `${dir}/missing.cnf`,
    GLIBC_TUNABLES: 'glibc.malloc.check=3',
    UV_THREADPOOL_SIZE: '0',
    LC_ALL: 'xx_XX.UTF-8',
    MALLOC_PERTURB_: '7',
  });

  // On the bare host: what starts a command elsewhere (setpriv) heeds such variables itself.
  e2eExceptSanitized('that launcher is dynamic, and its own loader heeds LD_*')(
    'is not reached by LD_*, NODE_*, OPENSSL_CONF and GLIBC_TUNABLES of the host',
    async () => {
      const env = hostile('/tmp');
      const ran = await runBare([makeBundle('busybox'), 'echo', 'fine'], { env });
      expect(ran).toMatchObject({ status: 0, stdout: 'fine\n', stderr: '' });
      const info = await runBare([makeBundle('busybox'), '--info'], { env });
      expect(info).toMatchObject({ status: 0, stderr: '' });
      const tool = await runBare([bundler, 'inspect', '/x.run'], { env, files: { '/x.run': makeBundle('busybox') } });
      expect(tool).toMatchObject({ status: 0, stderr: '', stdout: expect.stringMatching(/^kind: +bundle$/m) });
    },
  );

  e2e('passes such variables to the command when it is asked to', async () => {
    const ran = await run([makeBundle('busybox'), '--env', 'LD_LIBRARY_PATH', '--env', 'NODE_OPTIONS=--x', 'env'], {
      env: { LD_LIBRARY_PATH: '/opt/lib' },
    });
    expect(ran.stdout.split('\n')).toEqual(expect.arrayContaining(['LD_LIBRARY_PATH=/opt/lib', 'NODE_OPTIONS=--x']));
  });

  e2e('has an environment of its own, which is empty', async () => {
    const log = path.join(makeDir(ordinaryUser(), 'strace'), 'log');
    const bundle = makeBundle('busybox');
    await run([bundle, 'true']);
    const ran = await run(
      ['strace', '-f', '-v', '-s', '4096', '-o', log, '-e', 'trace=execve,execveat', bundle, 'true'],
      { env: { SECRET: 'hush' } },
    );
    expect(ran.status, ran.stderr).toBe(0);
    const planner = readFileSync(log, 'latin1')
      .split('\n')
      .find((line) => /ld\.so/.test(line) && /execve/.test(line));
    expect(planner).toMatch(/"plan"\], \[\](\) = 0| <unfinished \.\.\.>)$/);
  });
});
