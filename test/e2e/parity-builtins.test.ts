// SPDX-License-Identifier: Apache-2.0
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { parity } from '../support/parity.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

/** A home directory of the host. */
function makeHome(): { env: Record<string, string> } {
  const home = makeDir(ordinaryUser(), 'home');
  writeFileSync(path.join(home, 'mine'), 'of the host\n');
  return { env: { HOME: home } };
}

parity('enroot, standard hooks: 10-shadow.sh', { image: 'accounts', env: { USER: 'ann', HOME: '/home/ann' } }, [
  [
    'entries for root, nobody and the current user come first in /etc/passwd',
    'head -n 3 /etc/passwd | cut -d: -f1,3,4,6 | tr "\\n" " "; echo',
    /^root:0:0:\/root nobody:65534:65534:\/ ann:4242:4242:\/home\/ann $/,
  ],
  ['and in /etc/group', 'head -n 3 /etc/group | cut -d: -f1,3 | tr "\\n" " "; echo', 'root:0 nogroup:65534 ann:4242 '],
  [
    'the image’s other entries stay',
    'grep www: /etc/passwd /etc/group',
    '/etc/passwd:www:x:33:33::/www:/bin/false\n/etc/group:www:x:33:ann',
  ],
  [
    'entries that clash, and broken ones, go',
    'grep -c -e twin -e broken /etc/passwd /etc/group',
    '/etc/passwd:0\n/etc/group:0',
  ],
  ['_apt goes, so that apt does not drop to it', 'grep -c _apt /etc/passwd', '0'],
  [
    'a shell that the image lacks gives way to useradd’s SHELL',
    'echo $SHELL; cut -d: -f7 /etc/passwd | sed -n 3p',
    '/bin/ash\n/bin/ash',
  ],
  ['the home directory is made with login.defs’ UMASK', 'stat -c %a ~; pwd', '750\n/home/ann'],
  [
    'and filled from the skeleton directory',
    'cd; cat .profile .link .config/settings; stat -c %a .config/settings',
    '# skeleton\n# skeleton\nx\n600',
  ],
  ['the mailbox is made where CREATE_MAIL_SPOOL=yes', 'stat -c "%F %a" /var/spool/mail/ann', 'regular empty file 660'],
  ['the user’s names are known', 'id -un; id -gn; whoami', 'ann\nann\nann'],
]);

parity(
  'enroot, standard hooks: 10-shadow.sh, a home that is there',
  { image: 'accounts', env: { USER: 'bob', HOME: '/home/bob' } },
  [['is not filled', 'ls -A ~', '']],
);

parity(
  'enroot, standard hooks: 10-home.sh',
  { prepare: makeHome, env: { ENROOT_MOUNT_HOME: 'y' }, args: ['--env', 'HOME=/elsewhere'] },
  [
    [
      'the home directory is mounted in its own place',
      'cat "$HOME/mine"; test "$HOME" != /elsewhere; echo $?',
      'of the host\n0',
    ],
    ['rw,nosuid', 'has "$(flags_of "$HOME")" "rw nosuid"; echo x > "$HOME/new"; cat "$HOME/new"', 'x'],
    ['the command starts in it', 'test "$PWD" = "$HOME"; echo $?', '0'],
  ],
);

parity(
  'enroot, standard hooks: 10-home.sh as root',
  { prepare: makeHome, env: { ENROOT_MOUNT_HOME: 'y' }, args: ['--root'] },
  [['the home directory is mounted at /root', 'cat /root/mine; echo "$HOME $PWD"', 'of the host\n/root /root']],
);

parity('enroot, standard hooks: 10-home.sh without ENROOT_MOUNT_HOME', { prepare: makeHome }, [
  ['nothing of the home is mounted', 'ls "$HOME"', ''],
]);

parity('enroot, standard hooks: 10-devices.sh', { env: { ENROOT_RESTRICT_DEV: 'y' } }, [
  ['/dev holds a minimal set of devices', 'cd /dev; ls -d fuse sda kmsg mem 2> /dev/null; type_of /dev', 'tmpfs'],
  ['/dev is nosuid,noexec', 'has "$(flags_of /dev)" "nosuid noexec"', ''],
  [
    'null, zero, full, random and urandom work',
    'cd /dev; for f in zero full random urandom; do head -c 4 $f | wc -c; done; : > null; { echo x > full; } 2> /dev/null || echo full',
    '4\n4\n4\n4\nfull',
  ],
  [
    'they are rw,nosuid,noexec',
    'for f in null zero full urandom random; do has "$(flags_of /dev/$f)" "rw nosuid noexec"; done',
    '',
  ],
  [
    '/dev/pts is its own',
    'type_of /dev/pts; ls /dev/pts; ls -l /dev/ptmx | sed "s/.*-> //"',
    'devpts\nptmx\n/dev/pts/ptmx',
  ],
  [
    'fd, stdin, stdout and stderr are links',
    'cd /dev; for f in fd stdin stdout stderr; do readlink $f; done',
    '/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2',
  ],
  ['/dev/shm is the host’s', 'has "$(flags_of /dev/shm)" "rw nosuid noexec nodev"', ''],
  ['no console without a terminal', 'ls /dev/console 2> /dev/null', ''],
]);

parity('enroot, standard hooks: 10-devices.sh with ENROOT_UNSHARE_IPC', { env: { ENROOT_UNSHARE_IPC: 'y' } }, [
  ['/dev is restricted', 'type_of /dev; ls -d /dev/fuse 2> /dev/null', 'tmpfs'],
  ['/dev/shm is a new tmpfs for all', 'type_of /dev/shm; stat -c %a /dev/shm; ls -A /dev/shm', 'tmpfs\n1777'],
]);

parity('enroot, standard hooks: 10-cgroups.sh', {}, [
  ['the container has a cgroup namespace', 'cut -d: -f3 /proc/self/cgroup | sort -u', '/'],
  [
    'the subsystems are mounted inside, read-only, with the own group as their root',
    'awk \'/ - cgroup2? / && $5 ~ /^.sys.fs.cgroup/ { seen[$5] = $4 " " ($6 ~ /^ro,nosuid,nodev,noexec/) } END { for (p in seen) print seen[p] }\' /proc/self/mountinfo | sort -u',
    '/ 1',
  ],
  [
    'no group can be made',
    'find /sys/fs/cgroup/ -maxdepth 1 -type d | while read d; do mkdir "$d/x" 2> /dev/null && echo "$d"; done',
    '',
  ],
]);

const step = { SLURM_JOB_ID: '7000', SLURM_STEP_ID: '0', SLURM_PROCID: '3', SLURM_LOCALID: '1', SLURM_NTASKS: '8' };

parity(
  'enroot, extra hooks: 50-slurm-pmi.sh',
  {
    prepare: () => {
      const dir = makeDir(ordinaryUser(), 'pmix');
      writeFileSync(path.join(dir, 'rendezvous'), 'server\n');
      return { env: { PMIX_SERVER_TMPDIR: dir } };
    },
    env: {
      ...step,
      PMIX_RANK: '3',
      PMIX_PTL_MODULE: 'tcp',
      PMIX_SECURITY_MODE: 'native',
      PMIX_GDS_MODULE: 'hash',
      PMI_RANK: '3',
      OTHER: 'x',
    },
  },
  [
    ['SLURM_ variables are passed', 'echo "$SLURM_JOB_ID $SLURM_STEP_ID $SLURM_PROCID"', '7000 0 3'],
    ['PMIX_ variables are passed', 'echo "$PMIX_RANK"', '3'],
    ['modules have the names of PMIx too', 'echo "$PMIX_MCA_ptl $PMIX_MCA_psec $PMIX_MCA_gds"', 'tcp native hash'],
    ['PMI_ variables are passed', 'echo "$PMI_RANK"', '3'],
    ['others are not', 'echo "<$OTHER>"', '<>'],
    [
      'the PMIx server’s directory is mounted rw,nosuid,noexec,nodev,private',
      'cat "$PMIX_SERVER_TMPDIR/rendezvous"; echo x > "$PMIX_SERVER_TMPDIR/new"; has "$(flags_of "$PMIX_SERVER_TMPDIR")" "rw nosuid noexec nodev"; spread_of "$PMIX_SERVER_TMPDIR"',
      'server\nprivate',
    ],
  ],
);

parity(
  'enroot, extra hooks: 50-slurm-pytorch.sh',
  {
    env: { ...step, SLURM_STEP_NODELIST: 'gpu[08-11]', SLURM_STEP_NUM_TASKS: '8', SLURM_STEP_NUM_NODES: '4' },
    args: ['--env', 'PYTORCH_VERSION=2.9'],
  },
  [
    ['MASTER_ADDR and MASTER_PORT are the job’s', 'echo "$MASTER_ADDR $MASTER_PORT"', 'gpu08 63464'],
    ['WORLD_SIZE, RANK and LOCAL_RANK are the task’s', 'echo "$WORLD_SIZE $RANK $LOCAL_RANK"', '8 3 1'],
    ['OMP_NUM_THREADS is 1 with more tasks than nodes', 'echo "$OMP_NUM_THREADS"', '1'],
  ],
);

parity(
  'enroot, extra hooks: 50-sharp.sh',
  { env: { SLURM_NETWORK: 'sharp', SLURM_STEP_NUM_NODES: '4', MELLANOX_VISIBLE_DEVICES: 'all' } },
  [
    [
      'NCCL and SHARP are told',
      'env | grep -e ^SHARP_ -e ^NCCL_ | sort | cut -d= -f2 | tr "\\n" " "; echo',
      '1 4 1 0 ',
    ],
  ],
);

parity(
  'enroot, extra mounts: 30-lxcfs.fstab',
  {
    env: { BUNDLER_HOOKS: 'lxcfs' },
  },
  [
    [
      'is passed over where lxcfs does not run',
      'source_of /proc/meminfo; head -n 1 /proc/meminfo | cut -c 1-8',
      '\nMemTotal',
    ],
  ],
);
