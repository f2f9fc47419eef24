// SPDX-License-Identifier: Apache-2.0
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e, exampleImage, withExample } from '../support/features.ts';
import { runBare } from '../support/run.ts';
import { docker, rootUser, rungHosts, startOn, startOnTerminalOf } from '../support/rungs.ts';
import { freshUser } from '../support/session.ts';
import { untilAllEnded } from '../support/snapshot.ts';

interface Verdict {
  ok: boolean;
  uses: { sandbox: string; degraded: string } | null;
  checks: { id: string; ok: boolean; note: string; cure: string }[];
}

describe('a host that denies user namespaces', () => {
  for (const [title, flags, cause] of [
    ['by sysctl', ['--no-userns'], /user\.max_user_namespaces is 0/],
    [
      'by a container engine’s filter',
      ['--deny', 'userns'],
      /a seccomp filter, such as docker's default one, forbids user namespaces/,
    ],
    ['by refusing mounts in them, with EPERM', ['--deny', 'mount'], /a seccomp filter.* forbids mounting/],
    ['by refusing mounts in them, with EACCES as AppArmor does', ['--deny', 'apparmor'], /mount.*EACCES/],
    ['by a limit on mount namespaces', ['--no-mount-namespaces'], /user\.max_mnt_namespaces is 0/],
    ['in a plain chroot', ['--chroot'], /runs in a chroot/],
  ] as const) {
    e2e(`${title} runs the bundle all the same, and --verify names the way`, async () => {
      const user = freshUser();
      const file = makeBundle('busybox');
      const running = startOn(
        { rung: 'proot', title, flags, env: {} },
        [file, 'sh', '-c', 'echo $$ $PPID; id -u; cat /etc/os-release | wc -c; ls -d /etc /proc/self/status; exit 7'],
        { user },
      );
      const ran = await running.end();
      expect(ran, ran.stderr).toMatchObject({ status: 7, stderr: '' });
      expect(ran.stdout).toMatch(
        new RegExp(`^${running.pid} ${process.pid}\n${user.uid}\n\\d+\n/etc\n/proc/self/status\n$`),
      );
      const verified = await runBare([file, '--verify', '--json'], { user, flags });
      expect(verified.status, verified.stderr).toBe(0);
      const verdict = JSON.parse(verified.stdout) as Verdict;
      expect(verdict).toMatchObject({
        ok: true,
        uses: { sandbox: 'proot', degraded: expect.stringContaining('through proot') },
      });
      const check = verdict.checks.find(({ id, ok }) => !ok && (id === 'userns' || id === 'mount'));
      expect(check?.note).toMatch(cause);
      expect(check?.cure).not.toBe('');
      await untilAllEnded(user);
    });
  }

  e2e('and tracing too is refused, with every rung and its cause', async () => {
    const ran = await runBare([makeBundle('busybox'), 'true'], { flags: ['--deny', 'userns', '--deny', 'ptrace'] });
    expect(ran).toMatchObject({ status: 125, stdout: '' });
    expect(ran.stderr).toMatch(
      /^bundler: cannot start a container on this host: .*user namespaces.*proot: .*traced.*\n {2}try: /,
    );
  });
});

describe('root as in docker by default', () => {
  e2e('runs in a chroot, with the devices that can be had, and is told what it lacks', async () => {
    const user = rootUser();
    const script =
      'id -u; test -e /proc/self || echo no proc; echo x > /dev/null; head -c 4 /dev/zero | wc -c; ls -l /dev/null; cat /etc/passwd | head -1';
    const ran = await runBare([makeBundle('busybox'), 'sh', '-c', script], { user, flags: docker });
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stdout).toMatch(/^0\nno proc\n4\ncrw-rw-rw- .* 1, +3 .*\/dev\/null\nroot:x:0:0:/);
    expect(ran.stderr).toMatch(/^bundler: degraded: without \/proc, .* BUNDLER_SANDBOX=proot\n$/);
  });

  e2e('runs through proot where the host’s files are to be mounted', async () => {
    const user = rootUser();
    const script = 'ls -d /proc/self; cat /data/x; ls -la /dev/null | wc -l';
    const ran = await runBare([makeBundle('busybox'), '--mount', '/data:/data', 'sh', '-c', script], {
      user,
      flags: [...docker, '--dir', '/data', '--file', `${import.meta.filename}=/data/x`],
    });
    expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout).toMatch(/^\/proc\/self\n\/\/ SPDX/);
  });

  e2e('is judged by --verify', async () => {
    const ran = await runBare([makeBundle('busybox'), '--verify', '--json'], { user: rootUser(), flags: docker });
    expect(JSON.parse(ran.stdout) as Verdict).toMatchObject({ ok: true, uses: { sandbox: 'chroot' } });
  });
});

describe('real root with ENROOT_ALLOW_SUPERUSER', () => {
  e2e('has a mount namespace and no other user namespace, and sees the image’s real owners', async () => {
    const script =
      'cat /proc/self/uid_map; awk \'$5 == "/" { print $(NF - 2) }\' /proc/self/mountinfo; touch /new 2>&1';
    const ran = await runBare([makeBundle('busybox'), 'sh', '-c', script], {
      user: rootUser(),
      flags: ['--uid', '0'],
      env: { ENROOT_ALLOW_SUPERUSER: 'yes' },
    });
    expect(ran.stdout, ran.stderr).toMatch(/^ +0 +0 4294967295\nfuse\.bundler\n.*Read-only file system\n$/);
  });
});

for (const host of rungHosts) {
  describe(`on the rung ${host.rung} (${host.title})`, () => {
    e2e('the exit status is the command’s, or 128 and the signal’s number', async () => {
      const file = makeBundle('busybox');
      for (const status of [0, 7, 125, 126, 127]) {
        const ran = await startOn(host, [file, 'sh', '-c', `exit ${status}`]).end();
        expect(ran).toMatchObject({ status, signal: null, stdout: '', stderr: '' });
      }
      for (const [name, number] of [
        ['TERM', 15],
        ['KILL', 9],
        ['SEGV', 11],
      ] as const) {
        const ran = await startOn(host, [file, 'sh', '-c', `ulimit -c 0; kill -${name} $$`]).end();
        expect(ran).toMatchObject({ status: 128 + number, signal: `SIG${name}` });
      }
    });

    e2e('126 and 127 come with a message that names the command', async () => {
      const missing = await startOn(host, [makeBundle('no-shell'), 'no-such-command']).end();
      expect(missing.status).toBe(127);
      expect(missing.stderr).toMatch(/^bundler: .*no-such-command.*not found/m);
      for (const command of ['/not-executable', '/etc']) {
        const ran = await startOn(host, [makeBundle('busybox'), '--entrypoint', command]).end();
        expect(ran.status, ran.stderr).toBe(126);
        expect(ran.stderr).toContain(command);
      }
    });

    e2e('signals reach the command, which may handle them; those it does not handle end it', async () => {
      const trap = 'trap "echo got it; exit 33" TERM INT HUP; echo ready; while :; do sleep 0.05; done';
      for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
        const handled = startOn(host, [makeBundle('busybox'), 'sh', '-c', trap]);
        await handled.see(/ready\n/);
        handled.child.kill(signal);
        expect(await handled.end()).toMatchObject({ status: 33, signal: null, stdout: 'ready\ngot it\n' });
        const plain = startOn(host, [makeBundle('busybox'), 'sh', '-c', 'echo ready; exec sleep 1000']);
        await plain.see(/ready\n/);
        plain.child.kill(signal);
        expect(await plain.end()).toMatchObject({ signal });
      }
    });

    e2e('Ctrl-C on a terminal interrupts the command', async () => {
      const script = 'trap "echo interrupted; exit 5" INT; echo ready; while :; do sleep 0.05; done';
      const running = startOnTerminalOf(host, makeBundle('busybox'), ['sh', '-c', script]);
      await running.see(/ready\r\n/);
      running.type('\x03');
      await running.see(/interrupted\r\n/);
      expect((await running.end()).status).toBe(5);
    });

    withExample(
      'the benchmark of the example runs',
      async () => {
        const ran = await startOn(host, [makeBundle(exampleImage), '--env', 'OMP_NUM_THREADS=2'], {
          timeoutMs: 60_000,
        }).end();
        expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: '' });
        expect(ran.stdout).toMatch(/^threads 2\n[\s\S]*check .* ok\n$/);
      },
      90_000,
    );

    e2e('descriptors, limits, umask and the pid are those of the process that was started', async () => {
      const script = 'echo $$; umask; ulimit -n; cat <&0';
      const running = startOn(host, [makeBundle('busybox'), 'sh', '-c', script]);
      const ran = await running.end('typed\n');
      const lines = ran.stdout.split('\n');
      expect(lines[0]).toBe(String(running.pid));
      expect(lines.slice(3)).toEqual(['typed', '']);
      expect(ran).toMatchObject({ status: 0, stderr: '' });
    });
  });
}
