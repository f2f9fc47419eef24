// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { makeImageConfig } from '../../src/exporting/config.ts';
import { parseImageConfig } from '../../src/source/config.ts';

const platform = { os: 'linux', architecture: 'arm', variant: 'v7' };
const diffId = `sha256:${'a'.repeat(64)}`;
const make = (original: object | null, environment = '') => {
  const config = original === null ? null : parseImageConfig(Buffer.from(JSON.stringify(original)), 'x');
  return JSON.parse(makeImageConfig(config, { platform, environment }, [diffId], 1_700_000_000).toString());
};

describe('the configuration of an exported image', () => {
  test("is the original's with the new layers", () => {
    const config = {
      User: 'me',
      Env: ['A=1'],
      Entrypoint: ['/bin/x', 'y'],
      Cmd: ['z'],
      WorkingDir: '/w',
      Labels: { a: 'b' },
      Volumes: { '/v': {} },
      ExposedPorts: { '80/tcp': {} },
      StopSignal: 'SIGQUIT',
      Healthcheck: { Test: ['NONE'] },
      Shell: ['/bin/bash'],
    };
    const old = {
      created: '2020-01-01T00:00:00.5Z',
      author: 'somebody',
      architecture: 'arm64',
      os: 'linux',
      variant: 'v8',
      config,
      rootfs: { type: 'layers', diff_ids: [`sha256:${'b'.repeat(64)}`] },
      history: [{ created_by: 'RUN x' }, { empty_layer: true }],
    };
    expect(make(old)).toEqual({
      ...old,
      created: '2023-11-14T22:13:20Z',
      rootfs: { type: 'layers', diff_ids: [diffId] },
      history: [{ created: '2023-11-14T22:13:20Z', created_by: 'bundler export' }],
    });
  });

  test("has the original's time to the fraction where it is that", () => {
    const created = '2023-11-14T23:13:20.123456789+01:00';
    expect(make({ created, architecture: 'arm64', config: {}, rootfs: {} }).created).toBe(created);
  });

  test('has no empty fields', () => {
    const made = make({
      architecture: '',
      config: { Cmd: null, Env: [], Labels: {}, OnBuild: null, Tty: false },
      rootfs: {},
    });
    expect(Object.keys(made)).toEqual(['created', 'architecture', 'os', 'variant', 'config', 'rootfs', 'history']);
    expect(made).toMatchObject({ architecture: 'arm', os: 'linux', variant: 'v7' });
    expect(made.config).toEqual({ Tty: false });
  });

  test('without an original is what /etc/environment says', () => {
    expect(make(null, '# a comment\nA=1\n  B="two words"\nexport C=3\nD=x=y\n\n').config).toEqual({
      Env: ['A=1', 'B=two words', 'D=x=y'],
      Cmd: ['/bin/sh'],
    });
    expect(make(null)).toMatchObject({ architecture: 'arm', variant: 'v7', config: { Cmd: ['/bin/sh'] } });
  });

  test('is read by ourselves, and always the same', () => {
    const bytes = makeImageConfig(null, { platform, environment: '' }, [], 0);
    expect(parseImageConfig(bytes, 'x')).toMatchObject({ created: '1970-01-01T00:00:00Z', rootfs: { diff_ids: [] } });
    expect(makeImageConfig(null, { platform, environment: '' }, [], 0)).toEqual(bytes);
  });
});
