// SPDX-License-Identifier: Apache-2.0
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e, testNeeding } from '../support/features.ts';
import { compileProgram } from '../support/programs.ts';
import { Running, run, runBare, start, startOnTerminal } from '../support/run.ts';
import { sanitizerEnv } from '../support/sanitize.ts';
import { makeDir, makeUser, ordinaryUser } from '../support/session.ts';

const busybox = (): string => makeBundle('busybox');

/** Empty for a process that is gone. */
function readCommand(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}

/** A host whose files do not know the user, and a program that stands for getent. */
function hostWith(getent: string): { files: Record<string, string> } {
  const file = path.join(makeDir(ordinaryUser()), 'getent');
  writeFileSync(file, `#!/bin/sh\n${getent}\n`, { mode: 0o755 });
  const names = Object.fromEntries(['sh', 'sleep', 'cat'].map((name) => [`/bin/${name}`, '/bin/busybox']));
  return { files: { ...names, '/usr/bin/getent': file } };
}

describe('a user whom the files of the host do not know', () => {
  e2e('is asked for with getent, and found in the container', async () => {
    const host = hostWith(`case "$*" in
      "passwd 4242") echo "ann.l:*:4242:500:Ann L.:/nfs/ann:/bin/sh" ;;
      "group 4242") echo "hpc:*:4242:ann.l,bob" ;;
    esac`);
    const script = 'sed -n 3p /etc/passwd /etc/group; sed -n 3p /etc/group; id -un; id -gn; echo $HOME $USER; ls -d ~';
    const ran = await runBare([busybox(), 'sh', '-c', script], { ...host, env: { USER: 'another' } });
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout.split('\n')).toEqual([
      'ann.l:x:4242:4242:Ann L.:/nfs/ann:/bin/sh',
      ...['hpc:x:4242:', 'ann.l', 'hpc', '/nfs/ann ann.l', '/nfs/ann', ''],
    ]);
  });

  e2e('is what his variables say where there is no getent', async () => {
    const ran = await runBare([busybox(), 'sh', '-c', 'sed -n 3p /etc/passwd'], { env: { USER: 'ann' } });
    expect(ran).toMatchObject({ status: 0, stdout: 'ann:x:4242:4242::/home/user:/bin/sh\n', stderr: '' });
  });

  e2e('starts all the same when the directory service hangs: once the limit, and one line about it', async () => {
    const dir = makeDir(ordinaryUser());
    const host = hostWith('echo x >> /marks/asked; exec sleep 600');
    const began = Date.now();
    const ran = await runBare([busybox(), 'sh', '-c', 'id -un'], {
      ...host,
      flags: ['--bind', `${dir}=/marks`],
      env: { USER: 'ann' },
    });
    const tookMs = Date.now() - began;
    expect(ran).toMatchObject({ status: 0, stdout: 'ann\n' });
    expect(ran.stderr).toBe('bundler: no answer within 5 s from getent passwd 4242: USER and HOME tell who you are\n');
    // For the user and for the group, at the same time.
    expect(readFileSync(path.join(dir, 'asked'), 'utf8')).toBe('x\nx\n');
    expect(tookMs).toBeGreaterThan(5000);
    expect(tookMs).toBeLessThan(10_000);
  });

  testNeeding(
    'root',
    'bundler',
    'userns',
    'fuse',
    'extrausers',
  )('is found through the name service of the host, whatever nsswitch.conf names', async () => {
    const dir = makeDir(ordinaryUser(), 'extrausers');
    const write = (name: string, text: string) => writeFileSync(path.join(dir, name), text, { mode: 0o644 });
    write('passwd', 'ldap-ann:x:4242:4243:Ann:/nfs/ann:/bin/sh\n');
    write('group', 'ldap-hpc:x:4242:\n');
    write('nsswitch.conf', 'passwd: files extrausers\ngroup: files extrausers\n');
    const shown = ['--file', `${dir}=/var/lib/extrausers`, '--file', `${dir}/nsswitch.conf=/etc/nsswitch.conf`];
    const command = [busybox(), 'sh', '-c', 'id -un; id -gn'];
    const user = ordinaryUser();
    const ran = await new Running([compileProgram('bare-host'), '--host-root', ...shown, '--', ...command], {
      cwd: '/',
      env: { PATH: '/nonexistent', HOME: user.home, ...sanitizerEnv() },
    }).end();
    expect(ran).toMatchObject({ status: 0, stdout: 'ldap-ann\nldap-hpc\n', stderr: '' });
  });

  e2e('is not waited for where nobody needs to know him, and what was asked is ended', async () => {
    const dir = makeDir(ordinaryUser());
    const host = hostWith('echo $$ >> /marks/asked; exec sleep 600');
    const began = Date.now();
    const ran = await runBare([busybox(), '--version'], { ...host, flags: ['--bind', `${dir}=/marks`] });
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(Date.now() - began).toBeLessThan(4000);
    const asked = existsSync(path.join(dir, 'asked')) ? readFileSync(path.join(dir, 'asked'), 'utf8') : '';
    for (const pid of asked.split('\n').filter(Boolean)) {
      expect(readCommand(Number(pid)), 'a program of the host that goes on').not.toContain('sleep');
    }
  });

  testNeeding(
    'root',
    'bundler',
    'userns',
    'fuse',
    'strace',
  )('is the only one for whom getent is run, or any other program of the host', async () => {
    const executed = async (uid: number) => {
      const user = makeUser(uid);
      const dir = makeDir(user);
      // A file for each process (-ff): in one file the lines of processes that run side by side are torn.
      const strace = ['strace', '-ff', '-qq', '-e', 'trace=execve', '-o', path.join(dir, 'trace')];
      const ran = await run([...strace, busybox(), 'true'], { user });
      expect(ran.status, ran.stderr).toBe(0);
      const trace = readdirSync(dir).map((name) => readFileSync(path.join(dir, name), 'utf8'));
      const lines = trace.join('').matchAll(/execve\("([^"]*)", \["([^"]*)"(?:, "([^"]*)")?.* = 0$/gm);
      const all = [...lines].map(([, program = '', , argument]) => `${path.basename(program)} ${argument}`);
      return all.filter((line) => !/^(x\.run|ld\.so|true|sh|busybox) /.test(line));
    };
    // The first is in /etc/passwd and /etc/group of every Debian.
    expect(await executed(65534)).toEqual([]);
    expect((await executed(4242)).sort().reverse()).toEqual(['getent passwd', 'getent group']);
  });
});

describe('the control group of a command', () => {
  e2e('is the one that it was started in; inside it is the root', async () => {
    const plain = start(['cat']);
    const inside = start([busybox(), 'sh', '-c', 'cat /proc/self/cgroup; read x']);
    await inside.see(/^0::.*$/m);
    const groupOf = (pid: number) => readFileSync(`/proc/${pid}/cgroup`, 'utf8');
    expect(groupOf(inside.pid)).toBe(groupOf(plain.pid));
    expect(
      inside.shown
        .trim()
        .split('\n')
        .map((line) => line.split(':')[2]),
    ).toEqual(expect.not.arrayContaining([expect.stringMatching(/^\/./)]));
    await Promise.all([plain.end(), inside.end()]);
  });

  e2e('is shown with its own limits', async () => {
    // v1 and v2 alike: the files of the group as the host shows them.
    const own = readFileSync('/proc/self/cgroup', 'utf8').split('\n');
    const [, , group = '/'] =
      own.find((line) => /^\d+:memory:/.test(line))?.split(':') ??
      own.find((line) => line.startsWith('0::'))?.split(':') ??
      [];
    const [place = '', name = ''] =
      [
        ['/sys/fs/cgroup/memory', 'memory.limit_in_bytes'],
        ['/sys/fs/cgroup', 'cgroup.procs'],
      ].find(([dir = '', file = '']) => existsSync(path.join(dir, group, file))) ?? [];
    if (place === '') throw new Error('this machine has no control groups');
    const there = readFileSync(path.join(place, group, name), 'utf8');
    const ran = await run([busybox(), 'cat', `${place}/${name}`]);
    expect(ran.status, ran.stderr).toBe(0);
    if (name === 'memory.limit_in_bytes') expect(ran.stdout).toBe(there);
  });
});

describe('a step of Slurm', () => {
  const step = { SLURM_JOB_ID: '7', SLURM_STEP_ID: '0', SLURM_MPI_TYPE: 'pmix_v4', PMIX_RANK: '0' };

  e2e('goes on without the directory of the PMIx server, and says so in a line', async () => {
    const env = { ...step, PMIX_SERVER_TMPDIR: '/no/such/pmix' };
    const ran = await run([busybox(), 'sh', '-c', 'echo $PMIX_RANK'], { env });
    expect(ran).toMatchObject({ status: 0, stdout: '0\n' });
    expect(ran.stderr).toMatch(/^bundler: open \/no\/such\/pmix, .*: No such file or directory\n/);
    expect(ran.stderr.trimEnd().split('\n').length).toBeLessThanOrEqual(2);
  });

  e2e('talks to the process manager over the descriptor that it was given', async () => {
    const script = 'exec "$0" sh -c \'echo "rank $PMI_RANK" >&$PMI_FD\' 11>&1 >/dev/null';
    const ran = await run(['bash', '-c', script, busybox()], { env: { ...step, PMI_FD: '11', PMI_RANK: '0' } });
    expect(ran).toMatchObject({ status: 0, stdout: 'rank 0\n' });
  });

  e2e('needs nothing of the host but its variables', async () => {
    const env = { ...step, SLURM_PROCID: '3', PMIX_SERVER_TMPDIR: '/no/such/pmix' };
    const ran = await runBare([busybox(), 'sh', '-c', 'echo $SLURM_PROCID'], { env });
    expect(ran).toMatchObject({ status: 0, stdout: '3\n' });
  });
});

describe('a restricted /dev', () => {
  const env = { ENROOT_RESTRICT_DEV: 'y' };

  e2e('has the terminal as its console', async () => {
    const running = startOnTerminal(
      [busybox(), 'sh', '-c', 'echo "to the console" > /dev/console; test -c /dev/tty; echo $?'],
      { env },
    );
    const shown = (await running.end()).stdout;
    expect(shown).toContain('to the console');
    expect(shown).toMatch(/^0\r?$/m);
  });

  e2e('is there on every rung: on a bare host, unpacked, writable, as root, without namespaces', async () => {
    const script = 'ls /dev/null /dev/fuse 2> /dev/null; echo x > /dev/null && echo fine';
    for (const [args, more] of [
      [[], {}],
      [[], { BUNDLER_DRIVER: 'extract' }],
      [['--rw'], {}],
      [['--root'], {}],
      [['--quiet'], { BUNDLER_SANDBOX: 'proot' }],
    ] as const) {
      const ran = await runBare([busybox(), ...args, 'sh', '-c', script], { env: { ...env, ...more } });
      expect(ran, `${args} ${JSON.stringify(more)}`).toMatchObject({
        status: 0,
        stdout: '/dev/null\nfine\n',
        stderr: '',
      });
    }
  });
});

describe('lxcfs', () => {
  e2e('answers for /proc/meminfo where it runs, when asked for', async () => {
    const file = path.join(makeDir(ordinaryUser()), 'meminfo');
    writeFileSync(file, 'MemTotal: 42 kB\n');
    chmodSync(file, 0o644);
    const host = { files: { '/var/lib/lxcfs/proc/meminfo': file } };
    const command = [busybox(), 'head', '-n', '1', '/proc/meminfo'];
    expect((await runBare(command, host)).stdout).not.toContain(' 42 kB');
    const asked = await runBare(command, { ...host, env: { BUNDLER_HOOKS: 'lxcfs' } });
    expect(asked).toMatchObject({ status: 0, stdout: 'MemTotal: 42 kB\n', stderr: '' });
  });
});

describe('a new home directory', () => {
  e2e('begins with the skeleton of the image on every way to a root', async () => {
    const script =
      'cd; pwd; cat .profile .config/settings; echo changed >> .profile 2> /dev/null && tail -n 1 .profile';
    for (const [args, more, shown] of [
      [[], { HOME: '/home/ann' }, '/home/ann\n# skeleton\nx\n'],
      [['--rw'], { HOME: '/home/ann' }, '/home/ann\n# skeleton\nx\nchanged\n'],
      [['--rw'], { HOME: '/home/ann', BUNDLER_DRIVER: 'extract' }, '/home/ann\n# skeleton\nx\nchanged\n'],
      [[], { HOME: '/tmp/ann' }, '/tmp/ann\n# skeleton\nx\nchanged\n'],
    ] as const) {
      const ran = await run([makeBundle('accounts'), ...args, 'sh', '-c', `${script}; true`], {
        env: { USER: 'ann', ...more },
      });
      expect(ran, JSON.stringify([args, more])).toMatchObject({ status: 0, stdout: shown });
    }
  });
});

describe('BUNDLER_HOOKS', () => {
  e2e('turns hooks off', async () => {
    const ran = await run(
      [busybox(), 'sh', '-c', 'cat /etc/passwd; cut -d: -f3 /proc/self/cgroup | sort | tail -n 1'],
      {
        env: { BUNDLER_HOOKS: 'none' },
      },
    );
    const groups = readFileSync('/proc/self/cgroup', 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(':')[2] ?? '');
    expect(ran.stdout).toBe(`root:x:0:0:root:/root:/bin/sh\nbin:x:2:2:bin:/bin:/bin/false\n${groups.sort().at(-1)}\n`);
  });

  e2e('refuses a name that is none', async () => {
    const ran = await run([busybox(), 'true'], { env: { BUNDLER_HOOKS: 'shadows' } });
    expect(ran).toMatchObject({ status: 125, stdout: '' });
    expect(ran.stderr).toMatch(
      /^bundler: BUNDLER_HOOKS: there is no built-in hook shadows\n {2}try: one of 10-aptfix, /,
    );
  });
});
