// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasFeatures, testNeeding } from '../support/features.ts';
import { run, type Storage } from '../support/image-tools.ts';
import { arm64, buildTwoImages, makeTemporary, openImage, optionsIn, read, summarize, writeTree } from './support.ts';

let dir = '';
let storage: Storage;
const made = testNeeding('buildah', 'podman', 'skopeo');
beforeAll(() => {
  dir = makeTemporary();
  if (hasFeatures('buildah', 'podman')) storage = buildTwoImages(dir);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const options = (more = {}) => optionsIn(dir, more);
const hex = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex');

describe('an archive of podman save and skopeo', () => {
  made('is an image', async () => {
    storage.podman('save', '-q', '-o', join(dir, 'd.tar'), 'localhost/second:2');
    run('skopeo', 'copy', '-q', `docker-archive:${dir}/d.tar`, `docker-archive:${dir}/s.tar:other/name:3`);
    for (const [file, name] of [
      ['d.tar', 'second+2'],
      ['s.tar', 'other+name+3'],
    ] as const) {
      const { config, diffIds, ...rest } = await summarize(await openImage(`docker-archive:${dir}/${file}`, options()));
      expect(rest).toEqual({ name, reference: `docker-archive:${dir}/${file}`, rightSizes: true });
      expect(config.config).toMatchObject({ Entrypoint: ['/bin/tool'], Cmd: ['x', 'y'] });
      expect(diffIds).toHaveLength(2);
      expect(diffIds).toEqual(config.rootfs.diff_ids);
    }
  });

  made('with several images asks which', async () => {
    storage.podman('save', '-q', '-m', '-o', join(dir, 'm.tar'), 'localhost/first:1', 'localhost/second:2');
    run('gzip', '-k', join(dir, 'm.tar'));
    for (const file of ['m.tar', 'm.tar.gz']) {
      const text = `docker-archive:${dir}/${file}`;
      await expect(openImage(text, options())).rejects.toMatchObject({
        message: expect.stringContaining('has several images'),
        hint: 'name one after a colon: localhost/first:1, localhost/second:2',
      });
      expect((await openImage(`${text}:localhost/first:1`, options())).layers).toHaveLength(1);
      expect((await openImage(`${text}:localhost/second:2`, options())).layers).toHaveLength(2);
      expect((await openImage(`${text}:@1`, options())).layers).toHaveLength(2);
      await expect(openImage(`${text}:first:2`, options())).rejects.toThrow('has no image "first:2"');
      await expect(openImage(`${text}:@2`, options())).rejects.toThrow('has no image "@2"');
    }
  });
});

/** An archive made by hand of files and links. */
function pack(name: string, files: Record<string, string | Buffer>, links: Record<string, string> = {}): string {
  const tree = join(dir, name);
  writeTree(tree, files);
  for (const [path, target] of Object.entries(links)) symlinkSync(target, join(tree, path));
  run(
    'tar',
    '-C',
    tree,
    '-cf',
    `${tree}.tar`,
    ...new Set([...Object.keys(files), ...Object.keys(links)].map((path) => path.split('/')[0] as string)),
  );
  return `${tree}.tar`;
}

const tar = Buffer.alloc(10_240, 'layer one ');
const other = Buffer.alloc(1024, 'layer two ');
const configOf = (layers: Buffer[], architecture = 'amd64') =>
  JSON.stringify({
    os: 'linux',
    architecture,
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => `sha256:${hex(layer)}`) },
  });
const list = (...entries: object[]) => JSON.stringify(entries);
const layersOf = async (file: string, more = {}) => {
  const image = await openImage(`docker-archive:${file}`, options(more));
  const contents = await Promise.all(image.layers.map(async (layer) => read(await layer.open())));
  await image.close();
  return contents;
};

describe('an archive of docker save', () => {
  test('of old has layers that are links to those of other images', async () => {
    const config = configOf([tar, other, tar]);
    const [a, b, c] = ['a', 'b', 'c'].map((letter) => letter.repeat(64)) as [string, string, string];
    const file = pack(
      'old',
      {
        'manifest.json': list({
          Config: `${hex(config)}.json`,
          RepoTags: null,
          Layers: [`${a}/layer.tar`, `${b}/layer.tar`, `${c}/layer.tar`],
        }),
        [`${hex(config)}.json`]: config,
        [`${a}/layer.tar`]: tar,
        [`${b}/layer.tar`]: other,
        [`${c}/VERSION`]: '1.0',
        repositories: '{}',
      },
      { [`${c}/layer.tar`]: `../${a}/layer.tar` },
    );
    expect(await layersOf(file)).toEqual([tar, other, tar]);
    expect((await openImage(`docker-archive:${file}`, options())).name).toBe('old');
  });

  test('of now has compressed layers in blobs/, verified by their own digest', async () => {
    const config = configOf([tar]);
    const packed = gzipSync(tar);
    const files = {
      'manifest.json': list({
        Config: `blobs/sha256/${hex(config)}`,
        RepoTags: ['app:1'],
        Layers: [`blobs/sha256/${hex(packed)}`],
      }),
      'index.json': '{}',
      'oci-layout': '{"imageLayoutVersion": "1.0.0"}',
      [`blobs/sha256/${hex(config)}`]: config,
    };
    const right = pack('new', { ...files, [`blobs/sha256/${hex(packed)}`]: packed });
    expect(await layersOf(right)).toEqual([packed]);
    const image = await openImage(`docker-archive:${right}`, options());
    expect(image.layers[0]).toMatchObject({ digest: `sha256:${hex(packed)}`, sizeBytes: packed.length });
    const wrong = pack('new-wrong', { ...files, [`blobs/sha256/${hex(packed)}`]: gzipSync(other) });
    await expect(layersOf(wrong)).rejects.toThrow(/does not match its digest|has \d+ bytes/);
  });

  test('may have compressed layers under any name, which are verified unpacked', async () => {
    const config = configOf([tar]);
    const files = (layer: Buffer) => ({
      'manifest.json': list({ Config: `sha256:${hex(config)}`, RepoTags: ['x/y'], Layers: ['abc.tar.gz'] }),
      [`sha256:${hex(config)}`]: config,
      'abc.tar.gz': layer,
    });
    expect(await layersOf(pack('crane', files(gzipSync(tar))))).toEqual([tar]);
    await expect(layersOf(pack('crane-wrong', files(gzipSync(other))))).rejects.toThrow('does not match its digest');
    await expect(layersOf(pack('crane-cut', files(gzipSync(tar).subarray(0, -9))))).rejects.toThrow(
      'cannot decompress',
    );
  });

  test('may have one name for several platforms', async () => {
    const [amd, arm] = [configOf([tar]), configOf([other], 'arm64')];
    const entry = (config: string, Layers: string[]) => ({ Config: `${hex(config)}.json`, RepoTags: ['x:1'], Layers });
    const file = pack('platforms', {
      'manifest.json': list(entry(amd, ['1.tar']), entry(arm, ['2.tar'])),
      [`${hex(amd)}.json`]: amd,
      [`${hex(arm)}.json`]: arm,
      '1.tar': tar,
      '2.tar': other,
    });
    expect(await layersOf(file, arm64)).toEqual([other]);
    expect(
      await layersOf(`${file}:docker.io/library/x:1`, {
        platform: { os: 'linux', architecture: 'amd64', variant: '' },
      }),
    ).toEqual([tar]);
  });

  test('with thousands of images of one name is refused before all are read', async () => {
    const config = configOf([tar]);
    const entry = { Config: `${hex(config)}.json`, RepoTags: ['x:1'], Layers: ['1.tar'] };
    const file = pack('many', {
      'manifest.json': list(...Array.from({ length: 5000 }, () => entry)),
      [`${hex(config)}.json`]: config,
      '1.tar': tar,
    });
    await expect(layersOf(file)).rejects.toThrow('has 5000 images of one name');
    await expect(layersOf(`${file}:x:1`)).rejects.toThrow('has 5000 images of one name');
    expect(await layersOf(`${file}:@4999`)).toEqual([tar]);
  });

  test('that is damaged says where', async () => {
    const config = configOf([tar]);
    const good = { Config: `${hex(config)}.json`, RepoTags: ['x:1'], Layers: ['1.tar'] };
    const files = { 'manifest.json': list(good), [`${hex(config)}.json`]: config, '1.tar': tar };
    expect(await layersOf(pack('good', files))).toEqual([tar]);
    await expect(layersOf(`${join(dir, 'good')}.tar`, arm64)).rejects.toThrow('has no image for linux/arm64');
    const cases: [Record<string, string | Buffer>, RegExp][] = [
      [{ '1.tar': other }, /the layer 1.tar of .* has 1024 bytes|does not match its digest/],
      [{ [`${hex(config)}.json`]: config.replace('amd64', 'arm64') }, /configuration .* does not match its digest/],
      [{ 'manifest.json': list({ ...good, Layers: [] }) }, /0 layers where its configuration names 1/],
      [
        { 'manifest.json': list({ ...good, Layers: ['../../etc/passwd'] }) },
        /its layer ..\/..\/etc\/passwd is missing/,
      ],
      [{ 'manifest.json': list({ ...good, Config: 'x.json' }) }, /it has no file x.json/],
      [{ 'manifest.json': '[]' }, /has no image/],
      [{ 'manifest.json': '{}' }, /not well-formed/],
    ];
    for (const [i, [change, message]] of cases.entries()) {
      await expect(layersOf(pack(`bad-${i}`, { ...files, ...change }))).rejects.toThrow(message);
    }
    await expect(layersOf(pack('ancient', { repositories: '{}' }))).rejects.toMatchObject({
      hint: expect.stringContaining('before 1.10'),
    });
  });

  test('leads no link out of itself or round in a circle', async () => {
    const config = configOf([tar]);
    const files = { 'manifest.json': list({ Config: 'c.json', Layers: ['1.tar'] }), 'c.json': config };
    for (const target of ['/etc/passwd', '../../../../etc/passwd', '1.tar']) {
      await expect(layersOf(pack(`link-${target.length}`, files, { '1.tar': target }))).rejects.toThrow(
        'its layer 1.tar is missing',
      );
    }
  });
});

test('a file that is no archive is refused', async () => {
  const text = join(dir, 'text');
  writeTree(dir, { text: 'x'.repeat(2000) });
  await expect(openImage(`docker-archive:${text}`, options())).rejects.toThrow(/text: .*not a tar archive/);
  expect(readFileSync(text)).toHaveLength(2000);
  await expect(openImage(`docker-archive:${dir}/none.tar`, options())).rejects.toThrow('no such file');
});
