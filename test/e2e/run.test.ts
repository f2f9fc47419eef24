// SPDX-License-Identifier: Apache-2.0
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { run, runBare, type start, startBare } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

describe('a bundle on a bare host, as an ordinary user', () => {
  e2e('runs the default command of the image', async () => {
    const ran = await runBare([makeBundle('busybox')]);
    expect(ran).toMatchObject({ status: 0, stdout: 'hello from the image\n', stderr: '' });
  });

  e2e('runs an explicit command with its arguments as they are', async () => {
    const ran = await runBare([makeBundle('busybox'), 'printf', '%s|', 'a b', '', "it's", '$HOME', '*', '--env', '-x']);
    expect(ran).toMatchObject({ status: 0, stdout: "a b||it's|$HOME|*|--env|-x|", stderr: '' });
  });

  e2e('passes --env K=V, --env=K=V and --env K, and nothing of the caller unasked', async () => {
    const ran = await runBare([makeBundle('busybox'), '--env', 'A=one two', '--env=B=x=y', '--env', 'CALLER', 'env'], {
      env: { CALLER: 'asked for', SECRET: 'not asked for' },
    });
    const lines = ran.stdout.split('\n');
    expect(ran.status, ran.stderr).toBe(0);
    expect(lines).toEqual(
      expect.arrayContaining(['A=one two', 'B=x=y', 'CALLER=asked for', 'IMAGE_VARIABLE=from the image', 'TERM=dumb']),
    );
    expect(ran.stdout).not.toContain('SECRET');
  });

  e2e('passes the variables of --env-file, below those of --env', async () => {
    const file = path.join(makeDir(ordinaryUser()), 'vars');
    writeFileSync(file, '# a comment\nA=from the file\nB=from the file\n\nCALLER\n');
    const args = ['--env-file', '/vars', '--env', 'B=from the line', 'env'];
    const ran = await runBare([makeBundle('busybox'), ...args], {
      files: { '/vars': file },
      env: { CALLER: 'asked for' },
    });
    const expected = ['A=from the file', 'B=from the line', 'CALLER=asked for'];
    expect(ran.stdout.split('\n'), ran.stderr).toEqual(expect.arrayContaining(expected));
  });

  e2e(
    'shows the host’s names, resolver, machine id and time zone, and keeps the host’s out where it has none',
    async () => {
      const dir = makeDir(ordinaryUser());
      const etc = {
        hosts: '1.2.3.4 here\n',
        hostname: 'here\n',
        'resolv.conf': 'nameserver 1.2.3.4\n',
        'machine-id': '0123\n',
      };
      for (const [name, text] of Object.entries(etc)) writeFileSync(path.join(dir, name), text);
      const names = Object.keys(etc);
      const files = Object.fromEntries(names.map((name) => [`/etc/${name}`, path.join(dir, name)]));
      const command = ['sh', '-c', `cd /etc; cat ${names.join(' ')}`];
      const there = await runBare([makeBundle('busybox'), ...command], { files });
      expect(there).toMatchObject({ status: 0, stdout: Object.values(etc).join(''), stderr: '' });
      const absent = await runBare([makeBundle('busybox'), 'sh', '-c', 'cat /etc/hosts || ls -A /tmp']);
      expect(absent.stdout, 'nothing of this machine').toBe('');
    },
  );

  e2e('passes the whole environment of the caller with --keep-env', async () => {
    const ran = await runBare([makeBundle('busybox'), '--keep-env', 'env'], { env: { CALLER: 'all of it' } });
    expect(ran.stdout.split('\n')).toContain('CALLER=all of it');
  });

  e2e('runs a script of the host with --rc in place of the image’s', async () => {
    const dir = makeDir(ordinaryUser());
    const rc = path.join(dir, 'rc.sh');
    writeFileSync(rc, '#!/bin/sh\necho "rc of the caller: $*"\nexit 9\n', { mode: 0o644 });
    const ran = await runBare([makeBundle('busybox'), '--rc', '/rc.sh', 'a', 'b c'], { files: { '/rc.sh': rc } });
    expect(ran).toMatchObject({ status: 9, stdout: 'rc of the caller: a b c\n', stderr: '' });
  });

  e2e('runs a static program of an image without a shell', async () => {
    const ran = await runBare([makeBundle('no-shell', '--entrypoint', '/peek')]);
    expect(ran.status, ran.stderr).toBe(0);
    expect(JSON.parse(ran.stdout)).toMatchObject({ end: true, children: 'none' });
  });

  e2e('runs as the caller, who owns the files', async () => {
    const ran = await runBare([makeBundle('busybox'), 'sh', '-c', 'id -u; id -g; stat -c %u:%g /bin/busybox']);
    expect(ran.stdout).toBe('4242\n4242\n4242:4242\n');
  });

  e2e('runs as root inside with --root', async () => {
    const ran = await runBare([
      makeBundle('busybox'),
      '--root',
      'sh',
      '-c',
      'id -u; id -g; stat -c %u:%g /bin/busybox',
    ]);
    expect(ran.stdout).toBe('0\n0\n0:0\n');
  });

  e2e('is read-only by default and writable with --rw, without a trace in the next run', async () => {
    const file = makeBundle('busybox');
    const denied = await runBare([file, 'sh', '-c', 'echo x > /etc/new']);
    expect(denied.status).not.toBe(0);
    expect(denied.stderr).toContain('Read-only file system');
    const written = await runBare([
      file,
      '--rw',
      'sh',
      '-c',
      'echo x > /etc/new && rm -r /usr && mkdir /usr && cat /etc/new && ls -A /usr',
    ]);
    expect(written).toMatchObject({ status: 0, stdout: 'x\n' });
    const next = await runBare([file, 'sh', '-c', 'test -e /etc/new; echo $?; test -d /usr/bin && echo back']);
    expect(next.stdout).toBe('1\nback\n');
  });

  e2e('shows a directory of the host with --mount', async () => {
    const dir = makeDir(ordinaryUser());
    writeFileSync(path.join(dir, 'file'), 'of the host\n');
    const ran = await runBare([makeBundle('busybox'), '--mount', '/data:/mnt/data', 'cat', '/mnt/data/file'], {
      flags: ['--bind', `${dir}=/data`],
    });
    expect(ran).toMatchObject({ status: 0, stdout: 'of the host\n', stderr: '' });
  });

  e2e('starts in the directory that --workdir names', async () => {
    const ran = await runBare([makeBundle('busybox'), '--workdir', '/var/tmp', 'pwd']);
    expect(ran).toMatchObject({ status: 0, stdout: '/var/tmp\n' });
  });

  e2e('gives the user a name, a home and a /tmp that can be written', async () => {
    const ran = await runBare([
      makeBundle('busybox'),
      'sh',
      '-c',
      'id -un; grep ":4242:" /etc/passwd /etc/group; cd ~ && pwd; echo x > /tmp/x && cat /tmp/x && ls -d /proc/self /dev/null',
    ]);
    expect(ran.status, ran.stderr).toBe(0);
    const accounts = '/etc/passwd:u4242:x:4242:4242::/home/user:/bin/sh\n/etc/group:u4242:x:4242:\n';
    expect(ran.stdout).toBe(`u4242\n${accounts}/home/user\nx\n/dev/null\n/proc/self\n`);
  });

  for (const image of ['gzip', 'lzo', 'lz4', 'xz', 'lzma', 'zstd', 'stored'] as const) {
    e2e(`reads an image compressed with ${image}`, async () => {
      const sum = createHash('sha256')
        .update((await import('node:fs')).readFileSync('/bin/busybox'))
        .digest('hex');
      const ran = await runBare([makeBundle(image), 'sha256sum', '/bin/busybox']);
      expect(ran).toMatchObject({ status: 0, stdout: `${sum}  /bin/busybox\n`, stderr: '' });
    });
  }
});

describe('standard streams', () => {
  const stream = async (begin: (argv: string[]) => ReturnType<typeof start>): Promise<void> => {
    const block = randomBytes(1 << 20);
    const sent = createHash('sha256');
    const received = createHash('sha256');
    const running = begin([makeBundle('busybox'), 'cat']);
    const { stdin, stdout } = running.child;
    if (!stdin || !stdout) throw new Error('no pipes');
    // The rig would keep all output in memory.
    stdout.removeAllListeners('data');
    let bytes = 0;
    stdout.on('data', (data: Buffer) => {
      bytes += data.length;
      received.update(data);
    });
    for (let i = 0; i < 1024; i++) {
      block.writeUInt32LE(i, 0);
      const copy = Buffer.from(block);
      sent.update(copy);
      if (!stdin.write(copy)) await new Promise((resolve) => stdin.once('drain', resolve));
    }
    const ran = await running.end();
    expect(ran.status, ran.stderr).toBe(0);
    expect(bytes).toBe(2 ** 30);
    expect(received.digest('hex')).toBe(sent.digest('hex'));
  };

  e2e(
    'are binary-clean through 1 GiB on a bare host',
    () => stream((argv) => startBare(argv, { timeoutMs: 110_000 })),
    120_000,
  );

  e2e('keep stdout and stderr apart, and add nothing to either', async () => {
    const ran = await run([makeBundle('busybox'), 'sh', '-c', 'echo out; echo err >&2']);
    expect(ran).toMatchObject({ status: 0, stdout: 'out\n', stderr: 'err\n' });
  });

  e2e('may be closed', async () => {
    const file = makeBundle('busybox');
    const ran = await run([
      'sh',
      '-c',
      '"$0" true <&- && "$0" true >&- && "$0" true 2>&- && "$0" sh -c "ls -l /proc/self/fd | wc -l" <&- ; echo $?',
      file,
    ]);
    expect(ran.stdout.trim().split('\n').at(-1), ran.stderr).toBe('0');
  });

  e2e('end the command by SIGPIPE when nobody reads, as for a plain command', async () => {
    const file = makeBundle('busybox');
    // biome-ignore lint/suspicious/noTemplateCurlyInString: for bash to expand
    const ran = await run(['bash', '-c', '"$0" yes | head -n 1; echo "${PIPESTATUS[0]}"', file]);
    expect(ran.stdout).toBe('y\n141\n');
  });
});
