// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { listEndpoints } from '../../src/registry/mirrors.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { onTries } from '../support/fault-rules.ts';
import { digestOf, type Layout, type LayoutBlob, randomLayer, writeLayout } from '../support/random-layout.ts';
import { registryPassword, registryUser, startRegistry, type TestRegistry } from '../support/registry.ts';
import { sessionDir } from '../support/session.ts';
import { clientOf, closeClients, errorOf, keychainOf, MemoryPartial, never, passwordOf, refOf } from './support.ts';

describe('the endpoints of an image', () => {
  const ref = refOf('registry-1.docker.io', 'library/ubuntu', '24.04', { user: 'me' });
  const list = (prefix: string, ...endpoints: string[]) =>
    listEndpoints(ref, [{ prefix, endpoints }]).map(
      ({ scheme, host, repository }) => `${scheme ?? ''} ${host} ${repository}`,
    );
  const own = ' registry-1.docker.io library/ubuntu';

  test.each([
    ['docker.io', 'mirror:5000', ' mirror:5000 library/ubuntu'],
    ['registry-1.docker.io', 'mirror', ' mirror library/ubuntu'],
    ['docker.io', 'https://Mirror.example/hub/', 'https mirror.example hub/library/ubuntu'],
    ['docker.io/library', 'mirror/debian-and-others', ' mirror debian-and-others/ubuntu'],
    ['docker.io/library/ubuntu', 'http://[::1]:5000/x/y', 'http [::1]:5000 x/y'],
    ['docker.io', 'https://mirror/v2/hub', 'https mirror hub/library/ubuntu'],
  ])('of %s by %s are %s and its own', (prefix, endpoint, expected) => {
    expect(list(prefix, endpoint)).toEqual([expected, own]);
  });

  test.each(['ghcr.io', 'docker.io/lib', 'docker.io/library/ubuntu/x', 'docker'])(
    'are its own alone by a mirror for %s',
    (prefix) => {
      expect(list(prefix, 'mirror')).toEqual([own]);
    },
  );

  test('begin with the longest prefix, in the order of the list, and only the own one has the user', () => {
    const endpoints = listEndpoints(ref, [
      { prefix: 'docker.io', endpoints: ['a', 'b'] },
      { prefix: 'docker.io/library', endpoints: ['c'] },
    ]);
    expect(endpoints.map(({ host }) => host)).toEqual(['c', 'a', 'b', 'registry-1.docker.io']);
    expect(endpoints.map(({ user }) => user)).toEqual(['', '', '', 'me']);
  });

  test('that are no hosts are refused without their passwords', () => {
    expect(() => list('docker.io', 'https://u:secret@mirror')).toThrow(/^mirror https:\/\/\*\*\*@mirror: not a host$/);
  });
});

describe('a pull', () => {
  let own: TestRegistry;
  let mirror: TestRegistry;
  let proxy: FaultProxy;
  let layout: Layout;
  let blob: LayoutBlob;

  beforeAll(async () => {
    layout = writeLayout(mkdtempSync(path.join(sessionDir(), 'layout-')), 'one', [randomLayer(100_000)]);
    blob = layout.layers[0] as LayoutBlob;
    [own, mirror] = await Promise.all([startRegistry(), startRegistry({ auth: 'htpasswd' })]);
    await Promise.all([own.push(layout.source, 'team/app:1.0'), mirror.push(layout.source, 'cache/team/app:1.0')]);
    proxy = await startFaultProxy(mirror.url);
  });

  afterEach(() => {
    closeClients();
    proxy.reset();
  });

  afterAll(async () => {
    await proxy?.stop();
    await Promise.all([own?.stop(), mirror?.stop()]);
  });

  const mirrored = (endpoints = [`${proxy.host}/cache`]) =>
    clientOf({
      mirrors: [{ prefix: own.host, endpoints }],
      keychain: keychainOf({
        [proxy.host]: passwordOf(registryUser, registryPassword),
        [own.host]: passwordOf('own-user', 'own-secret'),
      }),
    });
  const ref = () => refOf(own.host, 'team/app', '1.0', { user: 'own-user' });

  async function pull(client = mirrored()): Promise<MemoryPartial> {
    await client.fetchManifest(ref());
    const partial = new MemoryPartial();
    await client.downloadBlob(ref(), blob, partial, never);
    return partial;
  }

  test('comes from the mirror, by its own credentials', async () => {
    expect(digestOf((await pull()).bytes)).toBe(blob.digest);
    expect(proxy.sentBytes(blob.digest)).toBe(blob.sizeBytes);
    const shown = proxy.requests.map(({ headers }) => headers.authorization);
    expect(shown).not.toContain(`Basic ${Buffer.from('own-user:own-secret').toString('base64')}`);
  });

  test('goes on at the registry with what the mirror did not send', async () => {
    proxy.inject(onTries(99, { kind: 'cut', atByte: 40_000 }));
    const client = mirrored();
    expect(digestOf((await pull(client)).bytes)).toBe(blob.digest);
    expect(proxy.sentBytes(blob.digest)).toBe(40_000);
    expect(client.log.join('\n')).toMatch(/at the mirror 127.*; going on without this mirror/);
  });

  test('goes past a mirror that has not got it, and past one that is not there, asked once', async () => {
    const client = mirrored(['127.0.0.1:1', `${proxy.host}/nothing`]);
    expect(digestOf((await pull(client)).bytes)).toBe(blob.digest);
    expect(
      client.log.filter((line) => /connection to 127\.0\.0\.1:1 refused.*going on without/.test(line)),
    ).toHaveLength(1);
    expect(client.log.filter((line) => /nothing\/team\/app.*going on without/.test(line))).toHaveLength(2);
  });

  test('does not take a blob again from a mirror whose bytes did not verify', async () => {
    proxy.inject(onTries(99, { kind: 'corrupt', atByte: 5 }));
    const client = mirrored();
    expect(digestOf((await pull(client)).bytes)).not.toBe(blob.digest);
    expect(digestOf((await pull(client)).bytes)).toBe(blob.digest);
  });

  test('of what nobody has tells of the registry', async () => {
    const error = await errorOf(mirrored().fetchManifest({ ...ref(), tag: 'none' }));
    expect(error.message).toContain(`manifest none of team/app at ${own.host}: not found`);
  });
});
