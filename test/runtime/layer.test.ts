// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Failure, UsageFailure } from '../../runtime/failure.ts';
import { layersQuestion } from '../../runtime/layer.ts';
import { parseOptions } from '../../runtime/options.ts';
import { planLaunch } from '../../runtime/plan-launch.ts';
import { type Change, makeInput, names, pick, planOf } from './launch-fixture.ts';

const answered = (text: string): NonNullable<Change['host']> => ({ answers: { [layersQuestion]: text } });
/** What a kernel between 5.11 and 6.5 says. */
const noTmpfsXattr = { overlay: 'rmdir 5', 'tmpfs-xattr': 'setxattr 95' };

describe('--overlay', () => {
  test('takes the directory before there are namespaces, and puts the overlay over the image', () => {
    const plan = planOf({ args: ['--overlay', 'my changes'] });
    expect(pick(plan, 'layer')).toEqual([
      { op: 'layer', place: '', dir: '/work/my changes', digest: 'ab'.repeat(32), owners: 'single' },
    ]);
    const order = names(plan);
    expect(order.indexOf('layer')).toBeLessThan(order.indexOf('userns'));
    expect(order.indexOf('overlay')).toBe(order.indexOf('root') + 1);
    expect(order).not.toContain('readonly');
  });

  test.each([
    ['.', '/work'],
    ['./a/./b/.', '/work/a/b'],
    ['/x/y', '/x/y'],
  ])('%s is %s', (given, dir) => {
    expect(pick(planOf({ args: ['--overlay', given] }), 'layer')).toMatchObject([{ dir }]);
  });

  test('does not mind a tmpfs without user xattrs, which it does not use', () => {
    expect(pick(planOf({ args: ['--overlay', 'd'], probes: noTmpfsXattr }), 'layer')).toHaveLength(1);
  });

  test('goes over an unpacked image too, and over our own files in it', () => {
    const host = { answers: { 'places 284096000': '/p ok 900000000000 ext4 exec\n' } };
    const order = names(planOf({ args: ['--overlay', 'd'], env: { BUNDLER_DRIVER: 'extract' }, host }));
    expect(order.slice(0, 4)).toEqual(['layer', 'extract', 'userns', 'unshare']);
    expect(order.indexOf('overlay')).toBeGreaterThan(order.lastIndexOf('file'));
    expect(order.indexOf('overlay')).toBeLessThan(order.indexOf('mount'));
  });

  test('is refused on a kernel without overlays in user namespaces, with what to do instead', () => {
    const attempt = () => planLaunch(makeInput({ args: ['--overlay', 'd'], probes: { overlay: 'mount 1' } }));
    expect(attempt).toThrow(
      new Failure(
        'cannot keep the changes in /work/d: overlay cannot be mounted in a user namespace (mount: EPERM)',
        'write into an unpacked copy of the image, which stays: --keep --rw --target DIR',
      ),
    );
  });

  test.each(['--keep', '--extract', '--target=x'])('and %s exclude each other', (other) => {
    expect(() => parseOptions(['--overlay', 'd', other])).toThrow(UsageFailure);
  });
});

describe('--rw', () => {
  test('writes to memory, as much as BUNDLER_RW_SIZE says', () => {
    expect(pick(planOf({ args: ['-w'] }), 'overlay')).toMatchObject([{ upper: '', sizeBytes: 0 }]);
    const env = { BUNDLER_RW_SIZE: '2g' };
    expect(pick(planOf({ args: ['-w'], env }), 'overlay')).toMatchObject([{ sizeBytes: 2 * 1024 ** 3 }]);
  });

  test.each([
    ['on a tmpfs without user xattrs', { probes: noTmpfsXattr }],
    ['with BUNDLER_RW=disk', { env: { BUNDLER_RW: 'disk' } }],
  ])('writes to the first directory that can hold it %s', (_title, change: Change) => {
    expect(planLaunch(makeInput({ ...change, args: ['-w'] }))).toEqual({ ask: [layersQuestion] });
    const host = answered('/nfs/cache setxattr 95\n/var/tmp/a b ok 500000000 ext4\n');
    const plan = planOf({ ...change, args: ['-w'], host });
    expect(pick(plan, 'layer')).toMatchObject([{ place: '/var/tmp/a b', dir: '' }]);
    expect(pick(plan, 'serve')).toHaveLength(1);
    expect(pick(plan, 'overlay')).toHaveLength(1);
  });

  test('is refused with BUNDLER_RW=memory where memory cannot hold it', () => {
    const change = { args: ['-w'], env: { BUNDLER_RW: 'memory' }, probes: noTmpfsXattr };
    expect(() => planLaunch(makeInput(change))).toThrow(/BUNDLER_RW=memory cannot be used: tmpfs keeps no user xattrs/);
  });

  test.each([
    [{ BUNDLER_RW: 'floppy' }, /BUNDLER_RW=floppy: not a place/],
    [{ BUNDLER_RW_SIZE: '0' }, /BUNDLER_RW_SIZE=0: not a size/],
    [{ BUNDLER_RW_SIZE: '10%' }, /BUNDLER_RW_SIZE=10%: not a size/],
  ])('refuses %o', (env, message) => {
    expect(() => makeInput({ args: ['-w'], env })).toThrow(message);
  });

  test('asks nothing at a plain start', () => {
    expect('plan' in planLaunch(makeInput({ env: { BUNDLER_RW: 'disk' } }))).toBe(true);
  });
});
