// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { readLoginDefs } from '../../../runtime/hooks/home-directory.ts';
import { findLine, mergeLines } from '../../../runtime/hooks/shadow.ts';
import { callersPath } from '../../../runtime/host.ts';
import { planLaunch } from '../../../runtime/plan-launch.ts';
import { type Change, environmentOf, getent, makeInput, pick, planOf, shownFile } from '../launch-fixture.ts';

describe('accounts inside the container', () => {
  const lines = (change: Change, file: string) => shownFile(planOf(change), file)?.split('\n') ?? [];

  test("are root, nobody and the caller, then the image's", () => {
    const passwd =
      'root:x:0:0:root:/root:/bin/zsh\n_apt:x:42:1::/:\nwww:x:33:33::/var/www:/bin/bash\nann:x:7:7::/:\ntwin:x:4242:1::/:\n\nbroken\n';
    expect(lines({ rootfs: { passwd } }, '/etc/passwd')).toEqual([
      'root:x:0:0:root:/root:/bin/bash',
      'nobody:x:65534:65534:nobody:/:/sbin/nologin',
      'ann:x:4242:4242:Ann:/home/ann:/bin/bash',
      'www:x:33:33::/var/www:/bin/bash',
      '',
    ]);
    expect(lines({ rootfs: { group: 'root:x:0:\nadm:x:4:a,b\n' } }, '/etc/group')).toEqual([
      ...['root:x:0:', 'nogroup:x:65534:', 'staff:x:4242:', 'adm:x:4:a,b', ''],
    ]);
  });

  test.each<[string, Change, string]>([
    ['from LDAP, by his variables', { host: { passwdLine: '', groupLine: '' } }, 'ann:x:4242:4242::/home/ann:/bin/sh'],
    ['without any name', { host: { passwdLine: '' }, request: { env: {} } }, 'u4242:x:4242:4242::/:/bin/sh'],
    [
      'who calls himself root',
      { host: { passwdLine: '' }, env: { USER: 'root' } },
      'u4242:x:4242:4242::/home/ann:/bin/sh',
    ],
    [
      'with a hostile USER and HOME',
      { host: { passwdLine: '' }, env: { USER: 'a:x:0:0\nb', HOME: '/x\ny:z' } },
      'u4242:x:4242:4242::/:/bin/sh',
    ],
    [
      'with a HOME that climbs',
      { host: { passwdLine: '' }, env: { HOME: '/home/../..' } },
      'ann:x:4242:4242::/:/bin/sh',
    ],
    [
      'whose shell the image lacks',
      { host: { passwdLine: 'ann:x:4242:4242::/home/ann:/bin/fish' } },
      'ann:x:4242:4242::/home/ann:/bin/sh',
    ],
  ])('know a caller %s', (_title, change, line) => {
    expect(lines(change, '/etc/passwd')).toContain(line);
  });

  test('name root only once when root calls', () => {
    const change: Change = {
      request: { uid: 0, euid: 0, gid: 0, egid: 0 },
      host: { passwdLine: 'root:x:0:0:root:/root:/bin/bash', groupLine: 'root:x:0:' },
    };
    expect(lines(change, '/etc/passwd').filter((line) => line.startsWith('root:'))).toHaveLength(1);
    expect(environmentOf(change)).toMatchObject({ HOME: '/root', USER: 'root' });
  });

  test('drop a second line with a name or an id that is taken', () => {
    expect(mergeLines(['a:x:1:'], 'b:x:1:\na:x:2:\nc:x:3:\nc:x:4:\nd:x:\n')).toBe('a:x:1:\nc:x:3:\n');
  });

  test('read login.defs and useradd', () => {
    const defs = readLoginDefs('# SHELL=/no\nSHELL=/bin/ash\n CREATE_HOME  no # why\nUMASK\t022\n');
    expect([...defs]).toEqual([
      ['SHELL', '/bin/ash'],
      ['CREATE_HOME', 'no'],
      ['UMASK', '022'],
    ]);
  });

  test('make no home where login.defs says so', () => {
    const plan = planOf({ rootfs: { loginDefs: 'CREATE_HOME no\n' } });
    expect(pick(plan, 'entry').some(({ path }) => path === '/home/ann')).toBe(false);
  });
});

describe('a new home directory', () => {
  const skeleton = [
    { path: '.config', mode: 0o700, content: null },
    { path: '.config/x', mode: 0o644, content: '' },
    { path: '.bashrc', mode: 0o644, content: '# bash\n' },
  ];
  /** Paths and modes, each as it is made first: what is there stays as it is. */
  const inHome = (change: Change) => {
    const made = new Map<string, number>();
    for (const op of planOf({ ...change, rootfs: { skeleton, homes: ['bob'], ...change.rootfs } })) {
      if (op.op !== 'entry' && op.op !== 'mkdir' && op.op !== 'file') continue;
      if (op.path.includes('/ann') && !made.has(op.path)) made.set(op.path, op.mode);
    }
    return [...made];
  };
  const whole = (home: string) => [
    [home, 0o700],
    [`${home}/.config`, 0o700],
    [`${home}/.config/x`, 0o644],
    [`${home}/.bashrc`, 0o644],
  ];
  const at = (home: string): Change => ({ host: { passwdLine: `ann:x:4242:4242::${home}:/bin/sh` } });

  test("begins with the image's skeleton, where nothing is, with the mode that login.defs has", () => {
    expect(inHome({})).toEqual(whole('/home/ann'));
    expect(inHome({ rootfs: { loginDefs: 'UMASK 022\n' } })[0]).toEqual(['/home/ann', 0o755]);
    const kinds = pick(planOf({ rootfs: { skeleton } }), 'entry').filter(({ path }) => path.startsWith('/home/ann/'));
    expect(kinds.map(({ kind }) => kind)).toEqual([1, 4, 4]);
  });

  test('begins so too in memory, and in a root that is unpacked', () => {
    expect(inHome(at('/tmp/ann'))).toEqual(whole('/tmp/ann'));
    const answers = { 'places 284096000': '/v ok 500000000 ext4 exec\n', rungs: 'ptrace ok\n' };
    const unpacked = { host: { ...at('/u/ann').host, answers }, env: { BUNDLER_DRIVER: 'extract' } };
    expect(inHome(unpacked)).toEqual(whole('/u/ann'));
    // Without mounts /tmp is a directory like others.
    const plain = { host: { ...at('/tmp/ann').host, answers }, env: { BUNDLER_SANDBOX: 'proot' } };
    expect(inHome({ ...plain })).toEqual(whole('/tmp/ann'));
  });

  test.each([
    ['is in the image', at('/home/ann'), { homes: ['ann'] }],
    ['may be in the image', at('/var/lib/ann'), {}],
    ['is in a root that stays', { args: ['--keep'] }, {}],
  ])('is left as it is when it %s', (_title, change, rootfs) => {
    const paths = inHome({ ...change, rootfs }).map(([path]) => path);
    expect(paths.filter((path) => path.includes('.bashrc'))).toEqual([]);
  });

  test.each([
    ['/var/home/ann', true],
    ['/users/a/ann', true],
    ['/home/ann', true],
  ])('may be %s', (home) => {
    expect(inHome(at(home))).toEqual(whole(home));
  });

  test('has a mailbox where useradd would make one', () => {
    const boxes = (change: Change) => pick(planOf(change), 'entry').filter(({ path }) => path.includes('mail'));
    expect(boxes({})).toEqual([]);
    const useradd = 'CREATE_MAIL_SPOOL=yes\n';
    expect(boxes({ rootfs: { useradd } })).toMatchObject([{ path: '/var/mail/ann', kind: 4, mode: 0o660 }]);
    expect(boxes({ rootfs: { useradd, loginDefs: 'MAIL_DIR /var/spool/mail\n' } })).toMatchObject([
      { path: '/var/spool/mail/ann' },
    ]);
  });
});

describe("a caller whom the host's files do not know", () => {
  const nobody = { passwdLine: '', groupLine: '' };
  const passwd = 'exit 0\nann.l:*:4242:500:Ann L.:/nfs/ann:/bin/bash\n';
  const lines = (answers: Record<string, string>) => {
    const plan = planOf({ host: { ...nobody, answers } });
    const line = (file: string, at: number) => shownFile(plan, file)?.split('\n')[at];
    return [line('/etc/passwd', 2), line('/etc/group', 2), ...pick(plan, 'warn').map(({ text }) => text)];
  };

  test('is looked up with getent, one database after the other', () => {
    const asked = (answers: Record<string, string>) => planLaunch(makeInput({ host: { ...nobody, answers } }));
    expect(asked({})).toEqual({ ask: [getent('passwd')] });
    expect(asked({ [getent('passwd')]: passwd })).toEqual({ ask: [getent('group')] });
    expect(lines({ [getent('passwd')]: passwd, [getent('group')]: 'exit 0\nhpc:*:4242:ann.l,bob\n' })).toEqual([
      'ann.l:x:4242:4242:Ann L.:/nfs/ann:/bin/bash',
      'hpc:x:4242:',
    ]);
  });

  test('is asked for only in the database that lacks him; root never', () => {
    const asked = (change: Change) => planLaunch(makeInput({ ...change, host: { ...change.host, answers: {} } }));
    expect(asked({})).toHaveProperty('plan');
    expect(asked({ host: { groupLine: '' } })).toEqual({ ask: [getent('group')] });
    const root = { euid: 0, egid: 0, uid: 0, gid: 0 };
    expect(asked({ host: nobody, request: root })).toHaveProperty('plan');
  });

  test.each([
    ['there is no getent', 'failed 2\n'],
    ['nobody knows him', 'exit 2\n'],
    ['it tells of somebody else', 'exit 0\nbob:x:7:7::/:/bin/sh\n'],
    ['it crashes', 'signal 11\nann:x:4242:1::/:/bin/sh\n'],
    ['it never stops', 'long\nann:x:4242:1::/:/bin/sh\n'],
  ])('goes by his variables where %s', (_title, answer) => {
    expect(lines({ [getent('passwd')]: answer, [getent('group')]: answer })).toEqual([
      'ann:x:4242:4242::/home/ann:/bin/sh',
      'ann:x:4242:',
    ]);
  });

  test('waits once for a directory service that hangs, and says so in a line', () => {
    expect(lines({ [getent('passwd')]: 'late\n' })).toEqual([
      'ann:x:4242:4242::/home/ann:/bin/sh',
      'ann:x:4242:',
      'bundler: no answer within 5 s from getent passwd 4242: USER and HOME tell who you are',
    ]);
  });

  test('cannot smuggle anything into the files', () => {
    const hostile = 'exit 0\na/../b:x:4242:0:x:/x/../..:/bin/sh\n';
    expect(lines({ [getent('passwd')]: hostile, [getent('group')]: hostile })).toEqual([
      'ann:x:4242:4242:x:/home/ann:/bin/sh',
      'ann:x:4242:',
    ]);
  });
});

describe('looking at the host', () => {
  test('finds a line by its id, not by a part of it', () => {
    const text = 'a:x:14242:1::/:/\nann:x:4242:1::/:/\nb:x:4242:1::/:/\n';
    expect(findLine(text, 4242)).toBe('ann:x:4242:1::/:/');
    expect(findLine(text, 424)).toBe('');
    expect(findLine(null, 0)).toBe('');
  });

  test('reads descriptors of the caller, not its own', () => {
    expect(callersPath('/dev/fd/63', 77)).toBe('/proc/77/fd/63');
    expect(callersPath('/proc/self/fd/5', 77)).toBe('/proc/77/fd/5');
    expect(callersPath('/dev/stdin', 77)).toBe('/proc/77/fd/0');
    expect(callersPath('/dev/null', 77)).toBe('/dev/null');
  });
});
