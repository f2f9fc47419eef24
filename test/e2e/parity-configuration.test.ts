// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: enroot and shells, not JavaScript, expand these
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { makeConfiguration, makeConfigured } from '../support/configuration.ts';
import { e2e } from '../support/features.ts';
import { type Promised, parity } from '../support/parity.ts';
import { run, runBare } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

const append = (line: string) => `#!/bin/sh\necho "${line}" >> "$ENROOT_ENVIRON"\n`;

const system = {
  'environ.d/10-terminal.env': 'TERM=${TERM}\n',
  'environ.d/50-site.env': '# of the site\nSITE=${PARITY_USER}\nLEVEL=system\n  QUOTED="q"\n',
  'environ.d/ignored.txt': 'IGNORED=x\n',
  'mounts.d/50-site.fstab':
    '${PARITY_DIR} /mnt/site none x-create=dir,bind,ro\ntmpfs /mnt/early tmpfs x-create=dir 0 -1\n',
  'hooks.d/20-first.sh': append('ORDER=first ${ENROOT_SITE}'),
  'hooks.d/30-second.sh': append('ORDER=$(sed -n s/^ORDER=//p $ENROOT_ENVIRON | tail -n 1) second'),
  'hooks.d/40-not-executable.sh': { mode: 0o644, text: append('UNWANTED=not executable') },
  'hooks.d/50-not-sh': { mode: 0o755, text: append('UNWANTED=not .sh') },
  'hooks.d/60-beside.sh':
    '#!/bin/sh\n. "$ENROOT_SYSCONF_PATH/hooks.d/lib/values"\necho "BESIDE=$VALUE" >> "$ENROOT_ENVIRON"\n',
  'hooks.d/lib/values': 'VALUE="of a file beside"\n',
  'hooks.d/70-root.sh': '#!/bin/sh\necho "$(id -u) $PWD" > "$ENROOT_ROOTFS/hooked"\nmkdir "$ENROOT_ROOTFS/tmp/made"\n',
  'hooks.d/80-mount.sh': '#!/bin/sh\necho "tmpfs /mnt/hook tmpfs x-create=dir,ro" >> "$ENROOT_MOUNTS"\n',
  'enroot.conf': 'ENROOT_SITE "from enroot.conf"\nENROOT_ROOTFS_WRITABLE no\n',
};
const user = {
  'environ.d/50-mine.env': 'LEVEL=user\nMINE=yes\n',
  'hooks.d/10-mine.sh': append('ORDER=$(sed -n s/^ORDER=//p $ENROOT_ENVIRON | tail -n 1) mine'),
  'mounts.d/50-mine.fstab': 'tmpfs /mnt/mine tmpfs x-create=dir\n',
};

function makeData(): string {
  const dir = makeDir(ordinaryUser(), 'data');
  writeFileSync(path.join(dir, 'file'), 'of the site\n');
  return dir;
}

const promises: Promised[] = [
  ['environ.d/*.env: variables of the host are substituted', 'echo "$SITE"', 'ann'],
  ['environ.d: files of another ending are left out', 'env | grep -c IGNORED', '0'],
  ['environ.d: the same format as /etc/environment', 'echo "$QUOTED"', 'q'],
  ['environ.d/10-terminal.env: TERM', 'echo "$TERM"', 'dumb'],
  ['mounts.d/*.fstab is mounted', 'cat /mnt/site/file; has $(flags_of /mnt/site) ro', 'of the site'],
  ['mounts.d: fs_passno -1 is mounted before', 'type_of /mnt/early', 'tmpfs'],
  [
    'hooks.d/*.sh run in the order of their names, the system’s before the user’s',
    'echo "$ORDER"',
    'first from enroot.conf second mine',
  ],
  ['hooks.d: a file that is not executable or not *.sh is not run', 'env | grep -c UNWANTED', '0'],
  ['hooks find the files beside them', 'echo "$BESIDE"', 'of a file beside'],
  ['hooks run as the user before the switch of roots', 'cut -d" " -f1 /hooked; is [ -d /tmp/made ]', '4242\nyes'],
  ['hooks append to ENROOT_MOUNTS', 'type_of /mnt/hook; has $(flags_of /mnt/hook) ro', 'tmpfs'],
  ['make --all: the user’s environ.d after the system’s', 'echo "$LEVEL $MINE"', 'user yes'],
  ['make --all: the user’s mounts.d', 'type_of /mnt/mine', 'tmpfs'],
  ['what configures is not shown to the command', 'env | grep ENROOT', ''],
  ['the root is read-only again after the hooks', 'touch /x 2>&1 | grep -c Read-only', '1'],
];

parity(
  'enroot, configuration directories embedded by make --all',
  {
    bundle: () => makeConfigured(system, user),
    prepare: () => ({ env: { PARITY_USER: 'ann', PARITY_DIR: makeData() } }),
  },
  promises,
);

parity(
  'enroot, configuration directories of this host with --host-config',
  {
    image: 'busybox',
    args: ['--host-config'],
    prepare: () => ({
      env: {
        PARITY_USER: 'ann',
        PARITY_DIR: makeData(),
        ENROOT_SYSCONF_PATH: makeConfiguration(system),
        ENROOT_CONFIG_PATH: makeConfiguration(user),
      },
    }),
  },
  promises,
);

describe('configuration of a bundle', () => {
  e2e('brings the functions of enroot’s common.sh with it', async () => {
    const hook =
      '#!/usr/bin/env bash\nset -eu\nsource "${ENROOT_LIBRARY_PATH}/common.sh"\ncommon::checkcmd cat\necho "ARCH=$(common::debarch x86_64)" >> "$ENROOT_ENVIRON"\n';
    const ran = await run([makeConfigured({ 'hooks.d/10-lib.sh': hook }), 'sh', '-c', 'echo $ARCH']);
    expect(ran).toMatchObject({ status: 0, stdout: 'amd64\n', stderr: '' });
  });

  e2e('is the system’s without --all, and the host’s own is not looked at', async () => {
    const file = makeConfigured({ 'environ.d/a.env': 'A=embedded\n' });
    const host = makeConfiguration({ 'environ.d/a.env': 'A=host\n', 'environ.d/b.env': 'B=host\n' });
    const env = { ENROOT_SYSCONF_PATH: host };
    const command = ['sh', '-c', 'echo "$A $B"'];
    expect((await run([file, ...command], { env })).stdout).toBe('embedded \n');
    expect((await run([file, '--host-config', ...command], { env })).stdout).toBe('host host\n');
  });

  e2e('names a hook that fails and its status', async () => {
    const failing = makeConfigured({ 'hooks.d/10-bad.sh': '#!/bin/sh\necho "on stderr" >&2\nexit 7\n' });
    const ran = await run([failing, 'true']);
    expect(ran).toMatchObject({ status: 125, stdout: '' });
    expect(ran.stderr).toBe('on stderr\nbundler: the hook 10-bad.sh ended with status 7\n');
    const killed = await run([makeConfigured({ 'hooks.d/10-bad.sh': '#!/bin/sh\nkill -9 $$\n' }), 'true']);
    expect(killed.stderr).toBe('bundler: the hook 10-bad.sh was killed by signal 9 (Killed)\n');
  });

  e2e('brings enroot-mount with it: what hooks mount is there at once', async () => {
    const text = [
      '#!/bin/sh',
      'set -eu',
      'enroot-mount --root "$ENROOT_ROOTFS" - << EOF',
      'tmpfs /mnt/first tmpfs x-create=dir,size=64k',
      '/nonexistent /mnt/second none x-create=dir,bind,nofail,silent',
      'tmpfs /mnt/early tmpfs x-create=dir 0 -1',
      'EOF',
      'echo "there" > "$ENROOT_ROOTFS/mnt/first/file"',
      'echo "tmpfs $ENROOT_ROOTFS/mnt/third tmpfs x-create=dir" > "$ENROOT_RUNTIME_PATH/mine"',
      'enroot-mount "$ENROOT_RUNTIME_PATH/mine"',
      'if enroot-mount - << EOF',
      'tmpfs /etc tmpfs',
      'EOF',
      'then exit 9; fi',
      'if echo "/nonexistent /mnt/x none x-create=dir,bind" | enroot-mount --root "$ENROOT_ROOTFS" -; then exit 8; fi',
    ];
    const file = makeConfigured({ 'hooks.d/10-mount.sh': `${text.join('\n')}\n` });
    const script = 'cat /mnt/first/file; grep -c -e " /mnt/third " /proc/self/mountinfo; ls /mnt';
    for (const options of [[], ['--pid', '--init'], ['--root']]) {
      const ran = await run([file, ...options, 'sh', '-c', script]);
      expect(ran, options.join(' ')).toMatchObject({ status: 0, stdout: 'there\n1\nfirst\nthird\n' });
      expect(ran.stderr).toMatch(/^enroot-mount: cannot mount on \/etc: .*\nbundler: open \/nonexistent, .*\n$/);
    }
  });

  e2e('names a hook that this host cannot run', async () => {
    const ran = await runBare([makeConfigured({ 'hooks.d/10-bash.sh': '#!/usr/bin/env bash\n' }), 'true']);
    expect(ran.status).toBe(125);
    expect(ran.stderr).toContain('its interpreter /usr/bin/env is not');
    expect(ran.stderr).toContain('the hook 10-bash.sh ended with status 127');
  });

  e2e('a changed stock file takes the place of what would have served it', async () => {
    const changed = {
      'mounts.d/20-config.fstab': 'tmpfs /etc/marker tmpfs x-create=dir\n',
      'environ.d/10-terminal.env': 'TERM=changed\n',
      'hooks.d/10-shadow.sh': '#!/bin/sh\necho "only:x:4242:4242::/:/bin/sh" > "$ENROOT_ROOTFS/etc/passwd"\n',
    };
    const script = 'echo $TERM; cat /etc/passwd; grep -c " /etc/hosts " /proc/self/mountinfo; ls -d /etc/marker';
    const ran = await run([makeConfigured(changed), 'sh', '-c', script]);
    expect(ran).toMatchObject({ status: 0, stdout: 'changed\nonly:x:4242:4242::/:/bin/sh\n0\n/etc/marker\n' });
  });

  e2e('stays out of a plain start: one part of a plan, no overlay', async () => {
    const ran = await run([makeBundle('busybox'), 'grep', ' / / ', '/proc/self/mountinfo']);
    expect(ran.stdout).toMatch(/^[^\n]* - fuse\S* [^\n]*\n$/);
  });

  e2e('shows its names with --info', async () => {
    const file = makeConfigured({ 'environ.d/a.env': 'A=secret\n', 'enroot.conf': 'ENROOT_REMAP_ROOT yes\n' });
    const info = await run([file, '--info']);
    expect(info.stdout).toContain('Configuration: ENROOT_REMAP_ROOT environ.d/a.env\n');
    expect(info.stdout).not.toContain('secret');
    expect((await run([file, 'id', '-u'])).stdout).toBe('0\n');
    expect((await run([file, 'id', '-u'], { env: { ENROOT_REMAP_ROOT: 'no' } })).stdout).toBe('4242\n');
  });
});

describe('ENROOT_LOGIN_SHELL', () => {
  const profile = 'echo "PROFILE=read" > /dev/null; export PROFILE=read\n';
  const start = (args: readonly string[], env: Record<string, string> = {}) => {
    const dir = makeDir(ordinaryUser(), 'profile');
    writeFileSync(path.join(dir, 'profile'), profile);
    return run([makeBundle('busybox'), '--mount', `${path.join(dir, 'profile')}:/etc/profile`, ...args], { env });
  };

  e2e('a login shell reads /etc/profile before scripts and commands', async () => {
    const env = { ENROOT_LOGIN_SHELL: 'yes' };
    const command = ['sh', '-c', 'echo "$0 $# $PROFILE"', 'a b', 'c'];
    expect((await start(command, env)).stdout).toBe('a b 1 read\n');
    expect((await start(['--entrypoint', '', ...command], env)).stdout).toBe('a b 1 read\n');
    expect((await start(command)).stdout).toBe('a b 1 \n');
    expect((await start(['--env', 'ENROOT_LOGIN_SHELL=yes', ...command])).stdout).toBe('a b 1 read\n');
  });
});
