// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { type Change, pick, planOf } from '../launch-fixture.ts';

const mounts = (change: Change) =>
  pick(planOf(change), 'mount').map(({ source, target, type }) => `${type || source} on ${target}`);
const fresh = ['tmpfs on /dev', 'devpts on /dev/pts', '/dev/null on /dev/null'];

describe('a restricted /dev', () => {
  test('is not there unless asked for', () => {
    expect(mounts({}).some((line) => fresh.includes(line))).toBe(false);
    expect(mounts({ env: { ENROOT_RESTRICT_DEV: 'no' } }).some((line) => fresh.includes(line))).toBe(false);
  });

  test.each([
    { env: { ENROOT_RESTRICT_DEV: 'y' } },
    { args: ['--env', 'ENROOT_RESTRICT_DEV=yes'] },
    { env: { ENROOT_UNSHARE_IPC: 'y' } },
  ])('replaces the one of the host: %j', (change) => {
    expect(mounts(change)).toEqual(expect.arrayContaining(fresh));
    const plan = planOf(change);
    const detach = plan.findIndex((op) => op.op === 'mount' && op.target === '/dev' && (op.options & 64) !== 0);
    const system = plan.findIndex((op) => op.op === 'mount' && op.source === '/dev');
    expect(system).toBeLessThan(detach);
    expect(pick(plan, 'symlink').map(({ path, target }) => `${path} -> ${target}`)).toEqual([
      '/dev/fd -> /proc/self/fd',
      '/dev/ptmx -> /dev/pts/ptmx',
      '/dev/stdin -> /proc/self/fd/0',
      '/dev/stdout -> /proc/self/fd/1',
      '/dev/stderr -> /proc/self/fd/2',
    ]);
    expect(plan.findLastIndex((op) => op.op === 'symlink')).toBeLessThan(plan.findIndex((op) => op.op === 'pivot'));
  });

  test("has the host's shared memory, and its own with an IPC namespace", () => {
    const restricted = mounts({ env: { ENROOT_RESTRICT_DEV: 'y' } }).slice(5);
    expect(restricted).toEqual(expect.arrayContaining(['/dev/shm on /dev/shm', '/dev/mqueue on /dev/mqueue']));
    const isolated = mounts({ env: { ENROOT_UNSHARE_IPC: 'y' } });
    expect(isolated).toEqual(expect.arrayContaining(['tmpfs on /dev/shm', 'mqueue on /dev/mqueue']));
    expect(isolated.lastIndexOf('tmpfs on /dev/shm')).toBeGreaterThan(isolated.lastIndexOf('tmpfs on /dev'));
  });

  test("has the caller's terminal as console", () => {
    const change: Change = { env: { ENROOT_RESTRICT_DEV: 'y' }, host: { terminal: '/dev/pts/7' } };
    expect(mounts(change)).toContain('/dev/pts/7 on /dev/console');
    expect(mounts({ env: { ENROOT_RESTRICT_DEV: 'y' } }).join()).not.toContain('console');
  });

  test('asks for nothing that a bare host may lack without nofail', () => {
    const plan = planOf({ env: { ENROOT_RESTRICT_DEV: 'y' } });
    for (const name of ['tty', 'log', 'mqueue', 'hugepages', 'shm']) {
      const op = pick(plan, 'mount').findLast(({ target }) => target === `/dev/${name}`);
      expect((op?.options ?? 0) & 24, name).toBe(24);
    }
  });

  test('is one without mounts as well: the devices of the host are not shown in the first place', () => {
    const answers = { 'places 284096000': '/v ok 500000000 ext4 exec\n', rungs: 'ptrace ok\n' };
    const binds = (env: Record<string, string>) =>
      pick(planOf({ env: { ...env, BUNDLER_SANDBOX: 'proot' }, host: { answers } }), 'proot')
        .flatMap((op) => op.binds)
        .filter((bind) => bind.startsWith('/dev'));
    expect(binds({})).toEqual(['/dev:/dev', '/dev/shm:/dev/shm']);
    const restricted = binds({ ENROOT_RESTRICT_DEV: 'y' });
    expect(restricted).not.toContain('/dev:/dev');
    expect(restricted).toEqual(expect.arrayContaining(['/dev/null:/dev/null', '/dev/shm:/dev/shm']));
    expect(restricted.filter((bind) => bind === '/dev/shm:/dev/shm')).toHaveLength(1);
  });
});
