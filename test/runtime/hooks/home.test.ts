// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { type Change, environmentOf, pick, planOf } from '../launch-fixture.ts';

const on = { ENROOT_MOUNT_HOME: 'y' };
const homeMount = (change: Change) =>
  pick(planOf(change), 'mount')
    .filter(({ target }) => target.startsWith('/home') || target.startsWith('/root') || target.startsWith('/work'))
    .map(({ source, target, msFlags, options }) => ({ source, target, msFlags, options }));
// nosuid, bind with all below; made where missing
const flags = { msFlags: 2 | 4096 | 16384, options: 1 };

describe('ENROOT_MOUNT_HOME', () => {
  test('is off by default', () => {
    expect(homeMount({})).toEqual([]);
    expect(homeMount({ env: { ENROOT_MOUNT_HOME: 'no' } })).toEqual([]);
  });

  test('mounts the home directory at its own place', () => {
    expect(homeMount({ env: on })).toEqual([{ source: '/home/ann', target: '/home/ann', ...flags }]);
    expect(environmentOf({ env: on })).toMatchObject({ HOME: '/home/ann' });
  });

  test('mounts it at /root with --root', () => {
    expect(homeMount({ env: on, args: ['--root'] })).toEqual([{ source: '/home/ann', target: '/root', ...flags }]);
    expect(homeMount({ env: on, args: ['--user', 'root'] })).toMatchObject([{ target: '/root' }]);
    expect(environmentOf({ env: on, args: ['--root'] })).toMatchObject({ HOME: '/root', USER: 'root' });
  });

  test('goes by HOME of the caller, else by his account, and HOME of --env gives way', () => {
    expect(homeMount({ env: { ...on, HOME: '/work/home' } })).toEqual([
      { source: '/work/home', target: '/work/home', ...flags },
    ]);
    const change: Change = { args: ['--env', 'HOME=/x'], env: { ...on, HOME: '' } };
    expect(homeMount(change)).toEqual([{ source: '/home/ann', target: '/home/ann', ...flags }]);
    expect(environmentOf(change)).toMatchObject({ HOME: '/home/ann' });
    expect(pick(planOf(change), 'cwd')).toMatchObject([{ path: '/home/ann' }]);
  });

  test("is mounted before the user's mounts, which may lie in it", () => {
    const plan = planOf({ env: on, args: ['--mount', '/dev:/home/ann/dev'] });
    const targets = pick(plan, 'mount').map(({ target }) => target);
    expect(targets.indexOf('/home/ann')).toBeLessThan(targets.indexOf('/home/ann/dev'));
  });
});
