// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findDaemon } from '../../src/source/daemon-address.ts';
import { makeTemporary, writeTree } from './support.ts';

let dir = '';
beforeAll(() => {
  dir = makeTemporary();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('the address of a daemon', () => {
  const find = (env: Record<string, string>, kind: 'docker' | 'podman' = 'docker') => findDaemon(kind, env);

  test('is what the variable says', () => {
    expect(find({ DOCKER_HOST: 'unix:///x.sock' })).toEqual({ kind: 'unix', path: '/x.sock', from: 'DOCKER_HOST' });
    expect(find({ CONTAINER_HOST: 'unix:///p.sock' }, 'podman')).toMatchObject({ path: '/p.sock' });
    expect(find({ DOCKER_HOST: 'tcp://h' })).toEqual({
      kind: 'tcp',
      host: 'h',
      port: 2375,
      tls: null,
      from: 'DOCKER_HOST',
    });
    expect(find({ DOCKER_HOST: 'tcp://[::1]:80' })).toMatchObject({ host: '::1', port: 80 });
    expect(find({ DOCKER_HOST: 'ssh://me@h:22' })).toMatchObject({ kind: 'ssh', url: 'ssh://me@h:22' });
    for (const text of ['x', 'unix://x', 'tcp://', 'npipe:////./pipe/docker', 'fd://']) {
      expect(() => find({ DOCKER_HOST: text })).toThrow(`cannot understand the address "${text}" of DOCKER_HOST`);
    }
  });

  test('has certificates where they are asked for', () => {
    writeTree(join(dir, 'certificates'), { 'ca.pem': 'CA', 'cert.pem': 'CERT', 'key.pem': 'KEY' });
    const env = { DOCKER_HOST: 'tcp://h', DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: join(dir, 'certificates') };
    expect(find(env)).toMatchObject({ port: 2376, tls: { ca: 'CA', certificate: 'CERT', key: 'KEY' } });
    expect(find({ ...env, DOCKER_CERT_PATH: dir })).toMatchObject({ tls: { ca: '', certificate: '', key: '' } });
  });

  test('is that of the docker context', () => {
    const id = createHash('sha256').update('mine').digest('hex');
    writeTree(join(dir, 'home/.docker'), {
      'config.json': '{"currentContext": "mine"}',
      [`contexts/meta/${id}/meta.json`]: '{"Name": "mine", "Endpoints": {"docker": {"Host": "unix:///context.sock"}}}',
    });
    const HOME = join(dir, 'home');
    expect(find({ HOME })).toEqual({ kind: 'unix', path: '/context.sock', from: 'the docker context mine' });
    expect(find({ HOME, DOCKER_HOST: 'unix:///x' })).toMatchObject({ path: '/x' });
    expect(find({ HOME, DOCKER_CONTEXT: 'default', XDG_RUNTIME_DIR: '/none' })).toMatchObject({
      path: '/var/run/docker.sock',
    });
    expect(() => find({ HOME, DOCKER_CONTEXT: 'other' })).toThrow('there is no docker context "other"');
  });

  test('is the first of the usual sockets that exists', () => {
    const env = { HOME: join(dir, 'home2'), XDG_RUNTIME_DIR: join(dir, 'run2') };
    expect(find(env)).toMatchObject({ path: '/var/run/docker.sock' });
    writeTree(env.HOME, { '.docker/desktop/docker.sock': '' });
    expect(find(env)).toMatchObject({ path: `${env.HOME}/.docker/desktop/docker.sock` });
    writeTree(env.XDG_RUNTIME_DIR, { 'docker.sock': '', 'podman/podman.sock': '' });
    expect(find(env)).toMatchObject({ path: `${env.XDG_RUNTIME_DIR}/docker.sock` });
    expect(find(env, 'podman')).toMatchObject({ path: `${env.XDG_RUNTIME_DIR}/podman/podman.sock` });
  });
});
