// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { makeDebianImage } from '../support/debian.ts';
import { e2e, testNeeding } from '../support/features.ts';
import { run, runBare, start, startOnTerminal } from '../support/run.ts';
import { freshUser, makeDir, ordinaryUser, type User } from '../support/session.ts';
import { listFiles, listMounts, listProcesses, until, untilAllEnded } from '../support/snapshot.ts';

const trap = 'trap "echo got it; exit 33" TERM INT HUP; echo ready; while :; do sleep 0.05; done';
const kinds = ['--pid', '--init'] as const;

/** A shell as process 1 handles some signals for itself: it is not waited for but what it becomes. */
const untilAsleep = (user: User): Promise<void> =>
  until(
    () => listProcesses(user).some(({ command }) => command.startsWith('sleep')),
    () => JSON.stringify(listProcesses(user)),
  );

/** Everything in /proc that would show a value: argument lists and environments of the user's processes. */
function shownBy(user: User, name: 'cmdline' | 'environ', but: (pid: number) => boolean): string {
  return listProcesses(user)
    .filter(({ pid }) => !but(pid))
    .map(({ pid }) => readFileSync(`/proc/${pid}/${name}`, 'latin1'))
    .join('\n');
}

for (const kind of kinds) {
  describe(`a bundle with ${kind}`, () => {
    e2e('ends with the command’s exit status', async () => {
      const ran = await runBare([makeBundle('busybox'), kind, 'sh', '-c', 'exit 7']);
      expect(ran).toMatchObject({ status: 7, signal: null, stdout: '', stderr: '' });
    });

    e2e('ends with 127 and 126 as without it', async () => {
      const missing = await runBare([makeBundle('no-shell'), kind, 'no-such-command']);
      expect(missing.status).toBe(127);
      expect(missing.stderr).toMatch(/^bundler: .*no-such-command.*not found/m);
      expect((await runBare([makeBundle('busybox'), kind, '--entrypoint', '/etc'])).status).toBe(126);
    });

    e2e('ends by the signal that it is sent, and passes on what the command handles', async () => {
      const user = freshUser();
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        const handling = start([makeBundle('busybox'), kind, 'sh', '-c', trap], { user });
        await handling.see(/ready\n/);
        handling.child.kill(signal);
        expect(await handling.end()).toMatchObject({ status: 33, stdout: 'ready\ngot it\n' });
        const plain = start([makeBundle('busybox'), kind, 'sleep', '1000'], { user });
        await untilAsleep(user);
        plain.child.kill(signal);
        expect(await plain.end()).toMatchObject({ signal });
        await untilAllEnded(user);
      }
    });

    e2e('is interrupted by Ctrl-C', async () => {
      const user = freshUser();
      const running = startOnTerminal([makeBundle('busybox'), kind, 'sleep', '1000'], { user });
      await untilAsleep(user);
      running.type('\x03');
      expect((await running.end()).status).toBe(130);
      await untilAllEnded(user);
    });

    const [how, env] =
      kind === '--pid' ? (['unpacked', { BUNDLER_DRIVER: 'extract' }] as const) : (['served in place', {}] as const);
    e2e(`leaves nothing after kill -9 or SIGTERM of the visible process at any moment (${how})`, async () => {
      const user = freshUser();
      const file = makeBundle('busybox');
      const mounts = listMounts(user.home);
      await run([file, kind, 'true'], { user, env }); // unpacks the runtime
      const begin = performance.now();
      await run([file, kind, 'true'], { user, env });
      const spanMs = 1.5 * (performance.now() - begin);
      await untilAllEnded(user);
      const files = listFiles(user).length;
      const command = [file, kind, '--net', '--ipc', 'sh', '-c', 'setsid sleep 1000 & sleep 1000'];
      for (let delayMs = 0, count = 0; delayMs <= spanMs; delayMs += spanMs / 12, count++) {
        const signal = count % 2 === 0 ? 'SIGKILL' : 'SIGTERM';
        const running = start(command, { user, env });
        await new Promise((resolve) => setTimeout(resolve, delayMs)); // the moment is the point
        running.child.kill(signal);
        expect((await running.end()).signal).toBe(signal);
      }
      await untilAllEnded(user);
      expect(listMounts(user.home)).toEqual(mounts);
      expect(listFiles(user).length).toBe(files);
    });

    e2e('shows no secret in /proc, neither in the visible process nor in any of ours', async () => {
      const user = freshUser();
      const envFile = path.join(makeDir(user), 'env');
      writeFileSync(envFile, 'FROM_FILE=marlin\n');
      const args = ['--env', 'GIVEN=swordfish', '--env', 'TAKEN', '--env-file', envFile];
      const script = 'echo "$GIVEN $TAKEN $FROM_FILE"; echo ready; read line';
      const running = start([makeBundle('busybox'), kind, ...args, 'sh', '-c', script], {
        user,
        env: { TAKEN: 'herring' },
      });
      await running.see(/swordfish herring marlin\nready\n/);
      const commands = listProcesses(user).filter(({ command }) => /^sh /.test(command));
      expect(commands).toHaveLength(1);
      const isCommand = (pid: number): boolean => pid === commands[0]?.pid;
      expect(shownBy(user, 'cmdline', () => false)).not.toMatch(/swordfish|herring|marlin/);
      expect(shownBy(user, 'environ', isCommand)).not.toMatch(/swordfish|herring|marlin/);
      expect((await running.end('\n')).status).toBe(0);
      await untilAllEnded(user);
    });

    e2e('works with a writable root, as root, and with all other namespaces', async () => {
      const script = 'echo x > /etc/x; chown 5:6 /etc/x; cat /etc/x; id -u; ip addr | grep -c ": "';
      const args = [kind, '--net', '--ipc', '--uts', '--root', '--rw', 'sh', '-c', script];
      expect(await runBare([makeBundle('busybox'), ...args])).toMatchObject({
        status: 0,
        stdout: 'x\n0\n1\n',
        stderr: '',
      });
    });
  });
}

describe('inside a container that covers parts of /proc and /sys, as docker does', () => {
  // A user namespace locks the mounts that it is given, as those of a container's are to whoever starts another one in it.
  const cover = 'mount --bind /dev/null /proc/version; mount -t tmpfs none /sys/firmware; exec "$@"';
  const docker = ['unshare', '-Urm', 'sh', '-ec', cover, 'sh'];

  e2e('--pid and --net start all the same, and say that the old view stays', async () => {
    const script = 'echo $$; ls -d /proc/1 /sys/class; grep -c " /proc proc" /proc/self/mounts || true';
    const ran = await run([...docker, makeBundle('busybox'), '--pid', '--net', 'sh', '-c', script]);
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stdout).toMatch(/^1\n\/proc\/1\n\/sys\/class\n/);
    expect(ran.stderr).toBe(
      "bundler: this host covers /proc/version, so /proc keeps showing the host's view\n" +
        "bundler: this host covers /sys/firmware, so /sys keeps showing the host's view\n",
    );
  });
});

describe('--subuid', () => {
  /** Gives the test's user a name and ranges, in a mount namespace of the test's own. */
  function grant(ranges: Readonly<Record<'subuid' | 'subgid', string>>): string[] {
    const user = ordinaryUser();
    const dir = makeDir(user, 'grant');
    const files = {
      passwd: `root:x:0:0::/root:/bin/sh\nann:x:${user.uid}:${user.uid}::${user.home}:/bin/sh\n`,
      group: `root:x:0:\nann:x:${user.uid}:\n`,
      ...ranges,
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(dir, name), text);
    const binds = Object.keys(files).map((name) => `touch /etc/${name}; mount --bind ${dir}/${name} /etc/${name}`);
    const drop = `exec setpriv --reuid=${user.uid} --regid=${user.uid} --clear-groups -- "$@"`;
    return ['unshare', '-m', '--propagation', 'private', 'sh', '-ec', [...binds, drop].join('; '), 'sh'];
  }
  const root: User = { uid: 0, home: '/root' };
  const ranges = { subuid: 'ann:700000:65536\n', subgid: 'ann:800000:65536\n' };
  const asAnn = (before: readonly string[], ...args: string[]) =>
    run([...before, makeBundle('busybox'), ...args], { user: root, env: { HOME: ordinaryUser().home } });

  e2e('maps the ranges around the caller, who stays himself', async () => {
    const script =
      'tr -s " " < /proc/self/uid_map; tr -s " " < /proc/self/gid_map; id -u; grep -c "^Cap.*:.0*$" /proc/self/status';
    const ran = await asAnn(grant(ranges), '--subuid', 'sh', '-c', script);
    expect(ran.stderr).toBe('');
    expect(ran.stdout).toBe(
      ' 4242 4242 1\n 0 700000 4242\n 4243 704242 61294\n 4242 4242 1\n 0 800000 4242\n 4243 804242 61294\n4242\n5\n',
    );
  });

  e2e('with --root gives root real owners to give files to, and other users to become', async () => {
    const script = `id -u; touch /etc/f; chown 33:44 /etc/f; stat -c "%u %g" /etc/f; chown 70000 /etc/f; su -s /bin/sh bin -c id`;
    const ran = await asAnn(grant(ranges), '--subuid', '--root', '--rw', 'sh', '-c', script);
    expect(ran.stdout).toBe('0\n33 44\nuid=2(bin) gid=2(bin) groups=2(bin)\n');
    expect(ran.stderr).toContain('Invalid argument');
  });

  testNeeding(
    'root',
    'bundler',
    'userns',
    'fuse',
    'mksquashfs',
    'dpkg',
  )('shows the owners that the image has, and the caller’s own things as his', async () => {
    const bundle = makeBundle(makeDebianImage() as `/${string}`);
    const options = { user: root, env: { HOME: ordinaryUser().home } };
    const script = 'stat -c "%u %g" /etc/shadow /etc/os-release; cat /etc/shadow; touch ~/x && stat -c %u ~/x';
    const plain = await run([...grant(ranges), bundle, '--subuid', 'sh', '-c', script], options);
    expect(plain.stdout).toBe('0 42\n0 0\n4242\n');
    expect(plain.stderr).toContain('/etc/shadow: Permission denied');
    const asRoot = await run([...grant(ranges), bundle, '--subuid', '--root', 'cat', '/etc/shadow'], options);
    expect(asRoot).toMatchObject({ status: 0, stdout: expect.stringMatching(/^root:\*:/) });
  });

  e2e('leaves nobody behind when what became another user outlives the visible process', async () => {
    const before = grant(ranges);
    const script = 'exec su -s /bin/sh bin -c "echo ready; exec sleep 1000"';
    const options = { user: root, env: { HOME: ordinaryUser().home } };
    const running = start(
      [...before, makeBundle('busybox'), '--subuid', '--root', '--pid', 'sh', '-c', script],
      options,
    );
    await running.see(/ready\n/);
    const stranger: User = { uid: 700001, home: '/' };
    expect(listProcesses(stranger)).toHaveLength(1);
    running.child.kill('SIGKILL');
    expect((await running.end()).signal).toBe('SIGKILL');
    await untilAllEnded(stranger);
  });

  e2e('says what is missing: the range, the program, its right to map', async () => {
    const none = await asAnn(grant({ ...ranges, subuid: 'bob:1:1\n' }), '--subuid', 'true');
    expect(none.status).toBe(125);
    expect(none.stderr).toMatch(
      /^bundler: --subuid: \/etc\/subuid gives no range of ids to ann\n {2}try: sudo usermod/,
    );
    const refused = await asAnn(['setpriv', '--no-new-privs', ...grant(ranges)], '--subuid', 'true');
    expect(refused.status).toBe(125);
    expect(refused.stderr).toMatch(/^bundler: map the ranges of \/etc\/subuid: newuidmap: .*\n {2}try: .*setuid root/);
    const overlap = await asAnn(grant({ ...ranges, subgid: 'ann:1:9\nann:5:9\n' }), '--subuid', 'true');
    expect(overlap.stderr).toContain('the ranges of /etc/subgid overlap at 5');
  });
});
