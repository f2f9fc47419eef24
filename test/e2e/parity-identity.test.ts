// SPDX-License-Identifier: Apache-2.0
import { readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { parity, startParity } from '../support/parity.ts';
import { run } from '../support/run.ts';

/** The host's namespaces, for a command to compare with its own. */
const outside = () => ({
  env: Object.fromEntries(
    ['ipc', 'net', 'uts', 'pid'].map((name) => [`HOST_${name}`, readlinkSync(`/proc/self/ns/${name}`)]),
  ),
  args: ['--keep-env'],
});
const isOwn = (name: string) => `is [ "$(readlink /proc/self/ns/${name})" != "$HOST_${name}" ]`;
const map = (file: string) => `tr -s " " < /proc/self/${file}`;

parity('enroot start, without --root', {}, [
  ['the current user is mapped to himself, alone', map('uid_map'), ' 4242 4242 1'],
  ['and so is his group', map('gid_map'), ' 4242 4242 1'],
  ['nobody can change groups', 'cat /proc/self/setgroups', 'deny'],
  ['all files are his', 'stat -c "%u %g" /etc/os-release /bin/busybox', '4242 4242\n4242 4242'],
  ['no capability is left', 'grep -c "^Cap.*:.0000000000000000" /proc/self/status', '5'],
  ['and no new privileges can be gained', 'grep NoNewPrivs /proc/self/status', 'NoNewPrivs:\t1'],
]);

parity('enroot start --root: ask to be remapped to root', { args: ['--root', '--rw'] }, [
  ['the current user is root inside', 'id -u; id -g', '0\n0'],
  ['he alone is mapped', map('uid_map'), ' 0 4242 1'],
  ['and his group', map('gid_map'), ' 0 4242 1'],
  ['he is called root, at home in /root', 'whoami; echo "$USER $HOME"; cd; pwd', 'root\nroot /root\n/root'],
  ['LOGNAME tells who asked', 'is [ "$LOGNAME" != root ]', 'yes'],
  ['the user who asked is still in /etc/passwd', 'grep -c :4242:4242: /etc/passwd', '1'],
  ['all files are root’s', 'stat -c "%u %g" /etc/os-release /bin/busybox', '0 0\n0 0'],
  ['capabilities over his own namespaces stay', 'is grep -q "^CapEff:.0000000000000000" /proc/self/status', 'no'],
  ['no new privileges can be gained', 'grep NoNewPrivs /proc/self/status', 'NoNewPrivs:\t1'],
  ['chown succeeds', 'touch /owned && chown 33:44 /owned && stat -c "%u %g" /owned', '0 0'],
  ['chgrp of a link succeeds', 'ln -s x /link && chgrp -h 44 /link && echo done', 'done'],
  ['file systems can be mounted', 'mkdir /m && mount -t tmpfs none /m && type_of /m', 'tmpfs'],
  ['the image’s files can be changed with --rw', 'echo x >> /etc/os-release && tail -n 1 /etc/os-release', 'x'],
]);

parity('ENROOT_REMAP_ROOT: same as --root', { env: { ENROOT_REMAP_ROOT: 'y' } }, [
  ['the current user is root inside', 'id -u; whoami', '0\nroot'],
  ['he alone is mapped', map('uid_map'), ' 0 4242 1'],
]);

parity('--user, which enroot does not have: docker’s, within the one mapped id', { args: ['--user', 'bin:root'] }, [
  ['the ids are those of the image’s account', 'id -u; id -g', '2\n0'],
  ['to the host it is still the caller', map('uid_map'), ' 2 4242 1'],
  ['the account is the image’s', 'whoami; echo "$USER $HOME"', 'bin\nbin /bin'],
  ['all files are his', 'stat -c %u /etc/os-release', '2'],
  ['no capability is left', 'grep -c "^Cap.*:.0000000000000000" /proc/self/status', '5'],
]);

parity('--user with numbers that the image does not know', { args: ['--user', '1000:100'] }, [
  ['are taken as they are', 'id -u; id -g', '1000\n100'],
  ['the caller keeps his name and home', 'is [ "$(whoami)" = "$USER" ]; is [ -d "$HOME" ]', 'yes\nyes'],
]);

parity('enroot start --pid: in a new PID namespace', { args: ['--pid'], prepare: outside }, [
  ['it is another one', isOwn('pid'), 'yes'],
  ['no init is injected: the command becomes PID 1', 'echo $$; readlink /proc/1/exe', '1\n/bin/busybox'],
  ['/proc shows it', 'is [ "$(ls -d /proc/[0-9]* | wc -l)" -lt 6 ]', 'yes'],
  ['/proc is rw,nosuid,nodev,noexec', 'type_of /proc; has $(flags_of /proc) "rw nosuid nodev noexec"', 'proc'],
  ['the other namespaces are the host’s', `${isOwn('net')}; ${isOwn('ipc')}; ${isOwn('uts')}`, 'no\nno\nno'],
]);

parity('--init: with a small init of ours', { args: ['--init'], prepare: outside }, [
  ['the namespace is another one', isOwn('pid'), 'yes'],
  ['process 1 is the init', 'cat /proc/1/comm', 'bundler-init'],
  ['the command is its child', 'echo $$ $PPID', '2 1'],
  ['orphans are reaped', '(sleep 0.01 &); while ps -o comm | grep -q ^sleep; do :; done; echo reaped', 'reaped'],
]);

parity('enroot start --net: in a new network namespace (loopback only)', { args: ['--net'], prepare: outside }, [
  ['it is another one', isOwn('net'), 'yes'],
  ['only the loopback interface is there', 'ls /sys/class/net', 'lo'],
  ['it is up', 'ip addr show lo | grep -o -e UP -e 127.0.0.1 | sort -u | xargs echo', '127.0.0.1 UP'],
  ['/sys is ro,nosuid,nodev,noexec', 'type_of /sys; has $(flags_of /sys) "ro nosuid nodev noexec"', 'sysfs'],
  ['/sys/fs/cgroup is still there', 'is [ -n "$(ls /sys/fs/cgroup)" ]', 'yes'],
]);

parity('enroot start --ipc: in a new IPC namespace and with a restricted /dev', { args: ['--ipc'], prepare: outside }, [
  ['it is another one', isOwn('ipc'), 'yes'],
  [
    '/dev is a minimal set of devices',
    'ls /dev | grep -v -e hugepages -e log -e console | xargs echo',
    'fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero',
  ],
  [
    '/dev/shm is its own',
    'type_of /dev/shm; ls -A /dev/shm; has $(flags_of /dev/shm) "rw nosuid nodev noexec"',
    'tmpfs',
  ],
  ['/dev/mqueue is its own', 'type_of /dev/mqueue', 'mqueue'],
  ['devices work', 'echo x > /dev/null; head -c 3 /dev/zero | wc -c; test -w /dev/full; echo $?', '3\n0'],
]);

parity('enroot start --uts: in a new UTS namespace', { args: ['--uts', '--root'], prepare: outside }, [
  ['it is another one', isOwn('uts'), 'yes'],
  ['the host name is inherited at startup', 'hostname', hostname()],
  ['and may be changed', 'hostname inside; hostname', 'inside'],
]);

const all = { ENROOT_UNSHARE_PID: 'y', ENROOT_UNSHARE_NET: 'yes', ENROOT_UNSHARE_IPC: '1', ENROOT_UNSHARE_UTS: 'true' };
parity(
  'ENROOT_UNSHARE_*: same as the options',
  { prepare: () => ({ ...outside(), env: { ...outside().env, ...all } }) },
  [
    ['all namespaces are others', ['pid', 'net', 'ipc', 'uts'].map(isOwn).join(';'), 'yes\nyes\nyes\nyes'],
    ['the command is PID 1', 'echo $$', '1'],
  ],
);

describe('the host', () => {
  e2e('keeps its name when a container with --uts changes its own', async () => {
    const before = hostname();
    await startParity({ args: ['--uts', '--root'] }, 'hostname changed');
    expect(hostname()).toBe(before);
  });
});

describe('--user', () => {
  for (const [user, message] of [
    ['bob', 'the image has no user bob'],
    ['bin:bobs', 'the image has no group bobs'],
  ] as const) {
    e2e(`${user} ends with 125: ${message}`, async () => {
      const ran = await run([makeBundle('parity'), '--user', user, 'true']);
      expect(ran.status).toBe(125);
      expect(ran.stderr).toBe(`bundler: --user ${user}: ${message}\n  try: give numbers: --user UID:GID\n`);
    });
  }
});
