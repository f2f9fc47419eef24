// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { planLaunch } from '../../runtime/plan-launch.ts';
import { mountOptions } from '../../src/format/plan.ts';
import { type Change, makeInput, names, pick, planOf } from './launch-fixture.ts';

const denied = { userns: 'unshare 1', mount: 'skipped', fuse: 'skipped', overlay: 'skipped', 'tmpfs-xattr': 'skipped' };
const places = '/v ok 500000000 ext4 exec\n';
const root = { uid: 0, gid: 0, euid: 0, egid: 0 };
const rootAll = 'root ok\nroot-fuse ok\nroot-overlay ok\nroot-tmpfs-xattr ok\nchroot ok\nptrace ok\n';
const dockerRoot = 'root unshare 1\nchroot ok\nptrace ok\n';

/** A launch on a host without user namespaces where these rungs can be had. */
function on(rungs: string, change: Change = {}): Change {
  const answers = { rungs, 'places 284096000': places, ...change.host?.answers };
  return { probes: denied, ...change, host: { ...change.host, answers } };
}

const asRoot = (rungs: string, change: Change = {}): Change =>
  on(rungs, { ...change, request: { ...root, ...change.request } });

describe('the choice of a sandbox', () => {
  test('asks nothing where user namespaces can be had', () => {
    expect(names(planOf())).toContain('userns');
    expect(names(planOf({ request: root }))).toContain('userns');
  });

  test('asks what is left where they cannot, or where root does not want one', () => {
    expect(planLaunch(makeInput({ probes: denied }))).toEqual({ ask: ['rungs'] });
    const allowed = { request: root, sources: { configured: { ENROOT_ALLOW_SUPERUSER: 'y' } } };
    expect(planLaunch(makeInput(allowed))).toEqual({ ask: ['rungs'] });
    expect(planLaunch(makeInput({ env: { BUNDLER_SANDBOX: 'proot' } }))).toEqual({ ask: ['rungs'] });
  });

  test('of an ordinary user falls to proot', () => {
    expect(names(planOf(on('ptrace ok\n')))).toEqual(
      expect.arrayContaining(['extract', 'tree', 'noNewPrivs', 'proot']),
    );
  });

  test('of root takes a mount namespace, else a chroot, else proot', () => {
    expect(names(planOf(asRoot(rootAll)))).not.toContain('userns');
    expect(pick(planOf(asRoot(rootAll)), 'serve')).toMatchObject([{ flags: 1 }]);
    expect(names(planOf(asRoot(dockerRoot)))).toContain('chroot');
    expect(names(planOf(asRoot('root unshare 1\nchroot chroot 1\nptrace ok\n')))).toContain('proot');
  });

  test('of root with ENROOT_ALLOW_SUPERUSER is a mount namespace although there are user namespaces', () => {
    const plan = planOf({
      request: root,
      sources: { configured: { ENROOT_ALLOW_SUPERUSER: 'y' } },
      host: { answers: { rungs: rootAll } },
    });
    expect(names(plan)).not.toContain('userns');
    expect(names(plan)).toContain('unshare');
    const other = { args: ['--user', '33:33'], request: root, host: { answers: { rungs: rootAll } } };
    const sources = { configured: { ENROOT_ALLOW_SUPERUSER: 'y' } };
    expect(pick(planOf({ ...other, sources }), 'userns')).toMatchObject([{ insideUid: 33, outsideUid: 0 }]);
  });

  test.each([
    ['--mount of a path', { args: ['-m', '/opt:/opt'], host: { kinds: { '/opt': 'dir' } } }],
    ['another user', { args: ['--user', '33:33'] }],
  ] as [string, Change][])('passes over the chroot for what it cannot do: %s', (_title, change) => {
    const plan = planOf(asRoot(dockerRoot, change));
    expect(names(plan)).toContain('proot');
    expect(names(plan)).not.toContain('chroot');
  });

  test.each([
    [['--net'], 'proot: --net: namespaces are asked for'],
    [['--overlay', '/o'], 'proot: --overlay needs mounts'],
    [['--subuid'], 'proot: --subuid needs a user namespace'],
  ])('refuses %s where no rung can do it', (args, why) => {
    expect(() => planLaunch(makeInput(on('ptrace ok\n', { args: args as string[] })))).toThrow(why);
  });

  test('that is forced holds, or is refused with its cause', () => {
    const forced = (name: string, rungs: string, request = {}): Change =>
      on(rungs, { env: { BUNDLER_SANDBOX: name }, request: { ...request, env: { BUNDLER_SANDBOX: name } } });
    expect(names(planOf(forced('proot', rootAll, root)))).toContain('proot');
    expect(names(planOf(forced('chroot', rootAll, root)))).toContain('chroot');
    expect(() => planOf(forced('root', rootAll))).toThrow('BUNDLER_SANDBOX=root cannot be used: it needs real root');
    expect(() => planOf(forced('userns', rootAll))).toThrow('BUNDLER_SANDBOX=userns cannot be used: ');
    expect(() => planOf(forced('proot', 'ptrace seize 1\n'))).toThrow('may not be traced here');
    expect(() => planOf({ ...forced('proot', 'ptrace ok\n'), request: { runtimeDir: '', env: {} } })).toThrow(
      'no directory could take the programs that it needs',
    );
  });

  test('needs none to unpack only', () => {
    expect(names(planOf({ args: ['-x'], probes: denied }))).toEqual(['extract', 'exit']);
  });
});

describe('the plan through proot', () => {
  test('writes our files and shows what would be mounted', () => {
    const change = {
      args: ['-m', '/opt:/srv/opt', '-m', 'tmpfs:/scratch'],
      host: { kinds: { '/opt': 'dir' as const } },
    };
    const plan = planOf(on('ptrace ok\n', change));
    for (const name of ['serve', 'userns', 'unshare', 'root', 'mount', 'inject', 'readonly', 'pivot', 'exec', 'cwd'])
      expect(names(plan)).not.toContain(name);
    expect(pick(plan, 'extract')).toMatchObject([{ place: '/v', target: '' }]);
    expect(pick(plan, 'file').map(({ path }) => path)).toContain('/etc/passwd');
    const [proot] = pick(plan, 'proot');
    expect(proot?.binds).toEqual(expect.arrayContaining(['/proc:/proc', '/sys:/sys', '/dev:/dev', '/opt:/srv/opt']));
    expect(proot?.binds.filter((bind) => bind.startsWith('/etc/'))).toEqual([]);
    expect(pick(plan, 'copy').map(({ source }) => source)).toEqual(['/etc/hosts', '/etc/resolv.conf']);
    expect(pick(plan, 'mkdir').map(({ path }) => path)).toEqual(expect.arrayContaining(['/tmp', '/scratch']));
    expect(proot).toMatchObject({ runtime: '/home/user/.cache/bundler/runtime-0', options: [] });
    expect(names(plan).at(-1)).toBe('proot');
  });

  test('shows the ids that were asked for', () => {
    expect(pick(planOf(on('ptrace ok\n', { args: ['--root'] })), 'proot')).toMatchObject([{ options: ['-0'] }]);
    expect(pick(planOf(on('ptrace ok\n', { args: ['--user', '33:34'] })), 'proot')).toMatchObject([
      { options: ['-i', '33:34'] },
    ]);
  });

  test('hands the working directory over, to be entered in the container', () => {
    const plan = planOf(on('ptrace ok\n', { args: ['--workdir', '/proc', '-w'] }));
    expect(pick(plan, 'proot')).toMatchObject([{ cwd: '/proc', cwdFlags: 1 }]);
  });

  test('says when a mount cannot be read-only, but not with -q', () => {
    const change = { args: ['-m', '/opt:/opt:ro'], host: { kinds: { '/opt': 'dir' as const } } };
    expect(pick(planOf(on('ptrace ok\n', change)), 'warn')).toMatchObject([
      { text: 'bundler: degraded: /opt can be written, read-only mounts need namespaces' },
    ]);
    const quiet = { ...change, args: ['-q', ...change.args] };
    expect(pick(planOf(on('ptrace ok\n', quiet)), 'warn')).toEqual([]);
  });

  test('refuses a path with a colon', () => {
    const change = { args: ['-m', '/a\\072b:/c'], host: { kinds: { '/a:b': 'dir' as const } } };
    expect(() => planOf(on('ptrace ok\n', change))).toThrow('a path with a colon cannot be shown without namespaces');
  });

  test('never unpacks into memory, which could not be mounted', () => {
    const host = { memoryAvailableBytes: 64e9, answers: { 'places 284096000': '/v space 28\n' } };
    expect(() => planOf(on('ptrace ok\n', { host }))).toThrow('cannot unpack the image');
  });
});

describe('the plan in a chroot', () => {
  const plan = () => planOf(asRoot(dockerRoot));

  test('makes devices, copies the network configuration, and tells what is missing', () => {
    expect(pick(plan(), 'node').map(({ path }) => path)).toContain('/dev/null');
    expect(pick(plan(), 'copy').map(({ path }) => path)).toContain('/etc/hosts');
    expect(pick(plan(), 'warn')).toEqual([
      {
        op: 'warn',
        text: expect.stringMatching(/^bundler: degraded: without \/proc, \/sys .* BUNDLER_SANDBOX=proot$/),
      },
    ]);
    const order = names(plan());
    expect(order.indexOf('chroot')).toBeLessThan(order.indexOf('cwd'));
    expect(order.slice(-3)).toEqual(['noNewPrivs', 'env', 'exec']);
  });

  test('tells of a mount that may fail and does', () => {
    const args = ['-m', '/opt:/opt:rbind,nofail'];
    const some = planOf(asRoot(dockerRoot, { args, host: { kinds: { '/opt': 'dir' } } }));
    expect(pick(some, 'warn').map(({ text }) => text)).toContain('bundler: degraded: /opt cannot be mounted');
    expect(mountOptions.nofail).toBe(8);
  });
});
