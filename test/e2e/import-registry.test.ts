// SPDX-License-Identifier: Apache-2.0
// Images of every shape from docker-registry, and what is said where there is none.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { compileNative } from '../native/compile.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { testNeeding } from '../support/features.ts';
import { type PushedImage, pushImage, pushIndex } from '../support/push-image.ts';
import { makeRawTar } from '../support/raw-tar.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import {
  expectFailure,
  expectOnlyCache,
  importBytes,
  listImage,
  makeImporter,
  makeLayer,
  readImageFile,
  runBundler,
} from './import-rig.ts';

const needing = testNeeding('root', 'bundler', 'registry', 'skopeo', 'unsquashfs');

const busyboxTar = () =>
  makeRawTar([
    { name: 'bin/' },
    { name: 'bin/sh', content: readFileSync('/bin/busybox'), mode: 0o755 },
    { name: 'data/' },
    { name: 'data/a', content: 'low' },
    { name: 'data/b', content: 'low' },
  ]);
const platforms = [
  { architecture: 'arm', variant: 'v6' },
  { architecture: 'amd64' },
  { architecture: 'arm', variant: 'v7' },
  { architecture: 'arm64', variant: 'v8' },
  { architecture: 'riscv64' },
];

let registry: TestRegistry;
let app: PushedImage;
const byPlatform = new Map<string, PushedImage>();

beforeAll(async () => {
  registry = await startRegistry();
  const { url } = registry;
  app = await pushImage(url, 'team/app', '1.0', {
    layers: [{ tar: busyboxTar() }, { tar: makeRawTar([{ name: 'data/.wh.a' }, { name: 'data/b', content: 'high' }]) }],
    config: { Cmd: ['sh'], Env: ['A=b c'] },
  });
  const images = [];
  for (const platform of platforms) {
    const name = Object.values(platform).join('/');
    const spec = { platform, layers: [{ tar: makeRawTar([{ name: 'which', content: name }]) }] };
    const image = await pushImage(url, 'team/many', name.replace('/', '-'), spec);
    byPlatform.set(name, image);
    images.push({ image, platform });
  }
  await pushIndex(url, 'team/many', 'index', images);
  await pushIndex(url, 'team/many', 'list', images, 'application/vnd.docker.distribution.manifest.list.v2+json');
  const foreign = images.filter(({ platform }) => platform.architecture !== 'amd64');
  await pushIndex(url, 'team/many', 'foreign', foreign);
});

afterAll(async () => {
  await registry?.stop();
});

const at = (name: string) => `docker://${registry.host}/${name}`;

describe('an image by its tag', () => {
  needing('becomes a file of its merged layers, named after it, and leaves nothing but the cache', async () => {
    const importer = makeImporter();
    const ran = await runBundler(importer, ['import', at('team/app:1.0')]);
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stdout).toMatch(/^team\+app\+1\.0\.sqsh \(.* MB\)\n$/);
    const image = path.join(importer.dir, 'team+app+1.0.sqsh');
    expect(listImage(image)).toEqual(['/bin/sh', '/data/b']);
    expect(readImageFile(image, 'data/b')).toBe('high');
    expect(readImageFile(image, 'etc/environment')).toBe('A=b c\n');
    expect(readImageFile(image, 'etc/rc')).toContain(`# enroot-provenance: docker://${registry.host}#team/app:1.0\n`);
    const { dir } = importer;
    execFileSync('mv', [image, path.join(dir, 'out.sqsh')]);
    await expectOnlyCache(importer, 'blobs');
  });

  needing('is the same from the cache, and its digest is what skopeo says', async () => {
    const importer = makeImporter();
    const first = await importBytes(importer, ['--quiet', at('team/app:1.0')]);
    const ran = await runBundler(importer, ['import', '-f', '-o', 'out.sqsh', at('team/app:1.0')]);
    expect(ran.stderr).toMatch(/layer 2 of 2.*in the cache/);
    expect((await importBytes(importer, [at('team/app:1.0')])).equals(first)).toBe(true);
    const digest = await runBundler(importer, ['digest', at('team/app:1.0')]);
    const inspect = ['inspect', '--tls-verify=false', '--format', '{{.Digest}}', at('team/app:1.0')];
    expect(digest).toMatchObject({ status: 0, stdout: execFileSync('skopeo', inspect, { encoding: 'utf8' }) });
    expect(digest.stdout.trim()).toBe(app.digest);
  });

  needing('is the same tree in docker’s schema 2, copied by skopeo', async () => {
    const importer = makeImporter();
    const copy = ['--insecure-policy', 'copy', '--quiet', '--format', 'v2s2', '--src-tls-verify=false'];
    const argv = [...copy, '--dest-tls-verify=false', at('team/app:1.0'), at('team/schema2:1.0')];
    execFileSync('skopeo', argv);
    const dump = async (name: string) => {
      await importBytes(importer, [at(name)]);
      const dumped = execFileSync(compileNative('dump-image'), [path.join(importer.dir, 'out.sqsh')], {
        stdio: 'pipe',
      });
      return dumped
        .toString('latin1')
        .split('\n')
        .filter((line) => !/^\/etc/.test(line));
    };
    expect(await dump('team/schema2:1.0')).toEqual(await dump('team/app:1.0'));
    const raw = execFileSync('skopeo', ['inspect', '--raw', '--tls-verify=false', at('team/schema2:1.0')], {
      encoding: 'utf8',
    });
    expect(raw).toContain('application/vnd.docker.distribution.manifest.v2+json');
  });

  needing('may have layers in gzip, zstd and as they are, the same one twice, and empty ones', async () => {
    const importer = makeImporter();
    const proxy = await startFaultProxy(registry.url);
    const file = (name: string, content: string) => ({ name, content });
    const twice = makeLayer('twice', 100_000, [file('x', 'twice')]);
    const pushed = await pushImage(registry.url, 'team/mixed', 'all', {
      layers: [
        { tar: makeRawTar([file('x', 'gzip'), file('gzip', '1')]) },
        { tar: twice, encoding: 'zstd' },
        { tar: makeRawTar([file('x', 'none'), file('none', '3')]), encoding: 'none' },
        { tar: makeRawTar([]) },
        { tar: twice, encoding: 'zstd' },
        { tar: makeRawTar([]), encoding: 'zstd' },
        { tar: makeRawTar([]), encoding: 'none' },
        { tar: makeRawTar([]) },
      ],
    });
    try {
      await importBytes(importer, [`docker://${proxy.host}/team/mixed:all`]);
      const image = path.join(importer.dir, 'out.sqsh');
      expect(listImage(image)).toEqual(['/gzip', '/noise-twice', '/none', '/x']);
      expect(readImageFile(image, 'x')).toBe('twice');
      for (const { digest, size } of pushed.layers) expect(proxy.sentBytes(digest)).toBe(size);
      const asked = proxy.requests.filter(({ kind, method }) => kind === 'blob' && method === 'GET');
      expect(asked).toHaveLength(new Set(pushed.layers.map(({ digest }) => digest)).size + 1);
    } finally {
      await proxy.stop();
    }
  });

  needing('with a foreign layer is refused by that layer’s name, before anything is downloaded', async () => {
    const importer = makeImporter();
    const proxy = await startFaultProxy(registry.url);
    const { config, layers } = app;
    const mediaType = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
    const foreign = { ...layers[0], mediaType, urls: ['http://127.0.0.1:1/layer'] };
    const type = 'application/vnd.docker.distribution.manifest.v2+json';
    const body = JSON.stringify({ schemaVersion: 2, mediaType: type, config, layers: [foreign, layers[1]] });
    proxy.inject(({ kind }) =>
      kind === 'manifest' ? { kind: 'answer', status: 200, headers: { 'content-type': type }, body } : null,
    );
    try {
      const ran = await runBundler(importer, ['import', `docker://${proxy.host}/team/app:1.0`]);
      expectFailure(
        ran,
        new RegExp(`${proxy.host}.*${layers[0]?.digest}.*foreign|foreign.*${layers[0]?.digest}`),
        /.*/,
      );
      expect(proxy.requests.filter(({ kind }) => kind === 'blob')).toEqual([]);
    } finally {
      await proxy.stop();
    }
  });
});

describe('an image for several platforms', () => {
  for (const [tag, arch, expected] of [
    ['list', '', 'amd64'],
    ['list', 'arm/v7', 'arm/v7'],
    ['index', '', 'amd64'],
    ['index', 'arm64', 'arm64/v8'],
    ['index', 'linux/arm/v6', 'arm/v6'],
    ['index', 'armhf', 'arm/v7'],
    ['index', 'arm', 'arm/v7'],
    ['index', 'arm/v8', 'arm/v7'],
  ] as const) {
    needing(
      `(${tag}) gives ${expected} for ${arch || 'this machine'}, from the registry and from the cache`,
      async () => {
        const importer = makeImporter();
        const options = arch === '' ? [] : ['--arch', arch];
        const first = await importBytes(importer, [...options, at(`team/many:${tag}`)]);
        expect(readImageFile(path.join(importer.dir, 'out.sqsh'), 'which')).toBe(expected);
        expect((await importBytes(importer, [...options, at(`team/many:${tag}`)])).equals(first)).toBe(true);
        const { stdout } = await runBundler(importer, ['digest', ...options, at(`team/many:${tag}`)]);
        expect(stdout.trim()).toBe(byPlatform.get(expected)?.digest);
      },
    );
  }

  needing('but not the one that is asked for says which there are', async () => {
    const importer = makeImporter();
    expectFailure(
      await runBundler(importer, ['import', '--arch', 's390x', at('team/many:index')]),
      /team\/many:index has no image for linux\/s390x$/,
      /--arch: linux\/amd64, linux\/arm\/v6, linux\/arm\/v7, linux\/arm64\/v8, linux\/riscv64$/,
    );
    expectFailure(await runBundler(importer, ['import', '--arch', 'arm/v5', at('team/many:index')]), /linux\/arm\/v5$/);
    expectFailure(await runBundler(importer, ['import', at('team/many:foreign')]), /linux\/amd64$/, /linux\/riscv64/);
    expectFailure(
      await runBundler(importer, ['import', '--arch', 'arm64', at('team/app:1.0')]),
      /no image for linux\/arm64$/,
      /linux\/amd64$/,
    );
    expect(readdirSync(importer.dir)).toEqual([]);
  });
});

describe('an image by its digest', () => {
  needing('needs no registry the second time, whichever of its digests names it', async () => {
    const importer = makeImporter();
    const own = await startRegistry();
    const spec = { layers: [{ tar: makeLayer('own', 10_000) }], platform: { architecture: 'amd64' } };
    const image = await pushImage(own.url, 'x', '1', spec);
    const index = await pushIndex(own.url, 'x', 'index', [{ image, platform: spec.platform }]);
    const names = [image, index].map(({ digest }) => `docker://${own.host}/x@${digest}`);
    const first = [];
    for (const name of names) first.push(await importBytes(importer, [name]));
    await own.stop();
    for (const [n, name] of names.entries()) {
      expect((await importBytes(importer, [name])).equals(first[n] as Buffer)).toBe(true);
      expect(await runBundler(importer, ['digest', name])).toMatchObject({ status: 0, stdout: `${image.digest}\n` });
    }
    const byTag = ['import', '-o', 'x.sqsh', `docker://${own.host}/x:1`];
    const ran = await runBundler(importer, byTag, { env: { ENROOT_TRANSFER_RETRIES: '0' } });
    expectFailure(ran, /manifest 1 of x at .*refused/);
  });

  needing('that the registry does not have is named', async () => {
    const digest = `sha256:${'0'.repeat(64)}`;
    const ran = await runBundler(makeImporter(), ['import', at(`team/app@${digest}`)]);
    expectFailure(ran, new RegExp(`manifest ${digest} of team/app at ${registry.host}: not found`), /check the name/);
  });
});

describe('what is not there', () => {
  needing('is named: repository, tag, registry', async () => {
    const importer = makeImporter();
    const missing = (name: string, command = 'import') => runBundler(importer, [command, at(name)]);
    expectFailure(
      await missing('team/none:1'),
      /manifest 1 of team\/none at .*: not found: .*UNKNOWN/,
      /check the name/,
    );
    expectFailure(await missing('team/app:2'), /manifest 2 of team\/app at .*: not found: MANIFEST_UNKNOWN/, /the tag/);
    expectFailure(await missing('team/app:2', 'digest'), /manifest 2 of team\/app at .*: not found: MANIFEST_UNKNOWN/);
    const ran = await runBundler(importer, ['import', 'docker://no-such-host.invalid/x:1'], {
      env: { ENROOT_TRANSFER_RETRIES: '0' },
    });
    expectFailure(ran, /no-such-host\.invalid/, /./);
    await expectOnlyCache(importer, 'blobs');
    expect(readdirSync(importer.dir)).toEqual([]);
  });
});
