// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e, exampleImage, withExample } from '../support/features.ts';
import { compileProgram } from '../support/programs.ts';
import { run, start, startOnTerminal } from '../support/run.ts';
import { freshUser, makeDir, ordinaryUser, type User } from '../support/session.ts';
import { listProcesses, type Process, until, untilAllEnded } from '../support/snapshot.ts';

const env = { BUNDLER_SANDBOX: 'proot' };

/** Nobody's child: the tracer, and the janitor. */
function findTracer(user: User): Process {
  const found = listProcesses(user).filter(({ command }) => command.startsWith('bundler-tracer'));
  if (found.length !== 1 || !found[0]) throw new Error(`not one tracer: ${JSON.stringify(listProcesses(user))}`);
  return found[0];
}

describe('through proot', () => {
  e2e('system calls that proot does not translate are answered with ENOSYS', async () => {
    const program = compileProgram('try-syscalls');
    const ran = await run([makeBundle('busybox'), '--mount', `${program}:/try`, '--entrypoint', '/try'], { env });
    expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: '' });
    expect(
      ran.stdout
        .trim()
        .split('\n')
        .map((line) => line.split(' ')[1]),
    ).toEqual(Array(8).fill('38'));
  });

  e2e('the root is the image, with the user’s names in it, and can be written to', async () => {
    const script = 'echo x > /etc/new && cat /etc/new; id -un; pwd; ls /host 2>&1; cd /; ls -d ../../etc';
    const ran = await run([makeBundle('busybox'), 'sh', '-c', script], { env });
    expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout).toMatch(/^x\nu4242\n\/.*\nls: \/host: No such file or directory\n\.\.\/\.\.\/etc\n$/);
  });

  e2e('no process of ours is a child of the command, and it has no descriptor of ours', async () => {
    const user = freshUser();
    const list = 'ls /proc/$$/fd | grep -v "^3$"';
    const plain = await run(['sh', '-c', `x=$(${list}); echo $x`], { user });
    const script = `x=$(${list}); echo $x; cat /proc/$$/task/$$/children; echo; echo ready; read x`;
    const running = start([makeBundle('busybox'), 'sh', '-c', script], { user, env });
    await running.see(/ready\n/);
    // The one child is cat itself.
    expect(running.shown).toMatch(/^[\d ]+\n\d+ \nready\n$/);
    expect(running.shown.split('\n')[0]).toBe(plain.stdout.trim());
    expect(findTracer(user).parent).not.toBe(running.pid);
    await running.end('\n');
    await untilAllEnded(user);
  });

  e2e('the tracer loads nothing of the host and knows neither arguments nor environment of the command', async () => {
    const user = freshUser();
    const running = start([makeBundle('busybox'), '--env', 'K=secret-1', 'sh', '-c', 'echo ready; read x # secret-2'], {
      user,
      env,
    });
    await running.see(/ready\n/);
    const { pid } = findTracer(user);
    const files = [...readFileSync(`/proc/${pid}/maps`, 'utf8').matchAll(/ (\/\S+)$/gm)].map(([, file]) => file);
    expect(files.length).toBeGreaterThan(5);
    const cache = realpathSync(`${user.home}/.cache/bundler`);
    expect(files.filter((file) => !file?.startsWith(`${cache}/runtime-`))).toEqual([]);
    for (const name of ['cmdline', 'environ'])
      expect(readFileSync(`/proc/${pid}/${name}`, 'latin1')).not.toMatch(/secret/);
    const visible = readFileSync(`/proc/${running.pid}/environ`, 'latin1').split('\0');
    expect(visible).toContain('K=secret-1');
    expect(visible.filter((item) => /PROOT|BUNDLER|TRACER/.test(item))).toEqual([]);
    await running.end('\n');
    await untilAllEnded(user);
  });

  e2e('loader variables of the image and of --env reach the command and not proot', async () => {
    const ran = await run(
      [makeBundle('busybox'), '--env', 'LD_PRELOAD=/nowhere.so', '--env', 'LD_LIBRARY_PATH=/x', 'env'],
      {
        env,
      },
    );
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout).toMatch(/^LD_PRELOAD=\/nowhere\.so$/m);
    expect(ran.stdout).toMatch(/^LD_LIBRARY_PATH=\/x$/m);
  });

  e2e('kill -9 of the visible process ends everything in the container and removes its files', async () => {
    const user = freshUser();
    const script = 'sleep 1000 & (setsid sleep 1000 &) ; echo ready; wait';
    const running = start([makeBundle('busybox'), 'sh', '-c', script], { user, env });
    await running.see(/ready\n/);
    expect(listProcesses(user).length).toBeGreaterThanOrEqual(4);
    running.child.kill('SIGKILL');
    expect(await running.end()).toMatchObject({ signal: 'SIGKILL' });
    await untilAllEnded(user);
    expect(readdirSync(`${user.home}/.cache/bundler`).filter((name) => name.startsWith('extract-'))).toEqual([]);
  });

  e2e('SIGTERM and SIGINT end the command by that signal, and nothing is left', async () => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const user = freshUser();
      const script = 'echo ready; exec sleep 1000';
      const running = start([makeBundle('busybox'), 'sh', '-c', script], { user, env });
      await running.see(/ready\n/);
      running.child.kill(signal);
      expect(await running.end()).toMatchObject({ signal, stderr: '' });
      await untilAllEnded(user);
      expect(readdirSync(`${user.home}/.cache/bundler`).filter((name) => name.startsWith('extract-'))).toEqual([]);
    }
  });

  e2e('when the tracer is killed, what it traced dies and nothing is left', async () => {
    const user = freshUser();
    const running = start([makeBundle('busybox'), 'sh', '-c', 'sleep 1000 & echo ready; wait'], { user, env });
    await running.see(/ready\n/);
    process.kill(findTracer(user).pid, 'SIGKILL');
    expect(await running.end()).toMatchObject({ signal: 'SIGKILL' });
    await untilAllEnded(user);
    expect(readdirSync(`${user.home}/.cache/bundler`).filter((name) => name.startsWith('extract-'))).toEqual([]);
  });

  e2e(
    'when the janitor is killed, no other start sweeps what is in use; the first one after the end does',
    async () => {
      const user = freshUser();
      const file = makeBundle('busybox');
      const nests = () => readdirSync(`${user.home}/.cache/bundler`).filter((name) => name.startsWith('extract-'));
      const running = start([file, 'sh', '-c', 'echo ready; read x; ls /bin/sh'], { user, env });
      await running.see(/ready\n/);
      const janitor = listProcesses(user).find(({ command }) => command.startsWith('bundler-janitor'));
      process.kill(janitor?.pid ?? Number.NaN, 'SIGKILL');
      await run([file, 'true'], { user });
      await until(
        () => listProcesses(user).every(({ command }) => !/^bundler-(sweep|janitor|fs)/.test(command)),
        () => 'the sweep goes on',
      );
      expect(nests()).toHaveLength(1);
      expect(await running.end('go\n')).toMatchObject({ status: 0, stdout: 'ready\n/bin/sh\n' });
      await untilAllEnded(user);
      await run([file, 'true'], { user });
      await untilAllEnded(user);
      expect(nests()).toEqual([]);
    },
  );

  e2e('is stopped by Ctrl-Z and goes on with fg in a job-control shell', async () => {
    const running = startOnTerminal(['bash', '--norc', '--noprofile', '-i'], {
      env: { PS1: 'prompt> ', TERM: 'dumb', ...env },
    });
    let at = await running.see(/prompt> /);
    running.type(`${makeBundle('busybox')} sh -c 'echo rea""dy; read line; echo "line is $line"; exit 5'\n`);
    at = await running.see(/ready\r\n/, at);
    running.type('\x1a');
    at = await running.see(/Stopped/, at);
    running.type('fg\n');
    at = await running.see(/read line/, at);
    running.type('hello\n');
    at = await running.see(/line is hello\r\n/, at);
    running.type('echo status-$?\n');
    await running.see(/status-5\r\n/, at);
    running.type('exit\n');
    await running.end();
  });

  e2e('--root shows root and lets chown succeed', async () => {
    const script = 'id -u; touch /f; chown 33:33 /f && echo changed';
    const ran = await run([makeBundle('busybox'), '--root', 'sh', '-c', script], { env });
    expect(ran, ran.stderr).toMatchObject({ status: 0, stdout: '0\nchanged\n', stderr: '' });
  });

  e2e(
    '--mount shows files and directories of the host; ro is told not to hold, and a colon in a name to be impossible',
    async () => {
      const user = ordinaryUser();
      const dir = makeDir(user, 'data');
      writeFileSync(`${dir}/x`, 'from the host\n');
      const file = makeBundle('busybox');
      const mounts = ['--mount', `${dir}:/data/deep`, '--mount', `${dir}/x:/etc/one`];
      const ran = await run([file, ...mounts, 'sh', '-c', 'cat /data/deep/x /etc/one; echo new > /data/deep/y'], {
        env,
      });
      expect(ran, ran.stderr).toMatchObject({ status: 0, stdout: 'from the host\nfrom the host\n', stderr: '' });
      expect(readFileSync(`${dir}/y`, 'utf8')).toBe('new\n');
      const readOnly = await run([file, '--mount', `${dir}:/data:ro`, 'true'], { env });
      expect(readOnly).toMatchObject({ status: 0, stderr: expect.stringContaining('degraded: /data can be written') });
      mkdirSync(`${dir}/a:b`);
      const colon = await run([file, '--mount', `${dir}/a\\072b:/data`, 'true'], { env });
      expect(colon).toMatchObject({
        status: 125,
        stderr: expect.stringMatching(/a:b on \/data: .*colon.*\n {2}try: /),
      });
    },
  );

  e2e('namespaces that are asked for, an overlay and --subuid are refused by name', async () => {
    const file = makeBundle('busybox');
    for (const [option, named] of [
      ['--net', '--net'],
      ['--overlay=/nowhere', '--overlay'],
    ] as const) {
      const ran = await run([file, option, 'true'], { env });
      expect(ran).toMatchObject({ status: 125, stdout: '' });
      expect(ran.stderr).toMatch(/^bundler: BUNDLER_SANDBOX=proot cannot be used: /);
      expect(ran.stderr).toContain(named);
    }
  });

  e2e('--conf and its hooks work, and what they were given beside the root is gone when the command runs', async () => {
    const user = freshUser();
    const script = `${user.home}/conf.sh`;
    writeFileSync(
      script,
      [
        'environ() { echo CONF=yes; }',
        'hooks() { echo hook > "$ENROOT_ROOTFS/etc/hook"; echo HOOK=too >> "$ENROOT_ENVIRON"',
        'echo made > "$ENROOT_RUNTIME_PATH/made"; echo "$ENROOT_RUNTIME_PATH/made /made none x-create=file,bind" >> "$ENROOT_MOUNTS"; }',
        `mounts() { echo "${user.home} /deep/home none x-create=dir,bind"; }`,
        'rc() { echo "$CONF $HOOK $*"; cat /etc/hook; ls /deep/home; cat /made; cd "$ROOT"/extract-*/run && ls -p | grep -v /; }',
        '',
      ].join('\n'),
    );
    const ran = await run([makeBundle('busybox'), '--conf', script, '--env', 'ROOT=/deep/home/.cache/bundler', 'a'], {
      user,
      env,
    });
    expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout).toMatch(/^yes too a\nhook\nconf\.sh\nmade\nmade\n$/);
    await untilAllEnded(user);
    expect(readdirSync(`${user.home}/.cache/bundler`).filter((name) => name.startsWith('extract-'))).toEqual([]);
    const kept = await run([makeBundle('busybox'), '--keep', '--target', `${user.home}/kept`, '--conf', script], {
      user,
      env,
    });
    expect(kept).toMatchObject({ status: 125, stderr: expect.stringContaining('--conf need mounts with --keep') });
  });

  e2e('--workdir holds in the container’s view, and one that is not there is refused', async () => {
    const file = makeBundle('busybox');
    const ran = await run([file, '--workdir', '/proc/sys', 'pwd'], { env });
    expect(ran).toMatchObject({ status: 0, stdout: '/proc/sys\n', stderr: '' });
    const bad = await run([file, '--workdir', '/no/such', 'pwd'], { env });
    expect(bad).toMatchObject({
      status: 125,
      stderr: 'bundler: enter the working directory /no/such: No such file or directory\n',
    });
    const made = await run([file, '--rw', '--workdir', '/no/such', 'pwd'], { env });
    expect(made).toMatchObject({ status: 0, stdout: '/no/such\n' });
  });

  e2e('--keep --target unpacks once', async () => {
    const user = ordinaryUser();
    const target = `${makeDir(user, 'kept')}/root`;
    const file = makeBundle('busybox');
    const once = await run(
      [file, '--keep', '--target', target, 'sh', '-c', 'echo mine > /mine; ls -A / | grep bundler-'],
      { env },
    );
    expect(once).toMatchObject({ stdout: '', stderr: '' });
    const again = await run([file, '--keep', '--target', target, 'cat', '/mine'], { env });
    expect(again).toMatchObject({ status: 0, stdout: 'mine\n', stderr: '' });
    expect(readdirSync(target).filter((name) => name.startsWith('.bundler-'))).toEqual([]);
    await until(
      () => listProcesses(user).every(({ command }) => !command.includes('kept')),
      () => 'still there',
    );
  });
});

describe('a Debian with Python and numpy through proot', () => {
  withExample(
    'ls -la, find /, 200 processes in a pipeline, numpy, and the benchmark',
    async () => {
      const user = ordinaryUser();
      const file = makeBundle(exampleImage);
      const kept = ['--quiet', '--target', `${makeDir(user, 'np')}/root`, '--keep'];
      const script = [
        'ls -la / | grep -c " usr$"',
        'find / -xdev 2> /dev/null | wc -l',
        'p="echo through"; i=0; while [ $i -lt 200 ]; do p="$p | cat"; i=$((i + 1)); done; eval "$p"',
        "python3 -c 'import numpy; print(numpy.arange(5).sum())'",
        "python3 -c 'import multiprocessing as m; print(m.Pool(3).map(abs, [-1, -2]))'",
      ].join('; ');
      const ran = await run([file, ...kept, 'sh', '-c', script], { user, env });
      expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: '' });
      expect(ran.stdout).toMatch(/^1\n\d{4,}\nthrough\n10\n\[1, 2\]\n$/);
      const bench = await run([file, ...kept, '--env', 'OMP_NUM_THREADS=2'], { user, env });
      expect(bench, bench.stderr).toMatchObject({ status: 0, stderr: '' });
      expect(bench.stdout).toMatch(/^threads 2\n[\s\S]*check .* ok\n$/);
    },
    120_000,
  );
});
