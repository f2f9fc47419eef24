// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { callersPath, findLine } from '../../runtime/host.ts';
import { mergeLines, readLoginDefs } from '../../runtime/shadow.ts';
import { type Change, environmentOf, pick, planOf, shownFile } from './launch-fixture.ts';

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

describe("the host's time zone", () => {
  const localtime = { link: '../usr/share/zoneinfo/Europe/Berlin', zone: 'TZif2...' };

  test('is a link and the zone', () => {
    const entries = pick(planOf({ host: { localtime } }), 'entry').filter(
      ({ data }) => data.includes('zone') || data.includes('TZif'),
    );
    expect(entries).toEqual([
      { op: 'entry', kind: 3, path: '/etc/localtime', mode: 0o777, data: localtime.link },
      { op: 'entry', kind: 2, path: '/usr/share/zoneinfo/Europe/Berlin', mode: 0o644, data: localtime.zone },
    ]);
  });

  test('is shown by a mount in a kept root', () => {
    const plan = planOf({ args: ['-k'], host: { localtime } });
    expect(pick(plan, 'inject')).toContainEqual({
      op: 'inject',
      path: '/etc/localtime',
      mode: 0o644,
      content: localtime.zone,
    });
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
