// SPDX-License-Identifier: Apache-2.0
// Where an import reads and writes: file systems, modes, full disks, homes; and that its surroundings don't show in the image.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { bundler } from '../support/bundle.ts';
import { testNeeding } from '../support/features.ts';
import { writeLayout } from '../support/oci-layout.ts';
import { pushImage } from '../support/push-image.ts';
import { makeRawTar } from '../support/raw-tar.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { run, runBare } from '../support/run.ts';
import { freshUser, makeDir, ordinaryUser } from '../support/session.ts';
import {
  expectFailure,
  expectOnlyCache,
  expectWholeBlobs,
  type Importer,
  importBytes,
  listBelow,
  listImage,
  makeImporter,
  makeLayer,
  readImageFile,
  runBundler,
} from './import-rig.ts';

const needing = testNeeding('root', 'bundler', 'registry', 'unsquashfs');

let registry: TestRegistry;
let good: Buffer;

beforeAll(async () => {
  registry = await startRegistry();
  await pushImage(registry.url, 'team/app', '1', {
    layers: [
      { tar: makeLayer('low', 3_000_000, [{ name: 'x', content: 'x', mtime: 1_500_000_000 }]) },
      { tar: makeLayer('top', 50_000) },
    ],
    config: { Cmd: ['sh'] },
  });
  good = await importBytes(makeImporter(), [name()]);
});

afterAll(async () => {
  await registry?.stop();
});

const name = () => `docker://${registry.host}/team/app:1`;

/** Runs with a small file system in memory, the user's own, at a place. */
async function onTmpfs<T>(importer: Importer, place: string, sizeBytes: number, action: () => Promise<T>): Promise<T> {
  mkdirSync(place, { recursive: true });
  const { uid } = importer.user;
  execFileSync('mount', [
    '-t',
    'tmpfs',
    '-o',
    `size=${sizeBytes},uid=${uid},gid=${uid},mode=0700`,
    'import-test',
    place,
  ]);
  try {
    return await action();
  } finally {
    execFileSync('umount', [place]);
  }
}

describe('the output', () => {
  needing('on a file system in memory, and the cache too, with a umask of 077, is the same and private', async () => {
    const importer = makeImporter();
    const place = makeDir(importer.user, 'memory');
    await onTmpfs(importer, place, 64 << 20, async () => {
      const script = 'umask 077; exec "$@"';
      const argv = ['sh', '-c', script, 'sh', bundler, 'import', '--quiet', '-o', `${place}/out.sqsh`, name()];
      const env = { ENROOT_CACHE_PATH: `${place}/cache`, ENROOT_SYSCONF_PATH: '/nonexistent' };
      expect(await run(argv, { user: importer.user, env })).toMatchObject({ status: 0, stderr: '' });
      expect(readFileSync(`${place}/out.sqsh`).equals(good)).toBe(true);
      expect(statSync(`${place}/out.sqsh`).mode & 0o777).toBe(0o600);
      expect(statSync(`${place}/cache`).mode & 0o777).toBe(0o700);
      expect(expectWholeBlobs(`${place}/cache`)).toHaveLength(4);
      expect(readdirSync(place).sort()).toEqual(['cache', 'out.sqsh']);
    });
  });

  needing('that exists is refused before anything is downloaded, and replaced with --force', async () => {
    const importer = makeImporter();
    const file = path.join(importer.dir, 'out.sqsh');
    writeFileSync(file, 'mine');
    const ran = await runBundler(importer, ['import', '-o', 'out.sqsh', name()]);
    expectFailure(ran, /cannot write out\.sqsh: it exists/, /--force/);
    expect(readFileSync(file, 'utf8')).toBe('mine');
    expect(expectWholeBlobs(importer.cache).length, 'the manifest and the configuration').toBe(2);
    expect((await importBytes(importer, [name()])).equals(good)).toBe(true);
    const again = await runBundler(importer, ['import', '-o', 'out.sqsh', name()], {
      env: { ENROOT_FORCE_OVERRIDE: 'y' },
    });
    expect(again.status, again.stderr).toBe(0);
    expect(statSync(file).mode & 0o777).toBe(0o644);
    await expectOnlyCache(importer, 'blobs');
  });

  needing('cannot be a directory, in a missing one, or in one that may not be written to', async () => {
    const importer = makeImporter();
    const { dir } = importer;
    const others = path.join(dir, 'others');
    mkdirSync(others);
    chmodSync(others, 0o755);
    for (const [file, message] of [
      ['others', /cannot write others: it is a directory/],
      ['missing/out.sqsh', /cannot write to the directory missing: no such file or directory/],
      ['others/out.sqsh', /cannot write to the directory others: permission denied/],
    ] as const) {
      expectFailure(await runBundler(importer, ['import', '-o', file, name()]), message, /--output/);
    }
    expect(listBelow(dir)).toEqual([]);
  });

  needing('that finds the disk full says so, and nothing of it is left', async () => {
    const importer = makeImporter();
    const place = makeDir(importer.user, 'full');
    await onTmpfs(importer, place, 1 << 20, async () => {
      const ran = await runBundler(importer, ['import', '-o', `${place}/out.sqsh`, name()]);
      expectFailure(ran, /cannot write .*out\.sqsh: no space left on device$/, /make room/);
      expect(readdirSync(place)).toEqual([]);
    });
    await expectOnlyCache(importer, 'blobs and rests');
    expect((await importBytes(importer, [name()])).equals(good)).toBe(true);
  });
});

describe('the cache', () => {
  needing('on a full disk is named, with what to do, and the next import goes on', async () => {
    const importer = makeImporter();
    const place = makeDir(importer.user, 'full');
    await onTmpfs(importer, place, 1 << 20, async () => {
      const env = { ENROOT_CACHE_PATH: `${place}/cache` };
      const ran = await runBundler(importer, ['import', '-o', 'out.sqsh', name()], { env });
      expectFailure(
        ran,
        new RegExp(`cannot write to the cache ${place}/cache: no space left on the device`),
        /make room/,
      );
      expect(readdirSync(importer.dir)).toEqual([]);
      expectWholeBlobs(`${place}/cache`);
      execFileSync('mount', ['-o', 'remount,size=64m', place]);
      const again = await runBundler(importer, ['import', '-o', 'out.sqsh', name()], { env });
      expect(again.status, again.stderr).toBe(0);
      expect(readFileSync(path.join(importer.dir, 'out.sqsh')).equals(good)).toBe(true);
    });
  });

  needing('is where it is said, without a home or with one that may not be written to', async () => {
    const importer = makeImporter();
    const runtime = { BUNDLER_CACHE_DIR: makeDir(importer.user, 'runtime') };
    const noHome = ['env', '-u', 'HOME', bundler, 'import', '-q', '-o', 'a.sqsh', name()];
    const env = { ENROOT_CACHE_PATH: importer.cache, ENROOT_SYSCONF_PATH: '/nonexistent', ...runtime };
    const { user, dir } = importer;
    const first = await run(noHome, { user, cwd: dir, env: { ...env, ENROOT_CONFIG_PATH: '/nonexistent' } });
    expect(first).toMatchObject({ status: 0, stderr: '' });
    const second = await run(
      noHome.map((word) => (word === 'a.sqsh' ? 'b.sqsh' : word)),
      { user, cwd: dir, env },
    );
    expect(second).toMatchObject({ status: 0, stderr: '' });
    const home = makeDir(ordinaryUser(), 'readonly');
    chmodSync(home, 0o555);
    const third = await runBundler(importer, ['import', '-q', '-o', 'c.sqsh', name()], {
      env: { HOME: home, ...runtime },
    });
    expect(third).toMatchObject({ status: 0, stderr: '' });
    for (const file of ['a', 'b', 'c']) expect(readFileSync(path.join(dir, `${file}.sqsh`)).equals(good)).toBe(true);
    const fourth = await runBundler(importer, ['import', '-q', name()], {
      env: { HOME: home, ...runtime, ENROOT_CACHE_PATH: '' },
    });
    expectFailure(fourth, /cannot use the cache .*: permission denied/, /ENROOT_CACHE_PATH/);
  });
});

describe('the image', () => {
  needing('is the same whatever the surroundings are', async () => {
    for (const env of [
      { TZ: 'Asia/Kathmandu', LC_ALL: 'C', LANG: 'de_DE.UTF-8' },
      { ENROOT_MAX_PROCESSORS: '1', ENROOT_MAX_CONNECTIONS: '1' },
      { TMPDIR: '/dev/shm', HOME: '/nonexistent', BUNDLER_CACHE_DIR: makeDir(makeImporter().user, 'runtime') },
    ]) {
      const importer = makeImporter(freshUser());
      expect((await importBytes(importer, [name()], { env })).equals(good), JSON.stringify(env)).toBe(true);
      expect((await importBytes(importer, [name()], { env })).equals(good), JSON.stringify(env)).toBe(true);
    }
  });

  needing('has SOURCE_DATE_EPOCH as its time and no later one in it', async () => {
    const importer = makeImporter();
    const seconds = 1_234_567_890;
    const env = { SOURCE_DATE_EPOCH: String(seconds), TZ: 'UTC' };
    const first = await importBytes(importer, [name()], { env });
    expect(first.readUInt32LE(8)).toBe(seconds);
    expect(first.equals(good)).toBe(false);
    const lines = execFileSync('unsquashfs', ['-lls', '-UTC', path.join(importer.dir, 'out.sqsh')], {
      encoding: 'utf8',
    });
    expect(lines).toMatch(/2009-02-13 23:31.*\/x\n/);
    expect(lines).not.toMatch(/20[1-9]\d-\d\d-\d\d/);
    expect((await importBytes(makeImporter(), [name()], { env })).equals(first)).toBe(true);
    const bad = await runBundler(importer, ['import', '-f', '-o', 'out.sqsh', name()], {
      env: { SOURCE_DATE_EPOCH: 'now' },
    });
    expect(bad.stderr).toMatch(/SOURCE_DATE_EPOCH is "now", not a number of seconds/);
  });

  needing('comes from an archive also on a host with nothing installed', async () => {
    const dir = makeDir(ordinaryUser(), 'bare');
    const layout = path.join(dir, 'layout');
    writeLayout(layout, [
      { tar: makeRawTar([{ name: 'x', content: 'from an archive' }]) },
      { tar: makeRawTar([]), encoding: 'zstd' },
    ]);
    execFileSync('tar', ['-cf', path.join(dir, 'image.tar'), '-C', layout, '.']);
    const argv = [bundler, 'import', '-o', '/home/user/bare.sqsh', 'oci-archive:/in/image.tar'];
    const user = freshUser();
    const ran = await runBare(argv, { user, files: { '/in/image.tar': path.join(dir, 'image.tar') } });
    expect(ran.status, ran.stderr).toBe(0);
    const image = path.join(user.home, 'bare.sqsh');
    expect(listImage(image)).toEqual(['/x']);
    expect(readImageFile(image, 'x')).toBe('from an archive');
    expect(existsSync(path.join(user.home, '.cache/enroot'))).toBe(false);
    expect(readdirSync(user.home).sort()).toEqual(['.cache', 'bare.sqsh']);
  });

  needing('replaces the file that a link leads to not, but the link', async () => {
    const importer = makeImporter();
    const { dir } = importer;
    writeFileSync(path.join(dir, 'target'), 'kept');
    symlinkSync('target', path.join(dir, 'out.sqsh'));
    await importBytes(importer, [name()]);
    expect(readFileSync(path.join(dir, 'target'), 'utf8')).toBe('kept');
  });
});
