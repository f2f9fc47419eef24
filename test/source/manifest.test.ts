// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { parseImageConfig, platformOf } from '../../src/source/config.ts';
import { mediaTypes, parseManifest, refuseUnreadableLayers } from '../../src/source/manifest.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const config = { mediaType: mediaTypes.ociConfig, digest, size: 10 };
const layer = { mediaType: `${mediaTypes.ociLayer}+gzip`, digest, size: 20 };
const parse = (document: unknown, type = '') => parseManifest(Buffer.from(JSON.stringify(document)), 'x', type);

describe('a manifest', () => {
  test('of OCI is read', () => {
    expect(parse({ schemaVersion: 2, config, layers: [layer, layer] }, mediaTypes.ociManifest)).toEqual({
      kind: 'manifest',
      mediaType: mediaTypes.ociManifest,
      config: { mediaType: mediaTypes.ociConfig, digest, sizeBytes: 10 },
      layers: Array(2).fill({ mediaType: layer.mediaType, digest, sizeBytes: 20, foreign: false }),
      annotations: {},
    });
  });

  test('of Docker may hold layers of OCI, and the other way round', () => {
    const mixed = {
      schemaVersion: 2,
      mediaType: mediaTypes.dockerManifest,
      config,
      layers: [layer],
      annotations: null,
    };
    expect(parse(mixed)).toMatchObject({ kind: 'manifest', mediaType: mediaTypes.dockerManifest });
  });

  test('is told by its content when nobody says what it is', () => {
    expect(parse({ schemaVersion: 2, config, layers: null })).toMatchObject({ kind: 'manifest', layers: [] });
    expect(parse({ schemaVersion: 2, manifests: [] })).toMatchObject({ kind: 'index', entries: [] });
    expect(parse({ schemaVersion: 2, manifests: [] }, 'application/json; charset=utf-8').kind).toBe('index');
  });

  test('of several platforms is read, with null and absent fields', () => {
    const manifests = [
      {
        mediaType: mediaTypes.ociManifest,
        digest,
        size: 5,
        platform: { os: 'linux', architecture: 'arm', variant: 'v7' },
      },
      { mediaType: mediaTypes.ociManifest, digest, size: 5, platform: null, annotations: { a: 'b' } },
    ];
    expect(parse({ schemaVersion: 2, mediaType: mediaTypes.dockerList, manifests })).toMatchObject({
      kind: 'index',
      entries: [
        { digest, sizeBytes: 5, platform: { os: 'linux', architecture: 'arm', variant: 'v7' }, annotations: {} },
        { platform: null, annotations: { a: 'b' } },
      ],
    });
  });

  test.each<[string, unknown, RegExp]>([
    ['is a list and an image at once', { config, layers: [], manifests: [] }, /ambiguous/],
    ['has layers beside manifests', { layers: [layer], manifests: [] }, /ambiguous/],
    ['says it is an index and is none', { mediaType: mediaTypes.ociIndex, config, layers: [] }, /no image manifest/],
    ['says it is a manifest and is none', { mediaType: mediaTypes.ociManifest, manifests: [] }, /no image manifest/],
    ['has no config', { layers: [layer] }, /no image manifest/],
    ['is empty', {}, /no image manifest/],
    ['is no object', [], /not well-formed/],
    [
      'has a digest that is none',
      { config: { ...config, digest: 'sha256:../x' }, layers: [] },
      /config.digest: no sha256/,
    ],
    ['has a digest in capitals', { config: { ...config, digest: digest.toUpperCase() }, layers: [] }, /digest/],
    ['has a negative size', { config, layers: [{ ...layer, size: -1 }] }, /layers.0.size: no proper size/],
    ['has a huge size', { config, layers: [{ ...layer, size: 2 ** 60 }] }, /layers.0.size/],
    ['has a size with a fraction', { config, layers: [{ ...layer, size: 1.5 }] }, /layers.0.size/],
    ['has too many layers', { config, layers: Array(1001).fill(layer) }, /more than 1000 layers/],
    ['is of schema 1', { schemaVersion: 1, fsLayers: [{ blobSum: digest }] }, /schema 1/],
    [
      'is a chart',
      { config: { ...config, mediaType: 'application/vnd.cncf.helm.config.v1+json' }, layers: [] },
      /helm/,
    ],
  ])('that %s is refused', (_title, document, message) => {
    expect(() => parse(document)).toThrow(message);
  });

  test('of schema 1 is refused by its media type too', () => {
    expect(() => parse({ schemaVersion: 2 }, 'application/vnd.docker.distribution.manifest.v1+prettyjws')).toThrow(
      'schema 1',
    );
  });

  test('may mention schema 1 in a text', () => {
    const annotations = { note: '{"schemaVersion": 1}' };
    expect(parse({ schemaVersion: 2, config, layers: [], annotations }).kind).toBe('manifest');
  });

  test('that is no JSON or too large is refused', () => {
    expect(() => parseManifest(Buffer.from('<html>'), 'x')).toThrow('x is not JSON');
    expect(() => parseManifest(Buffer.from([0x22, 0xff, 0x22]), 'x')).toThrow('x is not JSON');
    expect(() => parseManifest(Buffer.alloc((4 << 20) + 1, ' '), 'x')).toThrow('larger than 4 MiB');
  });

  test.each([
    ['application/vnd.docker.image.rootfs.foreign.diff.tar.gzip', 'foreign'],
    ['application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', 'foreign'],
    ['application/vnd.oci.image.layer.v1.tar+gzip+encrypted', 'encrypted'],
  ])('with a layer of %s is refused by name', (mediaType, word) => {
    const manifest = parse({ schemaVersion: 2, config, layers: [layer, { ...layer, mediaType }] });
    if (manifest.kind !== 'manifest') throw new Error('no manifest');
    expect(() => refuseUnreadableLayers(manifest, 'image y')).toThrow(
      expect.objectContaining({ message: expect.stringMatching(`cannot use image y: its layer ${digest} is ${word}`) }),
    );
  });
});

describe('an image configuration', () => {
  const read = (document: unknown) => parseImageConfig(Buffer.from(JSON.stringify(document)), 'x');

  test('has null and absent fields as empty ones', () => {
    const nulls = { User: null, Env: null, Entrypoint: null, Cmd: null, WorkingDir: null, Labels: null, Volumes: null };
    const empty = {
      User: '',
      Env: [],
      Entrypoint: [],
      Cmd: [],
      WorkingDir: '',
      Labels: {},
      Volumes: {},
      StopSignal: '',
      ExposedPorts: {},
    };
    expect(read({ config: nulls, rootfs: { type: 'layers', diff_ids: null }, history: null })).toMatchObject({
      architecture: '',
      variant: '',
      config: empty,
      rootfs: { diff_ids: [] },
      history: [],
    });
    expect(read({ config: null, rootfs: {} }).config).toEqual(empty);
    expect(read({ rootfs: {} }).config).toEqual(empty);
  });

  test('keeps what is not known', () => {
    const { config } = read({ config: { Cmd: ['a'], Healthcheck: { Test: ['NONE'] }, OnBuild: null }, rootfs: {} });
    expect(config).toMatchObject({ Cmd: ['a'], Healthcheck: { Test: ['NONE'] }, OnBuild: null });
  });

  test('may have a word for a list, as the oldest have', () => {
    expect(read({ config: { Entrypoint: '/bin/sh' }, rootfs: {} }).config.Entrypoint).toEqual(['/bin/sh']);
  });

  test('names a platform, or none', () => {
    expect(platformOf(read({ architecture: 'aarch64', rootfs: {} }))).toEqual({
      os: 'linux',
      architecture: 'arm64',
      variant: '',
    });
    expect(platformOf(read({ rootfs: {} }))).toBeNull();
  });

  test.each([
    [{ rootfs: { diff_ids: ['sha256:x'] } }, /rootfs.diff_ids.0/],
    [{ config: { Env: [1] }, rootfs: {} }, /config.Env/],
    [{ config: [], rootfs: {} }, /config/],
    [{}, /rootfs/],
  ])('that is malformed is refused: %j', (document, message) => {
    expect(() => read(document)).toThrow(message);
  });
});
