// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the planner, not JavaScript, expands these
import { describe, expect, test } from 'vitest';
import { type FstabEntry, parseFstab, parseMountSpec, toMountOp } from '../../runtime/fstab.ts';
import { type Change, pick, planOf } from './launch-fixture.ts';

const bind = 4096;
const recursive = 16384;

describe('fields of a mount', () => {
  test.each<[string, Partial<FstabEntry>]>([
    ['tmpfs:/x', { source: 'tmpfs', target: '/x', type: 'tmpfs', options: [] }],
    ['tmpfs:/x:size=1m', { source: 'tmpfs', target: '/x', type: 'size=1m' }],
    ['tmpfs:/x:tmpfs:size=1m,x-create=dir', { type: 'tmpfs', options: ['size=1m', 'x-create=dir'] }],
    ['/a', { source: '/a', target: '/a', type: '', options: ['rbind', 'x-create=auto'] }],
    ['/a:bind', { source: '/a', target: '/a', type: '', options: ['bind'] }],
    ['/a:/b', { source: '/a', target: '/b', type: '', options: ['rbind', 'x-create=auto'] }],
    ['/a:/b:bind', { source: '/a', target: '/b', type: '', options: ['bind'] }],
    ['/a:/b:none:x-create=dir,bind,ro', { target: '/b', type: '', options: ['x-create=dir', 'bind', 'ro'] }],
    ['/a:/b:ro', { source: '/a', target: '/b', options: ['rbind', 'x-create=auto', 'ro'] }],
    ['a/b:/b:ro', { source: 'a/b', target: '/b', options: ['rbind', 'x-create=auto', 'ro'] }],
    ['none:/b:ro', { source: 'none', options: ['ro'] }],
    ['none:/dev/pts:devpts', { source: 'none', target: '/dev/pts', type: 'devpts', options: [] }],
    ['none:/proc:none:x-detach', { source: 'none', target: '/proc', type: '', options: ['x-detach'] }],
    ['/a\\040b:/c\\072d', { source: '/a b', target: '/c:d' }],
    ['/a:/b:none:bind:0:-1', { pass: -1 }],
    ['/a:/b:none:bind:-1', { pass: -1 }],
  ])('--mount %s', (spec, wanted) => {
    expect(parseMountSpec(spec)).toMatchObject(wanted);
  });

  test.each(['', ':/x', 'tmpfs', 'none'])("--mount '%s' is refused", (spec) => {
    expect(() => parseMountSpec(spec)).toThrow('--mount');
  });

  test('an fstab has comments, blanks and lines', () => {
    const text = '# c\n\n  /a /b none bind,ro 0 0\n\ttmpfs\t/t\n';
    expect(parseFstab(text, 'f')).toMatchObject([
      { source: '/a', target: '/b', options: ['bind', 'ro'] },
      { source: 'tmpfs', target: '/t' },
    ]);
    expect(() => parseFstab('\nnone\n', 'f')).toThrow('line 2 of f: not a mount');
    expect(() => parseFstab('/a /b none bind 0 x', 'f')).toThrow('x is not a pass number');
  });

  test.each<[string, object]>([
    [
      'rbind,ro,nosuid,nodev,noexec,rslave',
      { msFlags: bind | recursive | 1 | 2 | 4 | 8, propagation: (1 << 19) | recursive, data: '' },
    ],
    ['bind,ro,rw,private', { msFlags: bind, propagation: 1 << 18 }],
    ['mode=755,size=1m,nosuid', { msFlags: 2, data: 'mode=755,size=1m' }],
    ['bind,x-create=auto,nofail,silent', { options: 4 | 8 | 16, data: '' }],
    ['x-create=dir,x-move', { options: 1 | 32, data: '' }],
    ['x-detach', { options: 64, msFlags: 0 }],
    ['bind,x-systemd.automount,defaults,constructor', { msFlags: bind, data: 'constructor' }],
  ])('options %s', (options, wanted) => {
    expect(
      toMountOp({ source: '/a', target: 'b', type: '', options: options.split(','), pass: 0 }, '/w'),
    ).toMatchObject({
      source: '/a',
      target: '/b',
      ...wanted,
    });
  });
});

describe('mounts of a launch', () => {
  const targets = (change: Change) => pick(planOf(change), 'mount').map(({ target }) => target);

  test("are the system's, then the configuration that the host has, then the user's", () => {
    expect(targets({ args: ['-m', '/data:/data'], host: { kinds: { '/data': 'dir' } } })).toEqual([
      ...[
        '/proc',
        '/sys',
        '/dev',
        '/tmp',
        '/var/run',
        '/var/lock',
        '/dev/shm',
        '/etc/hosts',
        '/etc/resolv.conf',
        '/data',
      ],
    ]);
  });

  test('leave out what a bare host lacks', () => {
    const kinds = {
      '/sys': 'missing',
      '/dev/shm': 'missing',
      '/etc/hosts': 'missing',
      '/etc/resolv.conf': 'missing',
    } as const;
    expect(targets({ host: { kinds } })).toEqual(['/proc', '/dev', '/tmp', '/var/run', '/var/lock']);
  });

  test("of the image's fstab come in its pass, with variables filled in, and without what only a boot mounts", () => {
    const fstab =
      '${HOME} /mnt none x-create=dir,bind\ntmpfs /early tmpfs x-create=dir 0 -1\n/dev/sda1 none swap sw 0 0\n';
    const list = targets({
      rootfs: { fstab: `${fstab}/dev/fd0 /f auto noauto 0 0\nUUID=1 / ext4 defaults 0 1\n` },
      host: { kinds: { '/home/ann': 'dir' } },
    });
    expect(list[0]).toBe('/early');
    expect(list.at(-3)).toBe('/mnt');
    expect(list).toHaveLength(11);
  });

  test('get their mountpoints from the server: a directory, an empty file, or none', () => {
    const plan = planOf({
      args: ['-m', '/data:/d', '-m', '/one.txt:/o.txt', '-m', '/data:/e:bind', '-m', 'rel:/r'],
      host: { kinds: { '/data': 'dir', '/one.txt': 'file', '/work/rel': 'dir' } },
    });
    const entries = new Map(pick(plan, 'entry').map(({ path, kind }) => [path, kind]));
    expect(entries.get('/d')).toBe(1);
    expect(entries.get('/o.txt')).toBe(4);
    expect(entries.get('/r')).toBe(1);
    expect(entries.has('/e')).toBe(false);
    // The host's file must not hide behind a symlink of the image.
    expect(entries.get('/etc/resolv.conf')).toBe(2);
    expect(entries.has('/etc/hostname')).toBe(false);
    expect(pick(plan, 'mount').find(({ target }) => target === '/r')?.source).toBe('/work/rel');
  });

  test('from nowhere are refused, unless nofail is said', () => {
    expect(() => planOf({ args: ['-m', '/nope:/x'] })).toThrow('cannot mount /nope on /x: no such file or directory');
    expect(() => planOf({ args: ['-m', '/n:/x'], host: { kinds: { '/n': 'denied' } } })).toThrow('permission denied');
    expect(targets({ args: ['-m', '/nope:/x:none:bind,nofail'] })).toContain('/x');
    expect(() => planOf({ args: ['-m', 'rel:/x'], request: { cwd: '' } })).toThrow(
      'the current directory has no name here',
    );
  });
});
