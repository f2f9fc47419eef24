// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the planner, not JavaScript, expands these
import { describe, expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import { layersQuestion } from '../../runtime/layer.ts';
import { planLaunch } from '../../runtime/plan-launch.ts';
import { encodePlan } from '../../src/format/wire.ts';
import { type Change, makeInput, names, pick, planOf, shownFile } from './launch-fixture.ts';

const noFuse = { fuse: 'open 2' };
const places = (lines: string) => ({ answers: { 'places 284096000': lines } });

describe('planLaunch: the payload', () => {
  test('is served in place, read-only, without overlay', () => {
    const plan = planOf();
    expect(names(plan)).toEqual([
      ...[
        'entry',
        'share',
        'serve',
        'userns',
        'unshare',
        'root',
        'mount',
        'pivot',
        'cwd',
        'noNewPrivs',
        'dropCaps',
        'env',
        'exec',
      ],
    ]);
    expect(pick(plan, 'serve')).toEqual([
      {
        op: 'serve',
        file: '',
        offset: 28_000_256,
        sizeBytes: 90_001_408,
        uid: 4242,
        gid: 4242,
        threads: 0,
        cacheBytes: 0,
        flags: 0,
      },
    ]);
    expect(pick(plan, 'root')).toMatchObject([{ driver: 1, flags: 1 }]);
  });

  test('gets an overlay with --rw', () => {
    const plan = planOf({ args: ['--rw'] });
    expect(names(plan)).toContain('overlay');
    expect(names(plan)).not.toContain('readonly');
  });

  test.each<[string, Change]>([
    ['ENROOT_ROOTFS_WRITABLE=y', { env: { ENROOT_ROOTFS_WRITABLE: 'y' } }],
    ['--env ENROOT_ROOTFS_WRITABLE=1', { args: ['--env', 'ENROOT_ROOTFS_WRITABLE=1'] }],
  ])('gets an overlay with %s', (_title, change) => {
    expect(names(planOf(change))).toContain('overlay');
  });

  test.each(['n', 'no', 'NO', 'f', 'false', 'FALSE', ''])('ENROOT_ROOTFS_WRITABLE=%s means no', (value) => {
    expect(names(planOf({ env: { ENROOT_ROOTFS_WRITABLE: value } }))).not.toContain('overlay');
  });

  test('is unpacked where a place can execute, when there is no /dev/fuse', () => {
    expect(planLaunch(makeInput({ probes: noFuse }))).toEqual({ ask: ['places 284096000'] });
    const host = places('/home/ann/.cache/bundler ok 900000000000 ext4 noexec\n/var/tmp/a b ok 500000000 ext4 exec\n');
    const plan = planOf({ probes: noFuse, host });
    expect(names(plan).slice(0, 4)).toEqual(['extract', 'userns', 'unshare', 'root']);
    expect(pick(plan, 'extract')).toMatchObject([
      { place: '/var/tmp/a b', target: '', digest: 'ab'.repeat(32), flags: 0 },
    ]);
    expect(pick(plan, 'root')).toMatchObject([{ driver: 2, flags: 0 }]);
    expect(pick(plan, 'entry')).toEqual([]);
    expect(names(plan).indexOf('readonly')).toBeGreaterThan(names(plan).lastIndexOf('mount'));
  });

  test('is unpacked for --rw where overlay is refused, or no directory can hold a layer', () => {
    const ext4 = '/var/tmp/b ok 500000000 ext4 exec\n';
    const answers = { ...places(ext4).answers, [layersQuestion]: '/var/tmp/b setxattr 95\n' };
    for (const probes of [{ overlay: 'mount 1' }, { 'tmpfs-xattr': 'setxattr 95' }]) {
      const plan = planOf({ args: ['-w'], probes, host: { answers } });
      expect(pick(plan, 'extract')).toHaveLength(1);
      expect(names(plan)).not.toContain('readonly');
      expect(pick(planOf({ probes }), 'serve')).toHaveLength(1);
    }
  });

  test('goes into memory as the last resort', () => {
    const host = { ...places('/tmp/bundler-4242 space 28\n'), memoryAvailableBytes: 400e6 };
    expect(pick(planOf({ probes: noFuse, host }), 'extract')).toMatchObject([{ place: '', target: '' }]);
  });

  test('that fits nowhere is refused with each place and why', () => {
    const host = { ...places('/tmp/bundler-4242 space 28\n/v ok 9 ext4 noexec\n'), memoryAvailableBytes: 100e6 };
    expect(() => planLaunch(makeInput({ probes: noFuse, host }))).toThrow(
      new Failure(
        'cannot unpack the image: it cannot be mounted in place, because /dev/fuse is missing (open: ENOENT); 285 MB are ' +
          'needed, and no directory can take them: /tmp/bundler-4242 (space: ENOSPC), /v (noexec); memory has 100 MB',
        'sudo modprobe fuse; in docker: docker run --device /dev/fuse',
      ),
    );
  });

  test('is kept in the target with --keep, and reused', () => {
    const plan = planOf({ args: ['--keep'] });
    expect(pick(plan, 'extract')).toMatchObject([{ place: '', target: '/work/np', flags: 3 }]);
    // Nothing of the image is replaced: our files are shown by mounts.
    expect(pick(plan, 'file')).toEqual([]);
    expect(pick(plan, 'symlink')).toEqual([]);
    expect(pick(plan, 'inject').map(({ path }) => path)).toEqual(['/etc/passwd', '/etc/group']);
  });

  test('is only extracted with --extract, also where no container can be made', () => {
    const plan = planOf({ args: ['-xq'], probes: { userns: 'unshare 28', mount: 'skipped', fuse: 'skipped' } });
    expect(names(plan)).toEqual(['extract', 'exit']);
    expect(pick(plan, 'extract')).toMatchObject([{ target: '/work/np', flags: 7 }]);
  });

  test('that is kept and written to has its accounts as files, those that were added earlier included', () => {
    const kept = { passwd: 'root:x:0:0:root:/root:/bin/bash\nbob:x:77:77::/:/bin/sh\n', group: 'root:x:0:\n' };
    const plan = planOf({ args: ['--keep', '-w'], host: { kept } });
    expect(shownFile(plan, '/etc/passwd')).toMatch(/\nann:x:4242:.*\nbob:x:77:77::\/:\/bin\/sh\n$/);
    expect(pick(plan, 'inject').map(({ path }) => path)).not.toContain('/etc/passwd');
    const passwd = shownFile(plan, '/etc/passwd') ?? '';
    const group = shownFile(plan, '/etc/group') ?? '';
    // Nothing is written when all is there.
    expect(pick(planOf({ args: ['--keep', '-w'], host: { kept: { passwd, group } } }), 'file')).toEqual([]);
    const shown = planOf({ args: ['--keep'], host: { kept } });
    expect(pick(shown, 'inject').find(({ path }) => path === '/etc/passwd')?.content).toContain('\nbob:');
  });

  test('is temporary in a --target without --keep', () => {
    const plan = planOf({ args: ['--target', '/scratch/x/'] });
    expect(pick(plan, 'extract')).toMatchObject([{ target: '/scratch/x', flags: 0 }]);
  });

  test.each<[string, string, Change]>([
    ['${HOME}/c', '/home/ann/c', {}],
    ['$HOME/c', '/home/ann/c', {}],
    ['~/c', '/home/ann/c', {}],
    ['${XDG:-${HOME}/.local}/c', '/home/ann/.local/c', {}],
    ['${XDG:-x}/c', '/data/c', { env: { XDG: '/data' } }],
    ['rel/c', '/work/rel/c', {}],
    ['${PWD}/c', '/work/c', {}],
  ])('target %s is %s', (text, path, change) => {
    const options = { target: text, env: [], rc: null, entrypoint: null };
    expect(pick(planOf({ ...change, args: ['-k'], manifest: { options } }), 'extract')).toMatchObject([
      { target: path },
    ]);
  });

  test('is mounted by the kernel for root, when asked for', () => {
    const root = { euid: 0, uid: 0, egid: 0, gid: 0 };
    const env = { BUNDLER_DRIVER: 'kernel' };
    const plan = planOf({
      env,
      request: { ...root, env },
      probes: { loop: 'ok', userns: 'unshare 1', fuse: 'skipped' },
    });
    expect(names(plan).slice(0, 3)).toEqual(['unshare', 'root', 'overlay']);
    expect(pick(plan, 'root')).toMatchObject([{ driver: 3, offset: 28_000_256 }]);
    expect(names(plan)).toContain('readonly');
    expect(() => planOf({ env })).toThrow('BUNDLER_DRIVER=kernel needs root');
    expect(() => planOf({ request: { ...root, env }, probes: { loop: 'control 2' } })).toThrow(
      'no loop device (control: ENOENT)',
    );
  });

  test('can be forced to a rung, with the probe named that fails', () => {
    const host = places('/v ok 500000000 ext4 exec\n');
    expect(pick(planOf({ env: { BUNDLER_DRIVER: 'extract' }, host }), 'extract')).toHaveLength(1);
    expect(() => planOf({ env: { BUNDLER_DRIVER: 'fuse' }, probes: noFuse })).toThrow(
      'BUNDLER_DRIVER=fuse cannot be used: /dev/fuse is missing (open: ENOENT)',
    );
    expect(() => planOf({ env: { BUNDLER_DRIVER: 'magic' } })).toThrow('BUNDLER_DRIVER=magic is not in this version');
    expect(() => planOf({ env: { BUNDLER_SANDBOX: 'cage' } })).toThrow(
      'BUNDLER_SANDBOX=cage: no such way to run a container',
    );
  });
});

describe('planLaunch: users', () => {
  test('the caller keeps his ids, and --root maps them to 0', () => {
    expect(pick(planOf(), 'userns')).toEqual([
      { op: 'userns', insideUid: 4242, insideGid: 4242, outsideUid: 4242, outsideGid: 4242 },
    ]);
    const plan = planOf({ args: ['--root'] });
    expect(pick(plan, 'userns')).toMatchObject([{ insideUid: 0, insideGid: 0, outsideUid: 4242, outsideGid: 4242 }]);
    expect(pick(plan, 'serve')).toMatchObject([{ uid: 0, gid: 0 }]);
    expect(names(plan)).not.toContain('dropCaps');
    expect(names(plan)).toContain('noNewPrivs');
    expect(shownFile(plan, '/etc/apt/apt.conf.d/enroot')).toContain('APT::Sandbox::User "root"');
  });

  test('the home directory is there, and is where the command starts', () => {
    const plan = planOf();
    expect(pick(plan, 'entry')).toContainEqual({ op: 'entry', kind: 1, path: '/home/ann', mode: 0o700, data: '' });
    expect(pick(plan, 'cwd')).toEqual([{ op: 'cwd', path: '/home/ann', flags: 2 }]);
  });
});

describe('planLaunch: a home directory in /tmp', () => {
  const request = { env: { HOME: '/tmp/h' } };
  const host = { passwdLine: '' };

  test('is made on its tmpfs, before the mounts of the user', () => {
    const plan = planOf({ args: ['-m', '/data:/tmp'], request, host: { ...host, kinds: { '/data': 'dir' } } });
    const at = plan.findIndex((op) => op.op === 'mkdir' && op.path === '/tmp/h' && op.mode === 0o700);
    expect(at).toBeGreaterThan(
      plan.findIndex((op) => op.op === 'mount' && op.target === '/tmp' && op.type === 'tmpfs'),
    );
    expect(at).toBeLessThan(plan.findIndex((op) => op.op === 'mount' && op.source === '/data'));
  });

  test('leaves nothing in a kept root', () => {
    const plan = planOf({ args: ['-k'], request, host });
    const root = plan.findIndex(({ op }) => op === 'root');
    const tmpfs = plan.findIndex((op) => op.op === 'mount' && op.target === '/tmp');
    expect(plan.slice(root, tmpfs).some((op) => op.op === 'mkdir' && op.path.startsWith('/tmp/'))).toBe(false);
  });

  test.each(['/', '/dev/null', '/proc/x', '/nonexistent'])('that is %s is not made', (home) => {
    const plan = planOf({ request: { env: { HOME: home } }, host });
    expect(plan.some((op) => (op.op === 'mkdir' || op.op === 'entry') && op.path === home && op.mode === 0o700)).toBe(
      false,
    );
  });
});

describe('planLaunch: the command', () => {
  const noRc = { rc: false };
  const config = { entrypoint: ['/bin/app'], cmd: ['serve', '-v'], env: [], workdir: '/srv', user: '' };
  const argv = (change: Change) => pick(planOf(change), 'exec')[0]?.argv;

  test.each<[string, Change, string[]]>([
    ['/etc/rc of the image', { args: ['a', 'b'] }, ['/bin/sh', '/etc/rc', 'a', 'b']],
    ['ENTRYPOINT and CMD', { rootfs: noRc, manifest: { config } }, ['/bin/app', 'serve', '-v']],
    ['ENTRYPOINT and arguments', { rootfs: noRc, manifest: { config }, args: ['x'] }, ['/bin/app', 'x']],
    [
      'ENTRYPOINT, when there is an rc but no shell',
      { rootfs: { shell: false }, manifest: { config } },
      ['/bin/app', 'serve', '-v'],
    ],
    ['the arguments', { rootfs: { ...noRc, shell: false }, args: ['/hello', 'a b'] }, ['/hello', 'a b']],
    ['a shell', { rootfs: noRc }, ['/bin/bash']],
    ['--entrypoint', { args: ['--entrypoint', 'sh', 'a'] }, ['sh', 'a']],
    ['--entrypoint "" and arguments', { args: ['--entrypoint', '', 'id', '-u'] }, ['id', '-u']],
  ])('is %s', (_title, change, wanted) => {
    expect(argv(change)).toEqual(wanted);
  });

  test('is the script given with --rc, with its own interpreter', () => {
    const host = { files: { 'my.sh': '#!/usr/bin/python3 -u\nprint(1)\n' } };
    const plan = planOf({ args: ['--rc', 'my.sh', 'a'], host });
    expect(pick(plan, 'exec')[0]?.argv).toEqual(['/usr/bin/python3', '-u', '/etc/rc', 'a']);
    expect(shownFile(plan, '/etc/rc')).toBe(host.files['my.sh']);
    expect(argv({ args: ['--rc', 'r'], host: { files: { r: 'echo hi\n' } } })).toEqual(['/bin/sh', '/etc/rc']);
  });

  test('is the script that make embedded', () => {
    const options = { target: '', env: [], rc: 'exec "$@"\n', entrypoint: null };
    expect(argv({ manifest: { options }, args: ['x'] })).toEqual(['/bin/sh', '/etc/rc', 'x']);
    expect(argv({ manifest: { options }, args: ['--entrypoint', '/x'] })).toEqual(['/x']);
  });

  test('that is nothing at all is an error', () => {
    expect(() => planOf({ rootfs: { rc: false, shell: false } })).toThrow(
      'no command: the image names none and has no shell',
    );
  });

  test("starts in --workdir, or in the image's directory when no script runs", () => {
    expect(pick(planOf({ args: ['--workdir', '/x'] }), 'cwd')).toMatchObject([{ path: '/x', flags: 0 }]);
    expect(pick(planOf({ args: ['-w', '--workdir', '/x'] }), 'cwd')).toMatchObject([{ path: '/x', flags: 1 }]);
    expect(pick(planOf({ rootfs: noRc, manifest: { config } }), 'cwd')).toMatchObject([{ path: '/srv' }]);
    expect(pick(planOf({ manifest: { config } }), 'cwd')).toMatchObject([{ path: '/home/ann' }]);
  });

  test('is looked up in the PATH of its own environment', () => {
    expect(pick(planOf({ args: ['-e', 'PATH=/opt'] }), 'exec')).toMatchObject([{ search: '/opt' }]);
  });
});

describe('planLaunch: as data', () => {
  test('a launch can be written as JSON and planned again', () => {
    const change: Change = {
      args: ['-w', '-m', '/etc/hosts:/x', '--env', 'A=\xff', 'cmd'],
      host: { kinds: { '/etc/hosts': 'file' } },
    };
    const input = makeInput(change);
    const again = planLaunch(JSON.parse(JSON.stringify(input)));
    expect(again).toEqual(planLaunch(input));
  });

  test('every plan can be sent', () => {
    const host = places('/v ok 500000000 ext4 exec\n');
    for (const change of [{}, { args: ['-w'] }, { args: ['-k'] }, { args: ['-x'] }, { probes: noFuse, host }]) {
      expect(encodePlan(planOf(change)).length).toBeGreaterThan(100);
    }
  });

  test('the tool itself, which holds no image, cannot be run so', () => {
    const { image: _image, ...rest } = makeInput().manifest;
    expect(() => planLaunch({ ...makeInput(), manifest: rest })).toThrow('this file holds no image to run');
  });
});
