// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: enroot, not JavaScript, expands these
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parity } from '../support/parity.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

/** A directory of the host with something in it. */
function makeShown(): string {
  const dir = makeDir(ordinaryUser(), 'shown');
  writeFileSync(path.join(dir, 'file'), 'of the host\n');
  mkdirSync(path.join(dir, 'sub'));
  return dir;
}

parity(
  'enroot, image format: /etc/environment and /etc/fstab',
  { prepare: () => ({ env: { DISPLAY: ':7', PARITY_SHOWN: makeShown(), SECRET: 'x' } }) },
  [
    ['environment: references to variables of the host are substituted', 'echo "$DISPLAY"', ':7'],
    ['environment: a reference to an unset variable is empty', 'echo "$UNSET"', '<>'],
    ['environment: leading blanks are removed', 'echo "$INDENTED"', 'yes'],
    ['environment: one pair of quotes is removed', 'echo "$QUOTED,$SINGLE"', 'two words,one pair'],
    ['environment: ENROOT_ variables are reserved and do not arrive', 'env | grep ^ENROOT_', ''],
    ['environment: comments and ill-formed lines are left out', 'env | grep -e comment -e "not a"', ''],
    ['environment: nothing else of the host arrives', 'env | grep SECRET', ''],
    ['environment: TERM is the caller’s (environ.d/10-terminal.env)', 'echo "$TERM"', 'dumb'],
    ['fstab: the target is relative to the root, ${V} is the host’s', 'cat /fstab/shown/file', 'of the host'],
    [
      'fstab: ro holds for a bind',
      'has $(flags_of /fstab/shown) ro; touch /fstab/shown/x 2>&1 | grep -c Read-only',
      '1',
    ],
    ['fstab: x-create=dir makes the mountpoint', 'is [ -d /fstab/tmpfs ]', 'yes'],
    [
      'fstab: options that the kernel knows go to the file system',
      'has $(options_of /fstab/tmpfs) "size=1024k mode=700"',
      '',
    ],
    ['fstab: nofail and silent let a line fail without a word', 'flags_of /fstab/missing', ''],
    ['fstab: x-move moves a mountpoint', 'type_of /fstab/from; has $(options_of /fstab/to) size=64k', ''],
    [
      'fstab: ENROOT_ROOTFS is the root file system',
      'cat /fstab/there/file; has $(flags_of /fstab/there) ro',
      'of the image',
    ],
    ['fstab: fs_passno -1 is mounted', 'type_of /fstab/early', 'tmpfs'],
    ['fstab: other passes are not', 'type_of /fstab/late', ''],
    ['rc: the image’s script runs the command with its environment', 'echo "$RC"', 'image'],
    ['the root is read-only by default', 'has $(flags_of /) "ro nosuid nodev"; touch /x 2>&1 | grep -c Read-only', '1'],
    ['10-system.fstab: /proc is rw,nosuid,nodev,noexec', 'has $(flags_of /proc) "rw nosuid nodev noexec"', ''],
    ['10-system.fstab: /sys is ro,nosuid,nodev,noexec', 'has $(flags_of /sys) "ro nosuid nodev noexec"', ''],
    ['10-system.fstab: /dev is rw,nosuid,noexec', 'has $(flags_of /dev) "rw nosuid noexec"', ''],
    [
      '10-system.fstab: /tmp is a tmpfs that can be written to',
      'type_of /tmp; echo x > /tmp/x; cat /tmp/x',
      'tmpfs\nx',
    ],
    ['10-system.fstab: /var/run and /var/lock are tmpfs', 'type_of /var/run; type_of /var/lock', 'tmpfs\ntmpfs'],
    ['10-system.fstab: /dev/shm is nosuid,nodev,noexec', 'has $(flags_of /dev/shm) "rw nosuid nodev noexec"', ''],
    ['20-config.fstab: /etc/hosts is the host’s, read-only', 'has $(flags_of /etc/hosts) "ro nosuid nodev noexec"', ''],
    ['the current user keeps his ids', 'id -u; id -g', '4242\n4242'],
    [
      '10-shadow.sh: he is in /etc/passwd and /etc/group',
      'grep -c :4242: /etc/passwd /etc/group',
      '/etc/passwd:1\n/etc/group:1',
    ],
    ['10-shadow.sh: root and nobody are there', 'grep -c -e ^root:x:0: -e ^nobody: /etc/passwd', '2'],
  ],
);

parity(
  'enroot start --mount: fstab fields with colons',
  {
    args: ['--rw'],
    prepare: () => {
      const dir = makeShown();
      return {
        args: [
          ...['--mount', `${dir}:/mnt/plain`],
          ...['--mount', `${dir}/file:/there/made-file`],
          ...['--mount', `${dir}:/mnt/ro:none:x-create=dir,bind,ro,nosuid`],
          ...['--mount', `${dir}/file:/mnt/file:none:x-create=file,bind`],
          ...['--mount', `${dir}:mnt/relative`],
          ...['--mount', `${dir}:/mnt/options:x-create=dir,bind,noexec`],
          ...['--mount', 'tmpfs:/opt'],
          ...['-m', 'tmpfs:/mnt/early:tmpfs:x-create=dir:0:-1'],
          ...['-m', 'tmpfs:/mnt/moved-from:tmpfs:x-create=dir,size=64k'],
          ...['-m', 'tmpfs:/mnt/gone:tmpfs:x-create=dir'],
          ...['-m', 'none:/mnt/gone:none:x-detach'],
          ...['-m', 'none:/mnt/never:none:x-detach,nofail,silent'],
          ...['-m', '/nonexistent:/mnt/nofail:none:x-create=dir,bind,nofail,silent'],
          ...['-m', 'none:/mnt/plain:none:remount,bind,noexec'],
          ...['-m', 'tmpfs:/mnt/private:tmpfs:x-create=dir,private'],
        ],
      };
    },
  },
  [
    ['/src /dst alone is rbind,x-create=auto', 'cat /mnt/plain/file', 'of the host'],
    ['x-create=auto makes a file for a file', 'cat /there/made-file', 'of the host'],
    ['flags are set by a remount of the bind', 'has $(flags_of /mnt/ro) "ro nosuid"', ''],
    ['x-create=file makes the mountpoint', 'cat /mnt/file', 'of the host'],
    ['a relative target starts at the root', 'cat /mnt/relative/file', 'of the host'],
    ['options may stand in the place of the type', 'has $(flags_of /mnt/options) noexec', ''],
    ['tmpfs /dst is of type tmpfs', 'type_of /opt', 'tmpfs'],
    ['pass -1 is mounted too', 'type_of /mnt/early', 'tmpfs'],
    ['x-detach detaches a mountpoint', 'type_of /mnt/gone', ''],
    ['nofail and silent: a mount that fails is passed over', 'type_of /mnt/nofail; type_of /mnt/never', '\n'],
    ['remount adds flags and keeps those of the host', 'has $(flags_of /mnt/plain) noexec', ''],
    ['propagation is set', 'spread_of /mnt/private', 'private'],
    ['--rw makes the root writable', 'has $(flags_of /) rw; echo x > /x; cat /x', 'x'],
  ],
);

parity(
  'enroot start --env',
  {
    args: ['--env', 'GIVEN=a b', '-e', 'TAKEN', '--env=LEVEL=line', '--env', 'EMPTY=', '--env', 'LINES=one\ntwo'],
    env: { TAKEN: 'from the caller', LEVEL: 'caller' },
  },
  [
    ['--env KEY=VAL exports a variable', 'echo "$GIVEN"', 'a b'],
    ['--env KEY takes it from the host', 'echo "$TAKEN"', 'from the caller'],
    ['--env wins over /etc/environment', 'echo "$LEVEL"', 'line'],
    ['--env KEY= sets it to nothing', 'echo "<${EMPTY-unset}>"', '<>'],
    ['a value may have several lines', 'echo "$LINES"', 'one\ntwo'],
  ],
);

parity(
  'ENROOT_ROOTFS_WRITABLE and ENROOT_REMAP_ROOT',
  { env: { ENROOT_ROOTFS_WRITABLE: 'yes', ENROOT_REMAP_ROOT: '1' } },
  [
    ['ENROOT_ROOTFS_WRITABLE is the same as --rw', 'echo x > /x; cat /x', 'x'],
    [
      'ENROOT_REMAP_ROOT is the same as --root',
      'id -u; awk "{print \\$1, \\$2, \\$3}" /proc/self/uid_map',
      '0\n0 4242 1',
    ],
    ['10-aptfix.sh and 10-shadow.sh: HOME of root', 'echo "$HOME"', '/root'],
  ],
);
parity('switches that are off', { env: { ENROOT_ROOTFS_WRITABLE: 'no', ENROOT_REMAP_ROOT: 'false' } }, [
  ['no, n, false and F are off', 'id -u; touch /x 2>&1 | grep -c Read-only', '4242\n1'],
]);
