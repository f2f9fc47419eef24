// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import { planIdentity } from '../../runtime/identity.ts';
import { parseOptions } from '../../runtime/options.ts';
import type { ImageConfig } from '../../src/format/manifest.ts';
import { type Change, environmentOf, makeInput, pick, planOf, shownFile } from './launch-fixture.ts';

const passwd = [
  'root:x:0:0:root:/root:/bin/bash',
  'app:x:1000:100:An app:/srv/app:/bin/bash',
  'daemon:x:2:2:daemon:/:/usr/sbin/nologin',
  '1234:x:77:78::/odd:/bin/sh',
  'toor:x:0:0::/toor:/bin/sh',
].join('\n');
const group = 'root:x:0:\nusers:x:100:\nstaff:x:50:\nbin:x:2:\n';
const config: ImageConfig = { entrypoint: [], cmd: [], env: [], workdir: '', user: '' };

const change = (more: Change = {}): Change => ({ ...more, rootfs: { passwd, group, ...more.rootfs } });
const idsOf = (more: Change = {}) => {
  const { uid, gid } = planIdentity(makeInput(change(more)));
  return `${uid}:${gid}`;
};
const user = (text: string, more: Change = {}) => idsOf({ ...more, args: ['--user', text] });

describe('who the command is', () => {
  test('the caller, unless something else is asked for', () => {
    expect(idsOf()).toBe('4242:4242');
    expect(idsOf({ manifest: { config } })).toBe('4242:4242');
  });

  test.each([
    ['app', '1000:100', 'a name brings the group of its account'],
    ['app:staff', '1000:50', 'or another one of the image'],
    ['app:7', '1000:7', 'or a number'],
    ['1000', '1000:100', 'a number that has an account is that account'],
    ['5555', '5555:4242', 'another number keeps the group'],
    ['5555:6666', '5555:6666', 'and both may be numbers'],
    ['1234', '77:78', 'a name wins over a number that looks the same'],
    ['root', '0:0', 'root needs no account'],
    ['0:root', '0:0', 'nor does its group'],
    ['toor', '0:0', 'nor has it one name alone'],
  ])('--user %s is %s: %s', (text, ids) => {
    expect(user(text)).toBe(ids);
  });

  test.each([
    ['bob', 'the image has no user bob'],
    ['app:bobs', 'the image has no group bobs'],
    ['4294967295', 'the image has no user 4294967295'],
    ['99999999999', 'the image has no user 99999999999'],
    [':100', 'not USER or USER:GROUP'],
    ['app:', 'not USER or USER:GROUP'],
    ['a:b:c', 'not USER or USER:GROUP'],
  ])('--user %s is refused: %s', (text, message) => {
    expect(() => user(text)).toThrow(Failure);
    expect(() => user(text)).toThrow(`--user ${text}: ${message}`);
  });

  test('--root and --user exclude each other, and --user wins over ENROOT_REMAP_ROOT', () => {
    expect(() => parseOptions(['--root', '--user', 'app'])).toThrow('--root and --user exclude each other');
    expect(user('app', { env: { ENROOT_REMAP_ROOT: 'y' } })).toBe('1000:100');
  });

  test("the image's USER, when it has one that is not root", () => {
    const wanted = (text: string, more: Change = {}) =>
      idsOf({ ...more, manifest: { config: { ...config, user: text } } });
    expect(wanted('app')).toBe('1000:100');
    expect(wanted('1000:50')).toBe('1000:50');
    for (const root of ['root', '0', '0:0', 'root:users']) expect(wanted(root)).toBe('4242:4242');
    expect(wanted('app', { args: ['--root'] })).toBe('0:0');
    expect(wanted('app', { args: ['--user', '8:9'] })).toBe('8:9');
    expect(() => wanted('bob')).toThrow("the image's USER bob: the image has no user bob");
  });
});

describe('the account of the command', () => {
  test('is the one of the image, with its home and shell', () => {
    const plan = planOf(change({ args: ['--user', 'app:staff'] }));
    expect(shownFile(plan, '/etc/passwd')?.split('\n').slice(0, 4)).toEqual([
      'root:x:0:0:root:/root:/bin/bash',
      'nobody:x:65534:65534:nobody:/:/sbin/nologin',
      'app:x:1000:50:An app:/srv/app:/bin/bash',
      'daemon:x:2:2:daemon:/:/usr/sbin/nologin',
    ]);
    expect(shownFile(plan, '/etc/group')?.split('\n').slice(0, 3)).toEqual([
      'root:x:0:',
      'nogroup:x:65534:',
      'staff:x:50:',
    ]);
    expect(environmentOf(change({ args: ['--user', 'app'] }))).toMatchObject({
      USER: 'app',
      LOGNAME: 'app',
      HOME: '/srv/app',
      SHELL: '/bin/bash',
    });
  });

  test('a mere number is the caller under that number', () => {
    const plan = planOf(change({ args: ['--user', '5555:6666'] }));
    expect(shownFile(plan, '/etc/passwd')).toContain('\nann:x:5555:6666:Ann:/home/ann:/bin/bash\n');
    expect(shownFile(plan, '/etc/group')).toContain('\ng6666:x:6666:\n');
    expect(environmentOf(change({ args: ['--user', '5555'] }))).toMatchObject({ USER: 'ann', HOME: '/home/ann' });
  });

  test("a mere number does not take a name that is somebody else's in the image", () => {
    const rootfs = { passwd: 'ann:x:1:1::/:/bin/sh\n', group };
    const plan = planOf({ args: ['--user', '5555'], rootfs });
    expect(shownFile(plan, '/etc/passwd')).toContain('\nu5555:x:5555:4242:');
    expect(shownFile(plan, '/etc/passwd')).toContain('\nann:x:1:1:');
  });

  test('that has no shell runs a command without one all the same', () => {
    const plan = planOf(change({ args: ['--user', 'daemon'] }));
    expect(shownFile(plan, '/etc/passwd')).toContain('\ndaemon:x:2:2:daemon:/:/usr/sbin/nologin\n');
    expect(environmentOf(change({ args: ['--user', 'daemon'] }))).toMatchObject({ SHELL: '/bin/bash', HOME: '/' });
  });

  test('is root for any name of uid 0, as with --root', () => {
    for (const args of [['--root'], ['--user', 'root'], ['--user', 'toor']]) {
      expect(environmentOf(change({ args }))).toMatchObject({ USER: 'root', LOGNAME: 'ann', HOME: '/root' });
      expect(shownFile(planOf(change({ args })), '/etc/passwd')).toContain('\nann:x:4242:4242:');
    }
  });

  test('is mapped to the caller, and shown as the owner of every file', () => {
    const plan = planOf(change({ args: ['--user', 'app'] }));
    expect(pick(plan, 'userns')).toEqual([
      { op: 'userns', insideUid: 1000, insideGid: 100, outsideUid: 4242, outsideGid: 4242 },
    ]);
    expect(pick(plan, 'serve')).toMatchObject([{ uid: 1000, gid: 100 }]);
  });
});

describe('capabilities and the fake-root filter', () => {
  test('belong to whoever is root inside, and to nobody else', () => {
    for (const args of [['--root'], ['--user', '0'], ['--user', 'toor']]) {
      const plan = planOf(change({ args }));
      expect(pick(plan, 'dropCaps')).toEqual([]);
      expect(pick(plan, 'seccomp')).toEqual([{ op: 'seccomp', kind: 1 }]);
    }
    for (const args of [[], ['--user', 'app']]) {
      const plan = planOf(change({ args }));
      expect(pick(plan, 'dropCaps')).toHaveLength(1);
      expect(pick(plan, 'seccomp')).toEqual([]);
    }
  });

  test('real root is mapped to root and gets both', () => {
    const plan = planOf({ request: { uid: 0, gid: 0, euid: 0, egid: 0 } });
    expect(pick(plan, 'userns')).toMatchObject([{ insideUid: 0, outsideUid: 0 }]);
    expect(pick(plan, 'seccomp')).toHaveLength(1);
  });

  test('a host without seccomp filters is told of, when it matters', () => {
    const probes = { seccomp: 'filter 22' };
    const asked = planOf({ args: ['--root'], probes });
    expect(pick(asked, 'seccomp')).toEqual([]);
    expect(pick(asked, 'warn').map(({ text }) => text)).toEqual([expect.stringContaining('chown and setuid fail')]);
    const real = planOf({ request: { uid: 0, gid: 0, euid: 0, egid: 0 }, probes });
    expect(pick(real, 'seccomp')).toEqual([]);
    expect(pick(real, 'warn')).toEqual([]);
  });
});
