// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { createServer, type Server, type Socket } from 'node:net';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { fakeRegistry } from './fake-registry.ts';
import { clientOf, closeClients, errorOf, MemoryPartial, never, refOf } from './support.ts';

let silent: Server;
let silentHost: string;
const sockets: Socket[] = [];

beforeAll(async () => {
  silent = createServer((socket) => {
    socket.on('error', () => {});
    sockets.push(socket);
  });
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const address = silent.address();
  silentHost = `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
});

afterEach(closeClients);

afterAll(() => {
  for (const socket of sockets) socket.destroy();
  silent.close();
});

describe('a connection that does not come about', () => {
  const options = () => ({ env: { HTTPS_PROXY: `http://${silentHost}` }, connectTimeoutSeconds: 0.1, retries: 0 });

  test('in time is named with its proxy', async () => {
    const error = await errorOf(clientOf(options()).fetchManifest(refOf('registry.test', 'a', 'b')));
    expect(error.message).toContain(
      `no connection to registry.test through the proxy http://${silentHost} within 0.1 s`,
    );
    expect(error.hint).toContain('ENROOT_CONNECT_TIMEOUT');
  });

  test('is tried again', async () => {
    const client = clientOf({ ...options(), retries: 2 });
    await errorOf(client.fetchManifest(refOf('registry.test', 'a', 'b')));
    expect(client.log.filter((line) => line.includes('no connection to'))).toHaveLength(2);
  });

  test('ends at once when it is aborted', async () => {
    const controller = new AbortController();
    const client = clientOf({ ...options(), connectTimeoutSeconds: 0 });
    const fetched = client.fetchManifest(refOf('registry.test', 'a', 'b'), controller.signal);
    const reason = new Error('enough');
    const connected = new Promise((resolve) => silent.once('connection', resolve));
    await connected;
    controller.abort(reason);
    await expect(fetched).rejects.toBe(reason);
  });
});

test('an answer that does not come is waited for only so long', async () => {
  const error = await errorOf(clientOf({ stallTimeoutMs: 100, retries: 0 }).fetchManifest(refOf(silentHost, 'a', 'b')));
  expect(error.message).toContain('nothing arrived for 0.1 s');
});

test('time that the disk takes is not time in which nothing arrives', async () => {
  const registry = await fakeRegistry(() => ({ body: Buffer.alloc(500_000) }));
  const partial = new MemoryPartial();
  const append = partial.append.bind(partial);
  partial.append = async (chunk) => {
    if (partial.sizeBytes === 0) await new Promise((resolve) => setTimeout(resolve, 300));
    append(chunk);
  };
  const blob = { mediaType: '', digest: `sha256:${'0'.repeat(64)}`, sizeBytes: 500_000 };
  await clientOf({ stallTimeoutMs: 100, retries: 0 }).downloadBlob(refOf(registry.host, 'a', ''), blob, partial, never);
  expect(partial.sizeBytes).toBe(500_000);
});

test('a body whose length is not announced is counted', async () => {
  const registry = await fakeRegistry(({ headers }) =>
    headers.range === undefined
      ? { body: Buffer.alloc(1000) }
      : { status: 206, headers: { 'content-range': 'bytes 1000-1499/1500' }, body: Buffer.alloc(500) },
  );
  const ref = refOf(registry.host, 'a', '');
  const blob = (sizeBytes: number) => ({ mediaType: '', digest: `sha256:${'0'.repeat(64)}`, sizeBytes });
  const partial = new MemoryPartial();
  await clientOf().downloadBlob(ref, blob(1500), partial, never);
  expect(partial.sizeBytes).toBe(1500);
  const other = new MemoryPartial();
  await expect(clientOf().downloadBlob(ref, blob(999), other, never)).rejects.toThrow(/longer than the 999 bytes/);
  expect(other.sizeBytes).toBe(0);
  expect(registry.requests).toHaveLength(3);
});

test('connections are used again, also after an error page', async () => {
  const ports = new Set<number | undefined>();
  const registry = await fakeRegistry((request) => {
    ports.add(request.socket.remotePort);
    return request.url?.endsWith('none') ? { status: 404, body: '{}' } : { body: '{"schemaVersion":2}' };
  });
  const client = clientOf();
  for (const tag of ['a', 'none', 'b', 'none', 'c'])
    await client.fetchManifest(refOf(registry.host, 'x', tag)).catch(() => {});
  await client.headManifest(refOf(registry.host, 'x', 'none'));
  expect(registry.requests.length).toBe(6);
  expect(ports.size).toBe(1);
});

test('a kept connection that the server closes costs no retry', async () => {
  let count = 0;
  const registry = await fakeRegistry((request) => {
    // The second request on a connection finds it closed, as when a server's idle time ends just then.
    if (++count === 2) request.socket.destroy();
    return { body: '{"schemaVersion":2}' };
  });
  const client = clientOf({ retries: 0 });
  await client.fetchManifest(refOf(registry.host, 'x', 'a'));
  await client.fetchManifest(refOf(registry.host, 'x', 'b'));
  expect(registry.requests.map(({ url }) => url)).toEqual([
    '/v2/x/manifests/a',
    '/v2/x/manifests/b',
    '/v2/x/manifests/b',
  ]);
});

test('a closed client holds no process, whatever it was at', () => {
  const script = `
    import { createRegistryClient } from '${path.resolve('src/registry/client.ts')}';
    const options = { keychain: { find: async () => null, looked: [] }, allowHttp: false, connectTimeoutSeconds: 0,
      transferTimeoutSeconds: 0, retries: 9, env: { HTTPS_PROXY: 'http://${silentHost}' } };
    const client = createRegistryClient(options);
    const ref = { user: '', repository: 'a', tag: 'b', digest: '' };
    const all = ['registry.test', '${silentHost}', '127.0.0.1:1'].map((registry) => client.fetchManifest({ ...ref, registry }));
    setTimeout(() => client.close(), 150);
    console.log((await Promise.allSettled(all)).map(({ reason }) => reason.message).join());`;
  const argv = ['--input-type=module', '-e', script];
  const said = execFileSync(process.execPath, argv, { encoding: 'utf8', timeout: 10_000 });
  expect(said.trim()).toBe(Array(3).fill('the registry client was closed').join());
});
