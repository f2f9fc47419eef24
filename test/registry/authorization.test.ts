// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { type Answer, fakeRegistry } from './fake-registry.ts';
import { clientOf, closeClients, errorOf, keychainOf, passwordOf, refOf } from './support.ts';

afterEach(closeClients);

const manifest = { body: JSON.stringify({ schemaVersion: 2, layers: [] }) };

/** A registry that gives its manifest to who has the right header; /token answers with `token`. */
function locked(
  challenge: string | readonly string[],
  right: string,
  token: (request: IncomingMessage) => Answer = () => ({}),
) {
  return fakeRegistry((request, host) => {
    if (request.url?.startsWith('/token')) return token(request);
    if (request.headers.authorization === right) return manifest;
    const values = [challenge].flat().map((text) => text.replaceAll('HOST', `http://${host}`));
    return { status: 401, headers: { 'www-authenticate': values }, body: '{}' };
  });
}

const basic = `Basic ${Buffer.from('me:pass').toString('base64')}`;
const json = (value: object) => ({ body: JSON.stringify(value) });

describe('a challenge', () => {
  test('for Bearer and Basic in two headers is answered by Bearer', async () => {
    const registry = await locked(['Basic realm="x"', 'Bearer realm="HOST/token"'], 'Bearer t1', () =>
      json({ token: 't1' }),
    );
    const keychain = keychainOf({ [registry.host]: passwordOf('me', 'pass') });
    await clientOf({ keychain }).fetchManifest(refOf(registry.host, 'a', 'b'));
    expect(registry.requests[1]?.headers.authorization).toBe(basic);
  });

  test('for Negotiate and Basic is answered by Basic', async () => {
    const registry = await locked('Negotiate, Basic realm="x"', basic);
    const keychain = keychainOf({ [registry.host]: passwordOf('me', 'pass') });
    await clientOf({ keychain }).fetchManifest(refOf(registry.host, 'a', 'b'));
  });

  test('for what is not known here ends with the login that is needed', async () => {
    const registry = await locked('Negotiate', 'x');
    await expect(clientOf().fetchManifest(refOf(registry.host, 'a', 'b'))).rejects.toThrow(
      /a login is needed .* gave 401; anonymous/,
    );
    expect(registry.requests).toHaveLength(1);
  });

  test('with a realm that has a query keeps it', async () => {
    const challenge = 'Bearer realm="HOST/token?scope=repository:a:pull&x=1",service="s v"';
    const registry = await locked(challenge, 'Bearer t1', () => json({ token: 't1' }));
    await clientOf().fetchManifest(refOf(registry.host, 'a', 'b'));
    const url = new URL(registry.requests[1]?.url ?? '', 'http://x');
    expect([...url.searchParams]).toEqual([
      ['scope', 'repository:a:pull'],
      ['x', '1'],
      ['service', 's v'],
    ]);
  });

  test('that asks for a password over plain HTTP elsewhere is refused', async () => {
    const registry = await locked('Bearer realm="http://auth.example/token",service="s"', 'x');
    const keychain = keychainOf({ [registry.host]: passwordOf('me', 'pass') });
    const error = await errorOf(clientOf({ keychain }).fetchManifest(refOf(registry.host, 'a', 'b')));
    expect(error.message).toContain(
      'the registry wants the password sent over plain HTTP (GET http://auth.example/token',
    );
  });

  test('repeated for a token that was just made is not answered for ever', async () => {
    let count = 0;
    const registry = await locked('Bearer realm="HOST/token",scope="repository:a:pull"', 'x', () =>
      json({ token: `t${count++}` }),
    );
    const error = await errorOf(clientOf().fetchManifest(refOf(registry.host, 'a', 'b')));
    expect(error.message).toMatch(/a login is needed .*scope repository:a:pull; anonymous/);
    expect(count).toBe(1);
  });

  test('that wants more than the token is for gets a token for more', async () => {
    let asked = '';
    const registry = await fakeRegistry((request, host) => {
      if (request.url?.startsWith('/token')) {
        asked = new URL(request.url, 'http://x').searchParams.get('scope') ?? '';
        return json({ token: asked.includes('extra') ? 'wide' : 'narrow' });
      }
      if (request.headers.authorization === 'Bearer wide') return manifest;
      const scope = request.headers.authorization === undefined ? 'repository:a:pull' : 'repository:a:extra';
      return { status: 401, headers: { 'www-authenticate': `Bearer realm="http://${host}/token",scope="${scope}"` } };
    });
    await clientOf().fetchManifest(refOf(registry.host, 'a', 'b'));
    expect(asked).toBe('repository:a:extra,pull');
  });
});

describe('a token', () => {
  test.each([
    ['as access_token', { access_token: 't1' }],
    ['with both names', { token: 't1', access_token: 'other' }],
    ['with a life in a string', { token: 't1', expires_in: '60' }],
    ['with a life of nonsense', { token: 't1', expires_in: -5 }],
  ])('%s serves for the next request too', async (_, answer) => {
    const registry = await locked('Bearer realm="HOST/token"', 'Bearer t1', () => json(answer));
    const client = clientOf();
    await client.fetchManifest(refOf(registry.host, 'a', 'b'));
    await client.fetchManifest(refOf(registry.host, 'a', 'c'));
    expect(registry.requests.map(({ url }) => url.split('?', 1)[0])).toEqual([
      '/v2/a/manifests/b',
      '/token',
      '/v2/a/manifests/b',
      '/v2/a/manifests/c',
    ]);
  });

  test.each([
    ['nothing', {}],
    ['a line end', { token: 'a\r\nX-Evil: 1' }],
    ['a number', { token: 7 }],
  ])('that is %s is refused', async (_, answer) => {
    const registry = await locked('Bearer realm="HOST/token"', 'x', () => json(answer));
    await expect(clientOf().fetchManifest(refOf(registry.host, 'a', 'b'))).rejects.toThrow(
      /the token server answered without a token/,
    );
  });

  test('that a registry repeats in its error is not shown', async () => {
    const registry = await fakeRegistry((request, host) => {
      if (request.url?.startsWith('/token')) return json({ token: 'very-secret-token' });
      if (request.headers.authorization === undefined)
        return { status: 401, headers: { 'www-authenticate': `Bearer realm="http://${host}/token"` } };
      return {
        status: 404,
        body: JSON.stringify({ errors: [{ code: 'X', message: `you sent ${request.headers.authorization}` }] }),
      };
    });
    const error = await errorOf(clientOf().fetchManifest(refOf(registry.host, 'a', 'b')));
    expect(error.message).toContain('X: you sent Bearer ***');
  });
});
