// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Credential, Keychain } from '../../src/credentials/keychain.ts';
import { createTokenSource } from '../../src/registry/bearer.ts';
import { completeOptions } from '../../src/registry/options.ts';
import { createSecretMask } from '../../src/registry/redact.ts';
import { type Answer, fakeRegistry } from './fake-registry.ts';
import { clientOf, closeClients, errorOf, keychainOf, never, passwordOf, refOf } from './support.ts';

afterEach(closeClients);

const manifest: Answer = { body: JSON.stringify({ schemaVersion: 2, layers: [] }) };
const json = (value: object): Answer => ({ body: JSON.stringify(value) });
const refresh = (secret: string): Credential => ({ source: 'the test', user: '', secret, kind: 'identity-token' });

test('an answer that switches protocols is a failure, not a wait without end', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const host = `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
  const error = await errorOf(clientOf({ retries: 0 }).fetchManifest(refOf(host, 'a', 'b')));
  expect(error.message).toContain('closed without a response');
  server.close();
});

test('an error that is told byte by byte is not listened to for long', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.write('HTTP/1.1 404 Not Found\r\nContent-Length: 60000\r\n\r\n');
      const timer = setInterval(() => socket.write('x'), 20);
      socket.once('close', () => clearInterval(timer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const host = `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
  const fetched = clientOf({ retries: 0, stallTimeoutMs: 200 }).fetchManifest(
    refOf(host, 'a', 'b'),
    AbortSignal.timeout(10_000),
  );
  expect((await errorOf(fetched)).message).toMatch(/xxx.* gave 404/);
  server.close();
});

test.each(['connectTimeoutSeconds', 'transferTimeoutSeconds'])(
  'a %s of a month is not one of a millisecond',
  async (name) => {
    const warned = vi.fn();
    process.on('warning', warned);
    const registry = await fakeRegistry(() => manifest);
    await clientOf({ [name]: 30 * 24 * 3600, retries: 0 }).fetchManifest(refOf(registry.host, 'a', 'b'));
    await new Promise(setImmediate);
    process.off('warning', warned);
    expect(warned).not.toHaveBeenCalled();
  },
);

test('a token server that is down is asked as often as any other, not that often squared', async () => {
  let asked = 0;
  const registry = await fakeRegistry((request, host) => {
    if (!request.url?.startsWith('/token'))
      return { status: 401, headers: { 'www-authenticate': `Bearer realm="http://${host}/token"` } };
    asked++;
    return { status: 503 };
  });
  const error = await errorOf(clientOf({ retries: 2 }).fetchManifest(refOf(registry.host, 'a', 'b')));
  expect(error.message).toContain('token for manifest b');
  expect(error.message).toContain('gave 503');
  expect(asked).toBe(3);
});

describe('a login', () => {
  test('by refresh token does not follow a redirect to another host', async () => {
    const thief = await fakeRegistry(() => json({ token: 't1' }));
    const registry = await fakeRegistry((request, host) => {
      if (request.url?.startsWith('/token'))
        return { status: 307, headers: { location: `http://${thief.host}/token` } };
      return { status: 401, headers: { 'www-authenticate': `Bearer realm="http://${host}/token"` } };
    });
    const keychain = keychainOf({ [registry.host]: refresh('the refresh token') });
    const error = await errorOf(clientOf({ keychain }).fetchManifest(refOf(registry.host, 'a', 'b')));
    expect(error.message).toContain(`a redirect to ${thief.host}, which may not get the login`);
    expect(thief.requests).toEqual([]);
  });

  test('at a port of this machine is not for a registry elsewhere', async () => {
    const listener = await fakeRegistry(() => json({ token: 't1' }));
    const options = completeOptions({
      keychain: keychainOf(),
      allowHttp: false,
      connectTimeoutSeconds: 1,
      transferTimeoutSeconds: 0,
      retries: 0,
    });
    const transport = { send: () => Promise.reject(new Error('it was sent')), close: () => {} };
    const retry = { retries: 0, retryDelayMs: 1, log: () => {}, signal: never };
    const tokens = createTokenSource({ options, transport, mask: createSecretMask(), retry });
    const url = new URL('https://registry.test/v2/a/manifests/b');
    const facts = {
      what: 'x',
      registry: 'registry.test',
      repository: 'a',
      method: 'GET',
      url,
      scope: '',
      identity: '',
    };
    const realm = new URL(`http://${listener.host}/token`);
    await expect(
      tokens.get({ realm, service: '', scopes: [], credential: passwordOf('me', 'pass'), facts }),
    ).rejects.toThrow('over plain HTTP');
  });

  test('by a registry token that is no header value is a failure that does not show it', async () => {
    const registry = await fakeRegistry(() => ({ status: 401, headers: { 'www-authenticate': 'Bearer realm="/t"' } }));
    const secret = 'first line\r\nx-other: header';
    const keychain = keychainOf({ [registry.host]: { ...refresh(secret), kind: 'registry-token' } });
    const error = await errorOf(clientOf({ keychain }).fetchManifest(refOf(registry.host, 'a', 'b')));
    expect(error.message).toContain('the registry token has characters that none can have');
    expect(`${error.message}${error.stack}`).not.toContain('first line');
  });

  test('whose password has changed meanwhile is looked up anew', async () => {
    let right = 'first';
    let given = 'first';
    const basic = (password: string) => `Basic ${Buffer.from(`me:${password}`).toString('base64')}`;
    const registry = await fakeRegistry(({ headers }) =>
      headers.authorization === basic(right)
        ? manifest
        : { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } },
    );
    const keychain: Keychain = { looked: [], find: () => Promise.resolve(passwordOf('me', given)) };
    const client = clientOf({ keychain });
    await client.fetchManifest(refOf(registry.host, 'a', 'b'));
    [right, given] = ['second', 'second'];
    await client.fetchManifest(refOf(registry.host, 'a', 'b'));
    expect(registry.requests).toHaveLength(4);
  });
});
