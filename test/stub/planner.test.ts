// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { compileProgram } from '../support/programs.ts';
import { run } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';
import { assemble, plainBundle, writeBundle } from './rig.ts';

describe('the planner is started clean', () => {
  test('three descriptors, no environment, its own session, default signals', async () => {
    const user = ordinaryUser();
    const line = [compileProgram('stage'), makeDir(user), '--', plainBundle(), 'state'];
    const ran = await run(line, { user, env: { LD_PRELOAD: '/nonexistent.so', NODE_OPTIONS: '--version' } });
    expect(ran.stdout.replaceAll('\t', ' ').trimEnd().split('\n')).toEqual([
      ...['fd 0', 'fd 1', 'fd 2', 'leader 1', 'variables 0', 'hard-is-soft 1'],
      ...['SigBlk: 0000000000000000', 'SigIgn: 0000000000000000', 'SigCgt: 0000000000000000'],
    ]);
  });

  test('it is told everything about the start', async () => {
    const ran = await run([plainBundle(), 'facts', 'a b', '\xff'], { cwd: '/usr', env: { X: 'a\nb' } });
    for (const line of [
      'wire=1',
      'argv=a b',
      'env=X=a',
      'uid=4242',
      'cwd=/usr',
      'umask=022',
      'probe.pidfd=ok',
      'probe.loop=skipped',
    ])
      expect(ran.stdout).toContain(`${line}\n`);
    expect(ran.stdout).toMatch(/^section=runtime \d+ \d+ 2000000 [0-9a-f]{64}$/m);
    for (const probe of ['userns', 'mount', 'fuse', 'overlay', 'tmpfs-xattr', 'seccomp', 'openat2'])
      expect(ran.stdout).toContain(`probe.${probe}=`);
  });
});

describe('the process that becomes the command is left as it was', () => {
  interface Seen {
    status: string;
    descriptors: Record<string, { inode?: number }>;
    [key: string]: unknown;
  }

  /** What peek sees, less what differs from process to process. */
  async function peek(dir: string, ...before: string[]): Promise<Seen> {
    const line = [compileProgram('stage'), dir, '--', ...before, compileProgram('peek')];
    const seen = JSON.parse((await run(line)).stdout) as Seen;
    const kept = /^(Umask|Sig\w+|Shd\w+|Cap\w+|NoNewPrivs|Seccomp|Cpus_allowed|Uid|Gid|Threads):.*$/gm;
    seen.status = (seen.status.match(kept) ?? []).join('\n');
    for (const number of ['0', '1', '2', '100', '200', '600', '601']) delete seen.descriptors[number]?.inode; // pipes and sockets of each run
    const { pid, environment, argv, ...rest } = seen;
    return rest;
  }

  test('limits, masks, dispositions, pending signals, descriptors, children', async () => {
    const dir = makeDir(ordinaryUser());
    const plain = await peek(dir);
    expect(Object.keys(plain.descriptors).length).toBeGreaterThanOrEqual(301);
    expect(await peek(dir, plainBundle(), 'plan')).toEqual(plain);
  });

  test('a blocked SIGCHLD is not pending afterwards', async () => {
    const script =
      'import signal,os,sys; signal.pthread_sigmask(signal.SIG_BLOCK,[signal.SIGCHLD]); os.execv(sys.argv[1],sys.argv[1:])';
    const command = ['/usr/bin/grep', '-E', '^(SigPnd|ShdPnd|SigBlk)', '/proc/self/status'];
    const ran = await run(['python3', '-c', script, plainBundle(), 'plan', ...command]);
    expect(ran.stdout).toMatch(/^SigPnd:\t0{16}\nShdPnd:\t0{16}\nSigBlk:\t0{11}10000\n$/);
  });

  test('closed standard descriptors stay closed', async () => {
    const ran = await run(['sh', '-c', 'exec "$0" plan /bin/sh -c "ls /proc/self/fd >&2" <&-', plainBundle()]);
    expect(ran.stderr.trim().split('\n')).not.toContain('1023');
    const none = await run(['sh', '-c', '"$0" plan /bin/sh -c "exit 5" <&- >&- 2>&-', plainBundle()]);
    expect(none.status).toBe(5);
  });

  test('a planner that lingers after its plan is ended', async () => {
    const ran = await run([
      plainBundle(),
      'linger',
      '/bin/sh',
      '-c',
      'ps -o stat=,args= --ppid $$ | grep -v ps; echo done',
    ]);
    expect(ran).toMatchObject({ status: 0, stdout: 'done\n' });
  });
});

describe('a planner that fails', () => {
  test.each([
    [
      'with a status',
      ['crash'],
      /boom: crash\nbundler: the planner ended with status 3 and no answer\n {2}try: this is a bug/,
    ],
    ['killed', ['kill', '9'], /the planner was killed by signal 9 .*\n {2}try: .*memory/],
    ['with half a reply', ['half'], /the planner ended with status 0 and no answer/],
    ['with an unknown reply', ['garbage'], /unknown kind 9/],
    ['with a reply beyond all bounds', ['huge'], /4294967295 bytes/],
    ['with a plan of a later version', ['newer'], /version 99/],
  ])('%s: 125 and what it said', async (_how, args, message) => {
    const ran = await run([plainBundle(), ...args]);
    expect(ran.stdout).toBe('');
    expect(ran.stderr).toMatch(message);
    expect(ran.status).toBe(125);
  });

  test('one that never reads its request: no SIGPIPE, whatever its size', async () => {
    const deaf = writeBundle(assemble({ runtime: { deaf: true } }).bytes);
    const env = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`BIG${i}`, 'x'.repeat(120_000)]));
    const ran = await run([deaf], { env });
    expect(ran).toMatchObject({ status: 125, signal: null });
    expect(ran.stderr).toContain('deaf planner\n');
  });
});

describe('tool mode', () => {
  const tool = writeBundle(assemble({ tool: Buffer.from('tool') }).bytes);

  test('the runtime takes the place of the process, with the exit status its own', async () => {
    const env = {
      STATUS: '42',
      KEEP: 'this',
      LD_LIBRARY_PATH: '/x',
      NODE_OPTIONS: 'y',
      NODE_EXTRA_CA_CERTS: '/ca',
      OPENSSL_CONF: '/z',
      GLIBC_TUNABLES: 'w',
    };
    const ran = await run([tool, 'make', 'a b'], { env });
    expect(ran.status).toBe(42);
    expect(ran.stdout).toContain('arg=make\narg=a b\n');
    expect(ran.stdout).toContain(`env=BUNDLER_SELF=${tool}\n`);
    expect(ran.stdout).toMatch(/^env=BUNDLER_TOOL=\d+ 4$/m);
    expect(ran.stdout).toContain('env=KEEP=this\n');
    expect(ran.stdout).toContain('env=NODE_EXTRA_CA_CERTS=/ca\n');
    expect(ran.stdout).not.toMatch(/LD_LIBRARY_PATH|NODE_OPTIONS|OPENSSL_CONF|GLIBC_TUNABLES/);
  });

  test('run FILE launches a bundle that may not be executed', async () => {
    const file = writeBundle(assemble({ payload: Buffer.alloc(5000) }).bytes);
    chmodSync(file, 0o644);
    expect(await run([tool, 'run', file, 'text', '9'])).toMatchObject({ status: 9, stdout: 'out\n' });
    const facts = await run([tool, 'run', file, 'facts', 'x']);
    expect(facts.stdout).toContain(`argv=${file}\nargv=facts\nargv=x\n`);
    expect(facts.stdout).toContain(`exe=${file}\n`);
  });

  test('run refuses what is no bundle, in one line', async () => {
    for (const [file, message] of [
      ['/etc/passwd', 'not a file that bundler made'],
      ['/nonexistent', 'No such file'],
      ['/tmp', ''],
    ] as const) {
      const ran = await run([tool, 'run', file]);
      expect(ran).toMatchObject({ status: 125, stdout: '' });
      expect(ran.stderr).toContain(message);
    }
  });
});

test('a file that may be executed but not read says so', async () => {
  const file = path.join(path.dirname(writeBundle(Buffer.alloc(0))), 'y.run');
  copyFileSync(plainBundle(), file);
  chmodSync(file, 0o711);
  const ran = await run([file]);
  expect(ran.status).toBe(125);
  expect(ran.stderr).toContain('chmod +r');
});

test('without /proc the file is found by its name', () => {
  const script = 'umount -l /proc 2>/dev/null; "$0" text 3; echo $?';
  const out = execFileSync('unshare', ['-m', 'sh', '-c', script, plainBundle()], {
    encoding: 'utf8',
    stdio: 'pipe',
    env: { BUNDLER_CACHE_DIR: path.join(path.dirname(plainBundle()), 'cache') },
  });
  expect(out).toBe('out\n3\n');
});
