// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { readdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/source/digest.ts';
import type { Layer } from '../../src/source/image.ts';
import { splitReference } from '../../src/source/open.ts';
import { hasFeatures, testNeeding } from '../support/features.ts';
import { run, type Storage } from '../support/image-tools.ts';
import {
  arm64,
  buildTwoImages,
  makeLayout,
  makeTemporary,
  ociIndex,
  ociManifest,
  openImage,
  optionsIn,
  read,
  summarize,
} from './support.ts';

let dir = '';
let storage: Storage;
const made = testNeeding('buildah', 'podman', 'skopeo', 'umoci');
beforeAll(() => {
  dir = makeTemporary();
  if (hasFeatures('buildah', 'podman')) storage = buildTwoImages(dir);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const options = (more = {}) => optionsIn(dir, more);

/** What an image must be: its configuration, and layers that are what the configuration says. */
async function expectSecond(text: string, name: string): Promise<void> {
  const { config, diffIds, ...rest } = await summarize(await openImage(text, options()));
  expect(rest).toEqual({ name, reference: text, rightSizes: true });
  expect(config.config).toMatchObject({
    Env: expect.arrayContaining(['A=1']),
    Entrypoint: ['/bin/tool'],
    Cmd: ['x', 'y'],
  });
  expect(config.rootfs.diff_ids).toHaveLength(2);
  expect(diffIds).toEqual(config.rootfs.diff_ids);
}

describe('a layout', () => {
  made('of podman save is an image', async () => {
    storage.podman('save', '--format', 'oci-dir', '-o', join(dir, 'podman-dir'), 'localhost/second:2');
    await expectSecond(`oci:${dir}/podman-dir`, 'second+2');
    await expectSecond(`oci:${dir}/podman-dir:localhost/second:2`, 'second+2');
    await expectSecond(`oci:${dir}/podman-dir:@0`, 'second+2');
  });

  made('of skopeo and umoci holds several images, each under its name', async () => {
    const layout = join(dir, 'skopeo-dir');
    for (const [image, tag] of [
      ['first:1', 'one'],
      ['second:2', 'two'],
    ] as const) {
      storage.podman('save', '-q', '-o', `${dir}/${tag}.tar`, `localhost/${image}`);
      run('skopeo', 'copy', '-q', `docker-archive:${dir}/${tag}.tar`, `oci:${layout}:${tag}`);
    }
    run('umoci', 'tag', '--image', `${layout}:two`, 'again');
    await expectSecond(`oci:${layout}:two`, 'skopeo-dir+two');
    await expectSecond(`oci:${layout}:again`, 'skopeo-dir+again');
    await expect(openImage(`oci:${layout}`, options())).rejects.toMatchObject({
      message: expect.stringContaining('has several images'),
      hint: 'name one after a colon: one, two, again',
    });
    await expect(openImage(`oci:${layout}:three`, options())).rejects.toMatchObject({
      message: expect.stringContaining('has no image "three"'),
      hint: 'it has: one, two, again',
    });
    const { manifestDigest } = await openImage(`oci:${layout}:one`, options());
    expect(manifestDigest).toBe(run('skopeo', 'inspect', '--format', '{{.Digest}}', `oci:${layout}:one`).trim());
  });

  made('that umoci changed is an image', async () => {
    const layout = join(dir, 'umoci-dir');
    run('umoci', 'init', '--layout', layout);
    run('umoci', 'new', '--image', `${layout}:new`);
    run('umoci', 'config', '--image', `${layout}:new`, '--config.env', 'B=2');
    const { config, diffIds } = await summarize(await openImage(`oci:${layout}:new`, options()));
    expect(config.config.Env).toEqual(['B=2']);
    expect(diffIds).toEqual([]);
  });
});

describe('an archive of a layout', () => {
  made('of podman save is an image, compressed or not', async () => {
    storage.podman('save', '-q', '--format', 'oci-archive', '-o', join(dir, 'o.tar'), 'localhost/second:2');
    await expectSecond(`oci-archive:${dir}/o.tar`, 'second+2');
    await expectSecond(`oci-archive:${dir}/o.tar:localhost/second:2`, 'second+2');
    run('gzip', '-k', join(dir, 'o.tar'));
    run('zstd', '-q', join(dir, 'o.tar'));
    await expectSecond(`oci-archive:${dir}/o.tar.gz`, 'second+2');
    await expectSecond(`oci-archive:${dir}/o.tar.zst`, 'second+2');
    expect(readdirSync(dir).filter((name) => name.includes('spool'))).toEqual([]);
  });

  made('is the same whoever packed it', async () => {
    storage.podman('save', '-q', '--format', 'oci-dir', '-o', join(dir, 'to-pack'), 'localhost/second:2');
    for (const format of ['gnu', 'pax', 'ustar', 'v7']) {
      run('tar', `--format=${format}`, '-C', join(dir, 'to-pack'), '-cf', join(dir, `${format}.tar`), '.');
      await expectSecond(`oci-archive:${dir}/${format}.tar`, 'second+2');
    }
  });

  made('that is cut short says so', async () => {
    storage.podman('save', '-q', '--format', 'oci-archive', '-o', join(dir, 'cut.tar'), 'localhost/second:2');
    truncateSync(join(dir, 'cut.tar'), 1024 + 512 + 100);
    await expect(openImage(`oci-archive:${dir}/cut.tar`, options())).rejects.toThrow(
      /cut.tar: it ends inside blobs\/sha256/,
    );
    run('zstd', '-q', '--rm', join(dir, 'o.tar.gz'), '-o', join(dir, 'cut.tar.zst'));
    truncateSync(join(dir, 'cut.tar.zst'), 200);
    await expect(openImage(`oci-archive:${dir}/cut.tar.zst`, options())).rejects.toThrow(
      /cannot decompress .*cut.tar.zst/,
    );
  });
});

describe('a layout made by hand', () => {
  let count = 0;
  const make = () => {
    const path = join(dir, `hand-${count++}`);
    return { path, ...makeLayout(path) };
  };
  const layerOf = async (text: string, more = {}) => {
    const image = await openImage(text, options(more));
    const content = await read(await (image.layers[0] as Layer).open());
    await image.close();
    return content.toString();
  };
  const on = (architecture: string, variant = '') => ({
    platform: { os: 'linux', architecture, ...(variant && { variant }) },
  });

  test('has its platforms in a nested index', async () => {
    const { path, put, putImage, putIndex } = make();
    const inner = put(
      {
        schemaVersion: 2,
        manifests: [
          { ...putImage('amd64', 'of amd64'), ...on('amd64') },
          { ...putImage('arm64', 'of arm64', 'v8'), ...on('arm64', 'v8') },
          { ...put('{}', ociManifest), ...on('unknown') },
        ],
      },
      ociIndex,
    );
    putIndex([
      {
        ...inner,
        annotations: {
          'org.opencontainers.image.ref.name': '1.0',
          'io.containerd.image.name': 'docker.io/library/app:1.0',
        },
      },
    ]);
    expect(await layerOf(`oci:${path}`, { platform: { os: 'linux', architecture: 'amd64', variant: '' } })).toBe(
      'of amd64',
    );
    expect(await layerOf(`oci:${path}:1.0`, arm64)).toBe('of arm64');
    expect(await layerOf(`oci:${path}:app:1.0`, arm64)).toBe('of arm64');
    expect((await openImage(`oci:${path}`, options(arm64))).name).toBe('app+1.0');
    await expect(
      openImage(`oci:${path}`, options({ platform: { os: 'linux', architecture: 's390x', variant: '' } })),
    ).rejects.toMatchObject({
      hint: 'choose one that exists with --arch: linux/amd64, linux/arm64/v8',
    });
  });

  test('has its platforms in its own index', async () => {
    const { path, putImage, putIndex } = make();
    putIndex([
      { ...putImage('amd64', 'of amd64'), ...on('amd64') },
      { ...putImage('arm64', 'of arm64'), ...on('arm64') },
    ]);
    expect(await layerOf(`oci:${path}`, arm64)).toBe('of arm64');
    expect(await layerOf(`oci:${path}:@0`)).toBe('of amd64');
  });

  test('of one image is what was asked for, or a failure', async () => {
    const { path, putImage, putIndex } = make();
    const image = putImage('s390x', 'x');
    putIndex([image]);
    expect(await layerOf(`oci:${path}`)).toBe('x');
    expect(await layerOf(`oci:${path}:${image.digest}`)).toBe('x');
    expect(await layerOf(`oci:${path}:@${image.digest}`)).toBe('x');
    await expect(openImage(`oci:${path}`, options(arm64))).rejects.toThrow('has no image for linux/arm64');
  });

  test('with a wrong or a missing blob fails, and names it', async () => {
    const { path, put, putImage, putIndex } = make();
    const image = putImage('amd64', 'the layer');
    putIndex([image]);
    const blob = (digest: string) => join(path, 'blobs', digest.replace(':', '/'));
    const layer = digestOf(Buffer.from('the layer'));
    writeFileSync(blob(layer), 'the LAYER');
    await expect(layerOf(`oci:${path}`)).rejects.toThrow(`the layer ${layer} of ${path} does not match its digest`);
    rmSync(blob(layer));
    await expect(layerOf(`oci:${path}`)).rejects.toThrow(`its blob ${layer} is missing`);
    // Its first page is never there.
    symlinkSync('/proc/self/mem', blob(layer));
    await expect(layerOf(`oci:${path}`)).rejects.toThrow(`cannot read ${blob(layer)}: input/output error`);
    writeFileSync(blob(image.digest), ' '.repeat(image.size));
    await expect(layerOf(`oci:${path}`)).rejects.toThrow(`the blob ${image.digest} of ${path} does not match`);
    putIndex([put('x', ociIndex)]);
    await expect(layerOf(`oci:${path}`)).rejects.toThrow('is not JSON');
  });

  test('whose indexes go round ends', async () => {
    const { path, put, putIndex } = make();
    let index = put({ schemaVersion: 2, manifests: [] }, ociIndex);
    for (let i = 0; i < 20; i++) index = put({ schemaVersion: 2, manifests: [{ ...index, ...on('amd64') }] }, ociIndex);
    putIndex([index]);
    await expect(
      openImage(`oci:${path}`, options({ platform: { os: 'linux', architecture: 'amd64', variant: '' } })),
    ).rejects.toThrow('nested too deeply');
  });

  test('is refused when it is none', async () => {
    await expect(openImage(`oci:${dir}`, options())).rejects.toThrow('is not an OCI image layout');
    await expect(openImage(`oci:${dir}/none:x`, options())).rejects.toThrow(`cannot read ${dir}/none: no such file`);
    const { path, putIndex } = make();
    putIndex([]);
    await expect(openImage(`oci:${path}:`, options())).rejects.toMatchObject({
      message: expect.stringContaining('nothing follows the last colon'),
      hint: `oci:${path}`,
    });
    await expect(openImage('oci::x', options())).rejects.toThrow('it names no file');
    await expect(openImage(`oci:${path}`, options())).rejects.toThrow('has no image');
    writeFileSync(join(path, 'oci-layout'), '{"imageLayoutVersion": "2.0.0"}');
    await expect(openImage(`oci:${path}`, options())).rejects.toThrow('its layout version is "2.0.0"');
    execFileSync('tar', ['-C', path, '-cf', join(dir, 'blobs.tar'), 'blobs']);
    await expect(openImage(`oci-archive:${dir}/blobs.tar`, options())).rejects.toThrow('is not an OCI image layout');
    await expect(openImage(`oci-archive:${path}`, options())).rejects.toThrow('it is a directory');
  });
});

test('a reference is what follows the longest path that exists', () => {
  const exists = (path: string) => ['a', 'a:b', 'c'].includes(path);
  const split = (text: string) => Object.values(splitReference(text, exists));
  expect(split('a')).toEqual(['a', '']);
  expect(split('a:b')).toEqual(['a:b', '']);
  expect(split('a:b:c:d')).toEqual(['a:b', 'c:d']);
  expect(split('c:x/y:1')).toEqual(['c', 'x/y:1']);
  expect(split('none:x:y')).toEqual(['none', 'x:y']);
});
