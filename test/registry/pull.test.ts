// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { digestOf, type Layout, randomLayer, writeLayout } from '../support/random-layout.ts';
import { registryPassword, registryUser, startRegistry, type TestRegistry } from '../support/registry.ts';
import { sessionDir } from '../support/session.ts';
import { startTokenServer, type TokenServer } from '../support/token-server.ts';
import { clientOf, closeClients, errorOf, keychainOf, MemoryPartial, never, passwordOf, refOf } from './support.ts';

let layout: Layout;
let locked: TestRegistry;
let tokens: TokenServer;
let tokened: TestRegistry;

beforeAll(async () => {
  const directory = mkdtempSync(path.join(sessionDir(), 'layout-'));
  layout = writeLayout(directory, 'one', [randomLayer(300_000), gzipSync(randomBytes(20))]);
  tokens = await startTokenServer();
  [locked, tokened] = await Promise.all([startRegistry({ auth: 'htpasswd' }), startRegistry({ auth: tokens })]);
  await Promise.all([locked, tokened].map((registry) => registry.push(layout.source, 'team/app:1.0')));
});

afterEach(closeClients);

afterAll(async () => {
  await Promise.all([locked?.stop(), tokened?.stop(), tokens?.stop()]);
});

describe('a registry with a password', () => {
  test('gives manifest and blobs to who has it, and asks for the password once', async () => {
    const keychain = keychainOf({ [locked.host]: passwordOf(registryUser, registryPassword) });
    const client = clientOf({ keychain });
    const ref = refOf(locked.host, 'team/app', '1.0');
    const manifest = await client.fetchManifest(ref);
    expect(manifest.mediaType).toBe('application/vnd.oci.image.manifest.v1+json');
    expect(manifest.digest).toBe(digestOf(manifest.bytes));
    for (const layer of layout.layers) {
      const partial = new MemoryPartial();
      await client.downloadBlob(ref, layer, partial, never);
      expect(digestOf(partial.bytes)).toBe(layer.digest);
    }
    expect(keychain.lookups).toEqual([{ registry: locked.host, user: '', repository: 'team/app', realmHost: '' }]);
  });

  test('tells those without what to do', async () => {
    const error = await errorOf(clientOf().fetchManifest(refOf(locked.host, 'team/app', '1.0')));
    expect(error.message).toBe(
      `manifest 1.0 of team/app at ${locked.host}: a login is needed: UNAUTHORIZED: authentication required ` +
        `(GET http://${locked.host}/v2/team/app/manifests/1.0 gave 401; anonymous)`,
    );
    expect(error.hint).toContain('--user NAME');
    expect(error.hint).toContain(`docker login ${locked.host}`);
  });

  test('tells who is refused whose password it was, and never the password', async () => {
    const keychain = keychainOf({ [locked.host]: passwordOf(registryUser, 'wrong-secret') });
    const client = clientOf({ keychain });
    const error = await errorOf(client.fetchManifest(refOf(locked.host, 'team/app', '1.0', { user: registryUser })));
    expect(error.message).toContain('the login was refused');
    expect(error.message).toContain(`user ${registryUser} by the test`);
    expect([error.message, error.hint, ...client.log].join('\n')).not.toMatch(/wrong-secret|d3Jvbmctc2VjcmV0/);
    expect(keychain.lookups[0]?.user).toBe(registryUser);
  });

  test('says by a ping whether a login works', async () => {
    const keychain = keychainOf({ [locked.host]: passwordOf(registryUser, registryPassword) });
    await clientOf({ keychain }).ping(locked.host);
    await expect(clientOf().ping(locked.host)).rejects.toThrow(/login at 127.*a login is needed/);
  });
});

describe('a registry with a token server', () => {
  test('gives an anonymous token for the scope of the repository, once for all blobs', async () => {
    const client = clientOf();
    const before = tokens.asks.length;
    const ref = refOf(tokened.host, 'team/app', '1.0');
    await client.fetchManifest(ref);
    await Promise.all(
      layout.layers.map(async (layer) => {
        const partial = new MemoryPartial();
        await client.downloadBlob(ref, layer, partial, never);
        expect(digestOf(partial.bytes)).toBe(layer.digest);
      }),
    );
    expect(tokens.asks.slice(before)).toEqual([
      {
        method: 'GET',
        scopes: ['repository:team/app:pull'],
        service: 'test registry',
        account: '',
        user: '',
        grant: '',
      },
    ]);
  });

  test('is shown the password at its realm only, with the account', async () => {
    const keychain = keychainOf({ [tokened.host]: passwordOf(tokens.user, tokens.password) });
    const before = tokens.asks.length;
    await clientOf({ keychain }).fetchManifest(refOf(tokened.host, 'team/app', '1.0'));
    expect(tokens.asks.slice(before)).toEqual([expect.objectContaining({ user: tokens.user, account: tokens.user })]);
    expect(keychain.lookups).toEqual([expect.objectContaining({ realmHost: new URL(tokens.realm).host })]);
  });

  test('takes an identity token by the refresh grant', async () => {
    const credential = { source: 'the test', user: '', secret: tokens.identityToken, kind: 'identity-token' } as const;
    const before = tokens.asks.length;
    await clientOf({ keychain: keychainOf({ [tokened.host]: credential }) }).fetchManifest(
      refOf(tokened.host, 'team/app', '1.0'),
    );
    expect(tokens.asks.slice(before)).toEqual([
      expect.objectContaining({ method: 'POST', grant: 'refresh_token', user: tokens.user, service: 'test registry' }),
    ]);
  });

  test('takes a registry token as it is', async () => {
    const secret = tokens.sign(['repository:team/app:pull']);
    const credential = { source: 'the test', user: '', secret, kind: 'registry-token' } as const;
    const before = tokens.asks.length;
    await clientOf({ keychain: keychainOf({ [tokened.host]: credential }) }).fetchManifest(
      refOf(tokened.host, 'team/app', '1.0'),
    );
    expect(tokens.asks.length).toBe(before);
  });

  test('that refuses the password is named with scope and user, without the password', async () => {
    const keychain = keychainOf({ [tokened.host]: passwordOf(tokens.user, 'wrong-secret') });
    const client = clientOf({ keychain });
    const error = await errorOf(client.fetchManifest(refOf(tokened.host, 'team/app', '1.0')));
    expect(error.message).toMatch(
      /^token for manifest 1\.0 of team\/app at 127\.0\.0\.1:\d+: the login was refused: UNAUTHORIZED: wrong user or password/,
    );
    expect(error.message).toContain('scope repository:team/app:pull');
    expect(error.message).toContain(`user ${tokens.user} by the test`);
    expect(error.message).toContain(`service=test registry`);
    expect([error.message, error.hint, ...client.log].join('\n')).not.toContain('wrong-secret');
  });

  test('is asked again after it failed for a moment', async () => {
    tokens.failNext(503, 429);
    const client = clientOf();
    await client.fetchManifest(refOf(tokened.host, 'team/app', '1.0'));
    expect(client.log.filter((line) => /trying again in .* \(\d of 3\)$/.test(line))).toHaveLength(2);
  });
});

describe('manifests', () => {
  test('are fetched by digest, whatever the tag is', async () => {
    const client = clientOf();
    const { digest } = await client.fetchManifest(refOf(tokened.host, 'team/app', '1.0'));
    const again = await client.fetchManifest(refOf(tokened.host, 'team/app', 'no-such-tag', { digest }));
    expect(again.digest).toBe(digest);
  });

  test('are asked for without being sent', async () => {
    const client = clientOf();
    const { digest, bytes, mediaType } = await client.fetchManifest(refOf(tokened.host, 'team/app', '1.0'));
    const head = await client.headManifest(refOf(tokened.host, 'team/app', '1.0'));
    expect(head).toEqual({ digest, mediaType, sizeBytes: bytes.length });
    expect(await client.headManifest(refOf(tokened.host, 'team/app', '2.0'))).toBeNull();
  });

  test('that do not exist are named with the code of the registry', async () => {
    const error = await errorOf(clientOf().fetchManifest(refOf(tokened.host, 'team/app', '2.0')));
    expect(error.message).toContain(
      `manifest 2.0 of team/app at ${tokened.host}: not found: MANIFEST_UNKNOWN: manifest unknown`,
    );
    expect(error.status).toBe(404);
    expect(error.code).toBe('MANIFEST_UNKNOWN');
    expect(error.hint).toContain('check the name and the tag');
  });
});
