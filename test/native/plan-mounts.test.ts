// SPDX-License-Identifier: Apache-2.0
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { type Op, mountOptions as option } from '../../src/format/plan.ts';
import { testNeeding } from '../support/features.ts';
import { compileProgram } from '../support/programs.ts';
import { Running } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';
import {
  bindDev,
  bindProc,
  type Image,
  MS,
  makeBusyboxImage,
  mount,
  planFor,
  planRun,
  runPlan,
  shPlan,
  startPlan,
  writePlan,
} from './plan-rig.ts';

const needing = testNeeding('root', 'userns', 'fuse', 'mksquashfs', 'busybox');
const overlay: Op = { op: 'overlay', upper: '', work: '', sizeBytes: 0 };
const base = [bindProc, bindDev];
let image: Image;

beforeAll(() => {
  image = makeBusyboxImage((root) => {
    mkdirSync(path.join(root, 'old/deep'), { recursive: true });
    writeFileSync(path.join(root, 'old/deep/file'), 'old\n');
    symlinkSync('/etc/target', path.join(root, 'etc/dangling'));
    symlinkSync('../../../../../usr', path.join(root, 'etc/up'));
    symlinkSync('/', path.join(root, 'slash'));
  });
});

/** The mountinfo options of a mountpoint (its own and the file system's) and its optional fields. */
const infoOf = (point: string) => `awk '$5 == "${point}" { print $6, $7 }' /proc/self/mountinfo | tail -1`;

/** A directory of the user's with a file in it. */
function hostDir(name = 'source'): string {
  const dir = makeDir(ordinaryUser(), name);
  writeFileSync(path.join(dir, 'file'), 'host\n');
  return dir;
}

describe('the root', () => {
  needing('by fuse is read-only, nosuid and nodev', async () => {
    expect(await shPlan(image, infoOf('/'))).toMatch(/^ro,nosuid,nodev/);
  });

  needing('by directory is bound nosuid and nodev, and read-only where asked for', async () => {
    expect(await shPlan(image, infoOf('/'), { driver: 'directory' })).toMatch(/^rw,nosuid,nodev/);
    expect(await shPlan(image, infoOf('/'), { driver: 'directory', readonly: true })).toMatch(/^ro,nosuid,nodev/);
  });

  needing('is made read-only by readonly, and mounts inside stay as they are', async () => {
    const inside = [...base, mount({ source: 'x', target: '/tmp', type: 'tmpfs' }), { op: 'readonly' } as Op];
    const script = `${infoOf('/')}; ${infoOf('/tmp')}; touch /tmp/x; ! touch /x 2>/dev/null`;
    expect(await shPlan(image, script, { driver: 'memory', inside })).toMatch(/^ro,nosuid,nodev,.*\nrw,/);
  });
});

describe('an overlay', () => {
  needing('makes everything writable: create, append, remove, rename, chmod, replace a directory', async () => {
    const script = `
      echo more >> /etc/passwd; rm -rf /old; mkdir /old; ls -A /old | wc -l; mv /usr/bin /usr/sbin; chmod 700 /root; echo x > /new
      stat -c %a / /root; wc -l < /etc/passwd; ls /usr; rm -rf /usr; ! test -e /usr; ${infoOf('/')}`;
    expect(await shPlan(image, script, { inside: [overlay, ...base] })).toMatch(
      /^0\n755\n700\n2\nsbin\nrw,nosuid,nodev/,
    );
  });

  needing('changes nothing in the next run', async () => {
    await shPlan(image, 'rm /etc/passwd', { inside: [overlay, ...base] });
    expect(await shPlan(image, 'wc -l < /etc/passwd', { inside: [overlay, ...base] })).toBe('1\n');
  });

  needing('holds what its size allows and no more', async () => {
    const script =
      'head -c 1000000 /dev/zero > /fits; ! head -c 8000000 /dev/zero > /too-much; ls -l /fits | tr -s " " | cut -d" " -f5';
    expect(await shPlan(image, script, { inside: [{ ...overlay, sizeBytes: 4 << 20 } as Op, ...base] })).toBe(
      '1000000\n',
    );
  });

  needing('on directories that are named stays after the run', async () => {
    const dir = hostDir('layers');
    const named: Op = { op: 'overlay', upper: path.join(dir, 'upper'), work: path.join(dir, 'work'), sizeBytes: 0 };
    await shPlan(image, 'echo kept > /etc/kept; rm /etc/hosts', { inside: [named, ...base] });
    expect(readFileSync(path.join(dir, 'upper/etc/kept'), 'utf8')).toBe('kept\n');
    expect(await shPlan(image, 'cat /etc/kept; ! test -e /etc/hosts', { inside: [named, ...base] })).toBe('kept\n');
  });
});

describe('a mount', () => {
  needing('binds with its flags, and propagation after', async () => {
    const dir = hostDir();
    const inside = [
      ...base,
      mount({
        source: dir,
        target: '/tmp',
        msFlags: MS.BIND | MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC,
        propagation: MS.PRIVATE,
      }),
    ];
    expect(await shPlan(image, `cat /tmp/file; ${infoOf('/tmp')}`, { inside })).toMatch(
      /^host\nro,nosuid,nodev,noexec,\S+ -\n$/,
    );
  });

  needing('keeps the restrictions that the host put on its source', async () => {
    const inside = [
      bindProc,
      bindDev,
      mount({ source: '/sys', target: '/sys', msFlags: MS.BIND | MS.REC | MS.RDONLY }),
      mount({ source: '/proc', target: '/tmp', msFlags: MS.BIND | MS.REC | MS.NOATIME }),
    ];
    expect(await shPlan(image, `${infoOf('/sys')}; ${infoOf('/tmp')}; ${infoOf('/proc')}`, { inside })).toMatch(
      /^ro,.*\nrw,.*relatime.*\nrw,nosuid,nodev,noexec,/,
    );
  });

  needing('takes its source relative to the working directory', async () => {
    const dir = hostDir();
    const inside = [...base, mount({ source: 'file', target: '/etc/hosts', msFlags: MS.BIND })];
    expect(await shPlan(image, 'cat /etc/hosts', { inside }, { cwd: dir })).toBe('host\n');
  });

  needing('takes its source below a directory that the root covers', async () => {
    const dir = hostDir();
    expect(dir.startsWith('/tmp/')).toBe(true);
    expect(
      await shPlan(image, 'cat /root/file', {
        inside: [mount({ source: dir, target: '/root', msFlags: MS.BIND }), ...base],
      }),
    ).toBe('host\n');
  });

  needing('takes a source that has the covered directory below it, as the host has it', async () => {
    const dir = hostDir();
    const inside = [
      mount({ source: '/', target: '/root', msFlags: MS.BIND | MS.REC }),
      mount({ source: '/tmp', target: '/usr', msFlags: MS.BIND | MS.REC }),
      ...base,
    ];
    const script = `cat /root${dir}/file /usr${dir.slice(4)}/file`;
    for (const driver of ['fuse', 'directory', 'memory'] as const)
      expect(await shPlan(image, script, { driver, inside })).toBe('host\nhost\n');
  });

  needing('makes its mountpoint: a directory, a file, or as the source is', async () => {
    const dir = hostDir();
    const inside = [
      overlay,
      ...base,
      mount({ source: dir, target: '/a/b/c', msFlags: MS.BIND, options: option.createDir }),
      mount({ source: path.join(dir, 'file'), target: '/a/file', msFlags: MS.BIND, options: option.createFile }),
      mount({ source: dir, target: '/auto/dir', msFlags: MS.BIND, options: option.createAuto }),
      mount({ source: path.join(dir, 'file'), target: '/auto/file', msFlags: MS.BIND, options: option.createAuto }),
      mount({ source: 'none', target: '/auto/tmpfs', type: 'tmpfs', data: 'mode=711', options: option.createAuto }),
    ];
    const script = 'cat /a/b/c/file /a/file /auto/dir/file /auto/file; stat -c %a /a /auto/tmpfs';
    expect(await shPlan(image, script, { inside })).toBe('host\nhost\nhost\nhost\n755\n711\n');
  });

  needing('needs no mountpoint made that is there, on a read-only root too', async () => {
    const dir = hostDir();
    const inside = [...base, mount({ source: dir, target: '/usr/bin', msFlags: MS.BIND, options: option.createDir })];
    expect(await shPlan(image, 'cat /usr/bin/file', { inside })).toBe('host\n');
    const ran = await runPlan(
      planFor(image, { inside: [mount({ source: dir, target: '/new', msFlags: MS.BIND, options: option.createDir })] }),
    );
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/mountpoint \/new .*Read-only file system\n {2}try: /);
  });

  needing('of a source that is missing: fails, or is passed over with or without a word', async () => {
    const gone = (options: number) =>
      planFor(image, {
        inside: [...base, mount({ source: '/no/such', target: '/tmp', msFlags: MS.BIND, options })],
        command: ['echo', 'on'],
      });
    expect(await runPlan(gone(0))).toMatchObject({
      status: 125,
      stdout: '',
      stderr: 'bundler: open /no/such, to be mounted on /tmp: No such file or directory\n',
    });
    expect(await runPlan(gone(option.nofail))).toMatchObject({
      status: 0,
      stdout: 'on\n',
      stderr: expect.stringContaining('/no/such'),
    });
    expect(await runPlan(gone(option.nofail | option.silent))).toMatchObject({ status: 0, stdout: 'on\n', stderr: '' });
  });

  needing('of a file on a directory is refused in plain words', async () => {
    const ran = await runPlan(
      planFor(image, { inside: [mount({ source: '/etc/passwd', target: '/tmp', msFlags: MS.BIND })] }),
    );
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(
      /bind \/etc\/passwd on \/tmp: Not a directory\n {2}try: one of source and mountpoint is a directory/,
    );
  });

  needing('on the root directory itself is refused', async () => {
    for (const target of ['/', '/slash', '/etc/..', '../..']) {
      const ran = await runPlan(planFor(image, { inside: [mount({ source: 'x', target, type: 'tmpfs' })] }));
      expect(ran.status).toBe(125);
      expect(ran.stderr).toContain('on the root directory');
    }
  });

  needing('with a source inside the root, moved, and detached', async () => {
    const inside = [
      ...base,
      mount({ source: '/old/deep', target: '/root', msFlags: MS.BIND, options: option.inside }),
      mount({ source: 'x', target: '/var', type: 'tmpfs', data: 'size=64k' }),
      mount({ source: '/var', target: '/usr', options: option.inside | option.move }),
      mount({ source: 'x', target: '/tmp', type: 'tmpfs' }),
      mount({ target: '/tmp', options: option.detach }),
    ];
    const script =
      'cat /root/file; grep -c " /tmp " /proc/self/mountinfo || true; grep -c " /var " /proc/self/mountinfo || true; df -k /usr | tail -1 | tr -s " " | cut -d" " -f2';
    expect(await shPlan(image, script, { inside })).toBe('old\n0\n0\n64\n');
  });

  needing('is remounted with other flags, also back to writable when the restriction was ours', async () => {
    const dir = hostDir();
    const inside = [
      ...base,
      mount({ source: dir, target: '/tmp', msFlags: MS.BIND | MS.RDONLY }),
      mount({ source: dir, target: '/root', msFlags: MS.BIND }),
      mount({ target: '/root', msFlags: MS.REMOUNT | MS.BIND | MS.RDONLY | MS.NOEXEC }),
      mount({ target: '/tmp', msFlags: MS.REMOUNT | MS.BIND }),
    ];
    expect(await shPlan(image, `${infoOf('/tmp')}; ${infoOf('/root')}`, { inside })).toMatch(/^rw,.*\nro,.*noexec/);
  });

  needing('of a new proc without a pid namespace says what to do instead', async () => {
    const ran = await runPlan(planFor(image, { inside: [mount({ source: 'proc', target: '/proc', type: 'proc' })] }));
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(
      /mount proc on \/proc \(type proc\): Operation not permitted\n {2}try: .*bind the host's \/proc/,
    );
  });

  needing('of file systems that belong to the new namespaces', async () => {
    const inside = [
      ...base,
      mount({ source: 'sysfs', target: '/sys', type: 'sysfs', msFlags: MS.NOSUID }),
      mount({ source: 'mqueue', target: '/var', type: 'mqueue' }),
      mount({ source: 'devpts', target: '/usr', type: 'devpts', data: 'newinstance,ptmxmode=0666' }),
    ];
    expect(await shPlan(image, 'ls /sys/class/net; ls /usr/ptmx', { inside, unshare: 1 + 4 + 8 })).toBe(
      'lo\n/usr/ptmx\n',
    );
  });
});

describe('entries made in the root', () => {
  needing(
    'mkdir, file and symlink make parents, replace what is there, and have their modes whatever the umask',
    async () => {
      const inside: Op[] = [
        overlay,
        ...base,
        { op: 'mkdir', path: '/made/here', mode: 0o1777 },
        { op: 'mkdir', path: '/etc', mode: 0o700 },
        { op: 'file', path: '/etc/passwd', mode: 0o600, content: 'new\n' },
        { op: 'file', path: '/x/y/z', mode: 0o4755, content: 'z\n' },
        { op: 'symlink', path: '/etc/hosts', target: '/x/y/z' },
        { op: 'symlink', path: '/deep/link', target: 'nowhere' },
      ];
      const script =
        'umask; stat -c "%a %n" /made /made/here /etc /etc/passwd /x/y/z; cat /etc/passwd; readlink /etc/hosts; readlink /deep/link; ls -A /etc | grep -c bundler || true';
      const shown = await shPlan(image, script, { inside }, { before: ['sh', '-c', 'umask 027; exec "$@"', 'sh'] });
      expect(shown).toBe(
        '0027\n755 /made\n1777 /made/here\n755 /etc\n600 /etc/passwd\n4755 /x/y/z\nnew\n/x/y/z\nnowhere\n0\n',
      );
    },
  );

  needing('file and symlink replace a symlink itself; a directory is not replaced', async () => {
    const inside: Op[] = [
      overlay,
      ...base,
      { op: 'file', path: '/etc/dangling', mode: 0o644, content: 'here\n' },
      { op: 'symlink', path: '/slash', target: 'etc' },
    ];
    expect(
      await shPlan(image, 'test -f /etc/dangling; test ! -L /etc/dangling; test ! -e /etc/target; readlink /slash', {
        inside,
      }),
    ).toBe('etc\n');
    for (const op of [
      { op: 'file', path: '/old', mode: 0o644, content: '' },
      { op: 'symlink', path: '/old', target: 'x' },
    ] as Op[]) {
      const ran = await runPlan(planFor(image, { inside: [overlay, op] }));
      expect(ran).toMatchObject({
        status: 125,
        stderr: expect.stringMatching(/\/old in the root filesystem: Is a directory/),
      });
    }
  });

  needing('inject shows a read-only file and leaves the root as it was', async () => {
    const inside: Op[] = [
      ...base,
      { op: 'inject', path: '/etc/passwd', mode: 0o640, content: 'shown\n' },
      { op: 'inject', path: '/etc/hosts', mode: 0o644, content: 'two\n' },
    ];
    const script = `cat /etc/passwd /etc/hosts; stat -c %a /etc/passwd; ! echo x > /etc/passwd; ${infoOf('/etc/passwd')}`;
    for (const driver of ['fuse', 'directory'] as const) {
      expect(await shPlan(image, script, { driver, inside })).toMatch(/^shown\ntwo\n640\nro,nosuid,nodev/);
    }
    expect(readFileSync(path.join(image.root, 'etc/passwd'), 'utf8')).toContain('root');
    const made: Op[] = [overlay, ...base, { op: 'inject', path: '/new/file', mode: 0o644, content: 'made\n' }];
    expect(await shPlan(image, 'cat /new/file', { inside: made })).toBe('made\n');
  });
});

describe('a hostile image', () => {
  /** A directory of the host that the image's links point to, as hard as they can. */
  const trap = (() => {
    let dir = '';
    return () => {
      if (!dir) {
        dir = makeDir(ordinaryUser(), 'trap');
        chmodSync(dir, 0o777);
        writeFileSync(path.join(dir, 'secret'), 'secret\n');
      }
      return dir;
    };
  })();

  const links: [string, () => string][] = [
    ['an absolute link to a host directory', () => trap()],
    ['a relative link far up', () => `../../../../../../../../../..${trap()}`],
    ['a link through /proc/1/root', () => `/proc/1/root${trap()}`],
    ['a link through /proc/self/root', () => `/proc/self/root/proc/self/cwd${trap()}`],
    ['a link through an open descriptor', () => `/proc/self/fd/3${trap()}`],
    ['a link to itself', () => 'etc'],
  ];

  for (const [name, target] of links) {
    for (const sandbox of [[], ['--deny', 'openat2']] as const) {
      needing(`${name} at /etc leads to nothing outside${sandbox.length ? ', without openat2' : ''}`, async () => {
        const hostile = makeBusyboxImage((root) => {
          symlinkSync(target(), path.join(root, 'etc-new'));
          symlinkSync('etc-new', path.join(root, 'link'));
        });
        const before = sandbox.length
          ? [compileProgram('bare-host'), '--host-root', '--uid', '4242', ...sandbox, '--']
          : [];
        const attempts: Op[] = [
          { op: 'mkdir', path: '/link/made', mode: 0o755 },
          { op: 'file', path: '/link/written', mode: 0o644, content: 'x' },
          { op: 'symlink', path: '/etc-new/linked', target: 'x' },
          { op: 'inject', path: '/etc-new/injected', mode: 0o644, content: 'x' },
          mount({ source: 'x', target: '/link/mounted', type: 'tmpfs', options: option.createDir }),
          mount({ source: 'x', target: '/etc-new/secret', type: 'tmpfs', options: option.createFile }),
          mount({ source: '/etc-new', target: '/tmp', msFlags: MS.BIND, options: option.inside }),
        ];
        for (const attempt of attempts) {
          const plan = planFor(hostile, {
            inside: [overlay, ...base, attempt],
            command: ['sh', '-c', 'cat /tmp/secret /etc-new/secret 2>/dev/null; true'],
          });
          const ran = await (before.length ? runAsRoot(before, plan) : runPlan(plan));
          expect([0, 125], JSON.stringify(attempt) + ran.stderr).toContain(ran.status);
          expect(ran.stdout, JSON.stringify(attempt)).not.toContain('secret');
          expect(readdirSync(trap())).toEqual(['secret']);
          expect(existsSync(`/proc/1/root${trap()}/made`)).toBe(false);
        }
      });
    }
  }
});

/** bare-host itself needs root; it drops to the user. */
async function runAsRoot(before: readonly string[], plan: Parameters<typeof runPlan>[0]) {
  return new Running([...before, planRun(), writePlan(plan)], { env: { PATH: '/usr/bin:/bin' } }).end();
}

describe('a mount made by the container', () => {
  needing('never has peers on the host', async () => {
    const running = startPlan(
      planFor(image, { command: ['sh', '-c', 'echo up; read x; grep -c " shared:" /proc/self/mountinfo; true'] }),
    );
    await running.see(/up/);
    expect((await running.end('\n')).stdout).toBe('up\n0\n');
  });
});
