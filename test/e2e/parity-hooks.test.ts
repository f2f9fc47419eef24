// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: enroot and shells, not JavaScript, expand these
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { type Promised, parity, startParity } from '../support/parity.ts';
import { run, runBare } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

/** A directory with a configuration script and what it refers to. */
function makeScript(text: string): string {
  const dir = makeDir(ordinaryUser(), 'conf');
  writeFileSync(path.join(dir, 'data'), 'of the host\n');
  const script = path.join(dir, 'start.conf');
  writeFileSync(script, text);
  return script;
}

const script = `#ENROOT_ROOTFS_WRITABLE=n
# ENROOT_REMAP_ROOT = "\${REMAP-no}"
FIRST="\${1-none}"
HERE=$(dirname "\${BASH_SOURCE[0]}")
export PARITY_SHOWN="$HERE" DISPLAY=:8
environ() {
  # Keep something of the host
  echo "KEPT=$KEPT"
  echo '  QUOTES="of environ"'
  echo "LEVEL=environ"
  echo "ENROOT_SNEAKED=x"
  echo "not a variable"
  STATE=environ
}
mounts() {
  echo "$HERE /mnt/dir none x-create=dir,bind,ro"
  echo "tmpfs /mnt/tmpfs tmpfs x-create=dir"
}
hooks() {
  { id -u; echo "$STATE $FIRST"; [ -d "$ENROOT_ROOTFS/proc/self" ] && echo "system mounts are there"
    grep ^LEVEL= "$ENROOT_ENVIRON" | tail -n 1; wc -c < "$ENROOT_MOUNTS"; echo "pid $ENROOT_PID $PWD"
    env | grep ^ENROOT_ | cut -d= -f1 | sort | tr '\\n' ' '; } > "$ENROOT_ROOTFS/hooked"
  echo "LEVEL=hook" >> "$ENROOT_ENVIRON"
  echo "'ADDED=not one" >> "$ENROOT_ENVIRON"
  echo "tmpfs /mnt/hook tmpfs x-create=dir" >> "$ENROOT_MOUNTS"
  mkdir "$ENROOT_ROOTFS/tmp/of-hook"
  echo "a word on stdout is dropped"
}
rc() {
  RC="of the script $1"; export RC
  exec "$@"
}
`;

const promises: Promised[] = [
  ['directives: #ENROOT_X=y comes before the environment', 'touch /x 2>&1 | grep -c Read-only', '1'],
  ['environ() outputs environment configuration', 'echo "$KEPT"', 'from the host'],
  [
    'environ() is formatted as environment files are',
    'echo "$QUOTES<$(env | grep -c -e SNEAKED -e "not a")>"',
    'of environ<0>',
  ],
  [
    'mounts() outputs mount configuration',
    'cat /mnt/dir/data; has $(flags_of /mnt/dir) ro; type_of /mnt/tmpfs',
    'of the host\ntmpfs',
  ],
  ['the command and its arguments are the script’s parameters', 'sed -n 2p /hooked', 'environ sh'],
  [
    'hooks() runs with full capabilities as the user, system mounts in place',
    'sed -n "1p;3p" /hooked',
    '4242\nsystem mounts are there',
  ],
  ['hooks() finds the environment in ENROOT_ENVIRON, --env above environ()', 'sed -n 4p /hooked', 'LEVEL=line'],
  ['hooks() finds an empty ENROOT_MOUNTS', 'sed -n 5p /hooked | tr -d " "', '0'],
  [
    'ENROOT_PID is the container’s, the directory the caller’s',
    'sed -n 6p /hooked | sed "s/pid $$ /pid OURS /; s/conf-.*/conf/"',
    /^pid OURS .*\/conf$/,
  ],
  ['hooks() can append to ENROOT_ENVIRON', 'echo "$LEVEL"', 'hook'],
  ['what is no variable there is left out', 'env | grep -c ADDED', '0'],
  ['hooks() can append to ENROOT_MOUNTS', 'type_of /mnt/hook', 'tmpfs'],
  ['hooks() writes into the mounts and the root', 'is [ -d /tmp/of-hook ]', 'yes'],
  ['rc() overrides the command script', 'echo "$RC"', 'of the script sh'],
  [
    'what the script exports counts in /etc/environment and /etc/fstab',
    'echo "$DISPLAY"; cat /fstab/shown/data',
    ':8\nof the host',
  ],
  ['settings that are off are not set for hooks', 'sed -n 7p /hooked | grep -c -e ROOTFS_WRITABLE -e REMAP_ROOT', '0'],
];

parity(
  'enroot start --conf',
  {
    prepare: () => {
      const conf = makeScript(script);
      return { args: ['--conf', conf, '--env', 'LEVEL=line'], cwd: path.dirname(conf) };
    },
    env: { KEPT: 'from the host', ENROOT_ROOTFS_WRITABLE: 'y' },
  },
  promises,
);

describe('a configuration script', () => {
  const start = (text: string, more: readonly string[] = []) =>
    startParity({ prepare: () => ({ args: ['--conf', makeScript(text), ...more] }), command: () => ['true'] }, '');

  e2e('that fails ends the launch with its name and status', async () => {
    const ran = await start('hooks() { return 3; }\n');
    expect(ran).toMatchObject({ status: 125, stdout: '' });
    expect(ran.stderr).toBe('bundler: the hook start.conf ended with status 3\n');
  });

  e2e('runs under set -eu, as in enroot', async () => {
    expect((await start('environ() { echo "A=$NOT_SET"; }\n')).status).toBe(125);
    expect((await start('environ() { false; echo A=1; }\n')).status).toBe(125);
  });

  e2e('of wrong syntax ends the launch', async () => {
    const ran = await start('environ() {\n');
    expect(ran.status).toBe(125);
    expect(ran.stderr).toContain('syntax error');
  });

  e2e('asks for settings in comments: #ENROOT_REMAP_ROOT=y', async () => {
    const conf = makeScript('#ENROOT_REMAP_ROOT=$(test -n "$REMAP" && echo yes)\n');
    const ids = async (env: Record<string, string>) =>
      (await run([makeBundle('busybox'), '--conf', conf, 'id', '-u'], { env })).stdout;
    expect(await ids({ REMAP: '1' })).toBe('0\n');
    expect(await ids({ REMAP: '' })).toBe('4242\n');
  });

  e2e('runs with sh where the host has no bash, save rc()', async () => {
    const conf = makeScript('environ() { echo "A=sh"; }\nhooks() { echo B=hook >> "$ENROOT_ENVIRON"; }\n');
    const host = { files: { '/start.conf': conf, '/bin/sh': '/bin/busybox', '/bin/env': '/bin/busybox' } };
    const ran = await runBare([makeBundle('busybox'), '--conf', '/start.conf', 'sh', '-c', 'echo $A $B'], host);
    expect(ran).toMatchObject({ status: 0, stdout: 'sh hook\n', stderr: '' });
    writeFileSync(conf, 'rc() { echo no; }\n');
    const refused = await runBare([makeBundle('busybox'), '--conf', '/start.conf', 'true'], host);
    expect(refused.stderr).toContain('rc() of a --conf script takes bash');
    const none = await runBare([makeBundle('busybox'), '--conf', '/start.conf', 'true'], {
      files: { '/start.conf': conf },
    });
    expect(none).toMatchObject({ status: 125 });
    expect(none.stderr).toContain('--conf takes a shell on the host');
  });

  e2e('may come from a pipe', async () => {
    const command = '"$0" --conf <(echo "environ() { echo A=piped; }") sh -c "echo \\$A"';
    const ran = await run(['bash', '-c', command, makeBundle('busybox')]);
    expect(ran).toMatchObject({ status: 0, stdout: 'piped\n', stderr: '' });
  });

  e2e('works where the root is unpacked, and with a process namespace of its own', async () => {
    const conf = makeScript('hooks() { echo A=hook >> "$ENROOT_ENVIRON"; date > "$ENROOT_ROOTFS/hooked"; }\n');
    const command = ['--conf', conf, 'sh', '-c', 'echo $A; test -s /hooked && ! touch /x 2> /dev/null; exit $?'];
    const unpacked = await run([makeBundle('busybox'), ...command], { env: { BUNDLER_DRIVER: 'extract' } });
    expect(unpacked).toMatchObject({ status: 0, stdout: 'hook\n', stderr: '' });
    for (const option of [['--pid'], ['--pid', '--init'], ['--root']]) {
      const ran = await run([makeBundle('busybox'), ...option, ...command]);
      expect(ran, option.join(' ')).toMatchObject({ status: 0, stdout: 'hook\n', stderr: '' });
    }
  });

  e2e('mounts what its hooks have made for this start alone', async () => {
    const text = `hooks() {
      echo made > "$ENROOT_RUNTIME_PATH/file"; mkdir "$ENROOT_RUNTIME_PATH/dir"; echo inside > "$ENROOT_RUNTIME_PATH/dir/x"
      echo "$ENROOT_RUNTIME_PATH/file /mnt/file none x-create=file,bind" >> "$ENROOT_MOUNTS"
      echo "$ENROOT_RUNTIME_PATH/dir /mnt/dir none bind,x-create=auto,ro" >> "$ENROOT_MOUNTS"
      echo "$ENROOT_ROOTFS/bin /mnt/bin none bind,x-create=dir" >> "$ENROOT_MOUNTS"
    }
    `;
    const command = ['sh', '-c', 'cat /mnt/file /mnt/dir/x; test -x /mnt/bin/busybox && echo bin'];
    const ran = await run([makeBundle('busybox'), '--conf', makeScript(text), ...command]);
    expect(ran).toMatchObject({ status: 0, stdout: 'made\ninside\nbin\n', stderr: '' });
  });

  e2e('may print all variables of the host in environ(), without ours', async () => {
    const env = { KEPT: 'x' };
    const ran = await run([makeBundle('busybox'), '--conf', makeScript('environ() { env; }\n'), 'env'], { env });
    expect(ran.stdout).toContain('KEPT=x\n');
    expect(ran.stdout).toContain('\nPATH=/usr/local/bin:/usr/bin:/bin\n');
    expect(ran.stdout).not.toMatch(/BUNDLER_|ENROOT_|_bundler/);
  });

  e2e('mounts a missing source: refused by its name', async () => {
    const ran = await start('mounts() { echo "/nonexistent /mnt/x none x-create=dir,bind"; }\n');
    expect(ran.status).toBe(125);
    expect(ran.stderr).toBe('bundler: open /nonexistent, to be mounted on /mnt/x: No such file or directory\n');
  });
});
