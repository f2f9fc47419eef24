// SPDX-License-Identifier: Apache-2.0
// Images of Debian packages, as people make them (test/support/build-real-images).
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { compileNative } from '../native/compile.ts';
import { listTree } from '../native/image-rig.ts';
import { bundler, makeBundle } from '../support/bundle.ts';
import { type RealImage, readMountedTree, realImages, withRealImages } from '../support/real-images.ts';
import { type Ran, run } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

const names: readonly RealImage[] = ['packages', 'upgraded', 'owners', 'server', 'static'];
const user = ordinaryUser();
const needing = withRealImages('root', 'bundler', 'umoci');
const launching = withRealImages('root', 'bundler', 'userns', 'fuse');
const imported = new Map<RealImage, Promise<string>>();

/** The image as a file, imported once by an ordinary user. */
function importImage(name: RealImage): Promise<string> {
  const made = imported.get(name) ?? importAnew(name);
  imported.set(name, made);
  return made;
}

async function importAnew(name: RealImage): Promise<string> {
  const file = path.join(makeDir(user, 'real'), `${name}.sqsh`);
  const ran = await run([bundler, 'import', '--quiet', '-o', file, `oci:${realImages}:${name}`], {
    user,
    timeoutMs: 120_000,
  });
  expect(ran, ran.stderr).toMatchObject({ status: 0, stdout: '', stderr: '' });
  return file;
}

beforeAll(() => {
  compileNative('dump-image');
});

/** What import adds: its own files, and directories that they and WORKDIR need. */
const added = /^\/(etc\/(rc|rc\.local|environment|fstab|bundler|bundler\/.*)|srv\/app|work) /;

interface Listing {
  /** Names of directories whose time says nothing. */
  readonly untimed: ReadonlySet<string>;
  readonly lines: readonly string[];
}

const nameOf = (line: string): string => line.split(' ', 1)[0] as string;
const isDirectory = (line: string): boolean => / dir( |$)/.test(line);

/** In the order of names, without what import adds, and without the times of some directories. */
function simplify({ lines, untimed }: Listing): string[] {
  const hasEtc = lines.some((line) => line.startsWith('/etc/') && !added.test(line));
  const kept = lines.filter((line) => line !== '' && !added.test(line) && (hasEtc || nameOf(line) !== '/etc'));
  return kept
    .map((line) => {
      const [name = '', mode, owner, , ...rest] = line.split(' ');
      return isDirectory(line) && untimed.has(name) ? [name, mode, owner, '-', ...rest].join(' ') : line;
    })
    .sort();
}

async function listImage(name: RealImage): Promise<string[]> {
  return await dump(await importImage(name));
}

async function dump(image: string): Promise<string[]> {
  const dumped = await run([compileNative('dump-image'), image], { user: { uid: 0, home: '/' } });
  expect(dumped.status, dumped.stderr).toBe(0);
  return dumped.bytes.toString('latin1').split('\n');
}

describe('a real image', () => {
  for (const name of names) {
    needing(
      `${name}: is the tree that umoci unpack makes of it`,
      async () => {
        const found = await listImage(name);
        const bundle = path.join(makeDir(user, 'unpacked'), 'bundle');
        const startSeconds = Math.floor(Date.now() / 1000);
        execFileSync('umoci', ['unpack', '--image', `${realImages}:${name}`, bundle], { stdio: 'pipe' });
        const lines = listTree(path.join(bundle, 'rootfs'));
        execFileSync('rm', ['-rf', '--one-file-system', bundle]);
        // umoci leaves the present time on directories that no layer describes and on those that it removed something from.
        const present = lines.filter((line) => isDirectory(line) && Number(line.split(' ')[3]) >= startSeconds);
        const untimed = new Set(['', '/etc', ...present.map(nameOf)]);
        expect(simplify({ lines: found, untimed })).toEqual(simplify({ lines, untimed }));
      },
      240_000,
    );

    needing(
      `${name}: is what buildah had mounted`,
      async () => {
        const found = await listImage(name);
        const lines = readMountedTree(name);
        // buildah puts no directory into a layer of which the time alone is another one, and never the root.
        const untimed = new Set(lines.filter(isDirectory).map(nameOf));
        const wanted = simplify({ lines, untimed }).filter((line) => nameOf(line) !== '');
        const got = simplify({ lines: found, untimed }).filter((line) => nameOf(line) !== '');
        // Nor a file that was written again with the same size within the same second: dpkg's scripts do that to /etc/group- and its like.
        const differing = wanted.filter((line) => !got.includes(line)).map(nameOf);
        expect(differing.filter((each) => !/^\/etc\/(passwd|group|shadow|gshadow)-$/.test(each))).toEqual([]);
        expect(got.map(nameOf)).toEqual(wanted.map(nameOf));
      },
      120_000,
    );
  }
});

/** A file of an image. */
function readFrom(image: string, file: string): string {
  return execFileSync('unsquashfs', ['-cat', image, file], { encoding: 'utf8' });
}

async function start(name: RealImage, ...args: string[]): Promise<Ran> {
  const bundle = makeBundle((await importImage(name)) as `/${string}`);
  return run([bundle, ...args], { user });
}

needing('an image with layers of zstd is the same', async () => {
  const file = path.join(makeDir(user, 'real'), 'zstd.sqsh');
  const ran = await run([bundler, 'import', '--quiet', '-o', file, `oci:${realImages}:owners-zstd`], { user });
  expect(ran, ran.stderr).toMatchObject({ status: 0 });
  const lines = await dump(file);
  const untimed = new Set<string>();
  expect(simplify({ lines, untimed })).toEqual(simplify({ lines: await listImage('owners'), untimed }));
});

describe('a real image, imported and made a bundle,', () => {
  launching('runs ENTRYPOINT with CMD in WORKDIR, which is made', async () => {
    expect(await start('packages')).toMatchObject({ status: 0, stdout: '3 /srv/app\n', stderr: '' });
    const script = 'import os; print(os.environ["GREETING"])';
    expect(await start('packages', '--', '-c', script)).toMatchObject({
      status: 0,
      stdout: 'hello world\n',
      stderr: '',
    });
  });

  launching('runs dpkg, which finds its packages whole', async () => {
    expect(await start('upgraded')).toMatchObject({ status: 0, stdout: '', stderr: '' });
    const listed = await start('upgraded', 'dpkg-query', '-W', '-f', `\${Package} \${Status}\n`, 'tar', 'less', 'cron');
    expect(listed.stdout).toMatch(/^tar install ok installed$/m);
    expect(listed.stdout).not.toMatch(/^(less|cron) .* (ok installed|config-files)$/m);
    const shown = await start('upgraded', 'sh', '-c', 'ls /etc/apt /srv/; ls -d /usr/share/zoneinfo/new /media');
    expect(shown.stdout).toBe('/etc/apt:\nonly\n\n/srv/:\nagain\n/usr/share/zoneinfo/new\n');
    expect(shown.stderr).toMatch(/^ls: cannot access '\/media'/);
    expect((await listImage('upgraded')).find((line) => line.startsWith('/mnt '))).toMatch(/^\/mnt 40755 7:8 /);
  });

  launching('runs as its USER, with its owners and links', async () => {
    expect((await start('owners')).stdout).toMatch(/^git version 2\./);
    const script =
      'id -un; pwd; cat /opt/deep; tail -c 4 /opt/sparse; stat -Lc "%h %s" /usr/bin/git /opt/deep /opt/sparse';
    const shown = await start('owners', '--entrypoint', 'sh', '--', '-c', script);
    expect(shown).toMatchObject({
      status: 0,
      stderr: '',
      stdout: expect.stringMatching(/^worker\n\/home\/worker\ndeep\nend\n2 \d{7}\n2 5\n1 52428804\n$/),
    });
  });

  launching('keeps capabilities and setuid bits in the image', async () => {
    const lines = await listImage('owners');
    const find = (name: string): string => lines.find((line) => line.startsWith(`${name} `)) ?? '';
    expect(find('/usr/bin/ping')).toMatch(/^\S+ 100755 .* security\.capability=20:/);
    expect(find('/usr/bin/sudo')).toMatch(/^\S+ 104755 0:0 /);
    expect(find('/usr/bin/ssh-agent')).toMatch(/^\S+ 102755 0:\d\d+ /);
    expect(find('/usr/lib/dbus-1.0/dbus-daemon-launch-helper')).toMatch(/^\S+ 104754 0:\d\d+ /);
    expect(find('/opt/sticky')).toMatch(/^\S+ 43777 /);
    expect(lines.filter((line) => / (\d+):4000000 /.test(line))).not.toEqual([]);
  });

  launching('has the files that enroot starts it by', async () => {
    const image = await importImage('server');
    const rc = readFrom(image, 'etc/rc');
    expect(rc).toContain(`# enroot-provenance: oci:${realImages}:server\n`);
    expect(rc).toContain('\n# org.example.title a server\n');
    expect(rc).toContain("\n# org.example.quote it's $HOME\n");
    expect(rc).toContain("\ncd '/var/www/html' && unset OLDPWD || exit 1\n");
    expect(readFrom(image, 'etc/environment')).toBe('GREETING=it\'s "5"\nNGINX_VERSION=1\n');
    expect(readFrom(image, 'etc/fstab')).toBe(
      `\${ENROOT_ROOTFS}/data /data none x-create=dir,bind,rw,nosuid,nodev\n` +
        `\${ENROOT_ROOTFS}/var/my\\040cache /var/my\\040cache none x-create=dir,bind,rw,nosuid,nodev\n`,
    );
    const { config } = JSON.parse(readFrom(image, 'etc/bundler/image.json'));
    expect(config.config).toMatchObject({
      StopSignal: 'SIGQUIT',
      ExposedPorts: { '80': {} },
      User: 'www-data:www-data',
    });
  });

  launching('serves through directories that became links', async () => {
    const shown = await start('server');
    expect(shown).toMatchObject({ status: 0, stdout: 'it\'s "5" from /var/www/html\n' });
    expect(shown.stderr).toMatch(/^nginx version: /);
    const script =
      'id -un; cat /usr/share/nginx/html/index.html /srv/www/html/b.html /etc/nginx/sites-available.d/none; readlink /var/www';
    expect((await start('server', 'sh', '-c', script)).stdout).toBe(
      'it\'s "5" from /var/www/html\nwww-data\nserved\nb\n# none\n/srv/www\n',
    );
    // The volumes are made where they are missing.
    const touch = 'touch /data/x "/var/my cache/x" && ls /data /var/my*';
    const made = await start('server', '--rw', 'sh', '-c', touch);
    expect(made.stdout, made.stderr).toContain('/data:\nx\n\n/var/my cache:\nx\n');
  });

  launching('is started by its /etc/rc as by its configuration', async () => {
    for (const name of ['packages', 'upgraded', 'owners', 'server'] as const) {
      const [direct, byRc] = [await start(name), await start(name, '--entrypoint', '/bin/sh', '--', '/etc/rc')];
      expect(byRc, name).toEqual(direct);
    }
    const given = await start('owners', '--entrypoint', '/bin/sh', '--', '/etc/rc', 'config', '--get', 'no.such');
    expect(given).toMatchObject({ status: 1, stdout: '', stderr: '' });
  });

  launching('needs no shell', async () => {
    expect(await start('static')).toMatchObject({
      status: 0,
      stdout: '[one][two words] in /work for nobody\n',
      stderr: '',
    });
    expect(await start('static', 'mine')).toMatchObject({
      status: 0,
      stdout: '[mine] in /work for nobody\n',
      stderr: '',
    });
  });

  launching('tells where it came from', async () => {
    const told = await start('static', '--info');
    expect(told.stdout).toContain(`\nImported from: oci:${realImages}:static\n`);
  });
});
