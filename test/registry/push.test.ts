// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { digestOf, type Layout, randomLayer, writeLayout } from '../support/random-layout.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { sessionDir } from '../support/session.ts';
import { startTokenServer, type TokenServer } from '../support/token-server.ts';
import { fakeRegistry } from './fake-registry.ts';
import { clientOf, closeClients, errorOf, keychainOf, MemoryPartial, never, passwordOf, refOf } from './support.ts';

let tokens: TokenServer;
let registry: TestRegistry;
let proxy: FaultProxy;
let layout: Layout;
let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(path.join(sessionDir(), 'push-'));
  layout = writeLayout(path.join(directory, 'layout'), 'one', [200_000, 30_000].map(randomLayer));
  tokens = await startTokenServer();
  registry = await startRegistry({ auth: tokens, relativeUrls: true });
  proxy = await startFaultProxy(registry.url);
});

afterEach(() => {
  closeClients();
  proxy.reset();
});

afterAll(async () => {
  await proxy?.stop();
  await Promise.all([registry?.stop(), tokens?.stop()]);
});

const pusher = (options = {}) =>
  clientOf({
    keychain: keychainOf(
      Object.fromEntries([registry.host, proxy.host].map((host) => [host, passwordOf(tokens.user, tokens.password)])),
    ),
    ...options,
  });
const uploadOf = (bytes: Buffer) => ({
  digest: digestOf(bytes),
  sizeBytes: bytes.length,
  open: () => Promise.resolve(Readable.from([bytes.subarray(0, 10), bytes.subarray(10)])),
});

/** The bytes of a blob, as a fresh client gets them. */
async function fetchBack(repository: string, digest: string, sizeBytes: number): Promise<Buffer> {
  const partial = new MemoryPartial();
  const blob = { mediaType: '', digest, sizeBytes };
  await clientOf().downloadBlob(refOf(registry.host, repository, ''), blob, partial, never);
  return partial.bytes;
}

describe('a push', () => {
  test('of an image is what skopeo pulls', async () => {
    const client = pusher();
    const ref = refOf(registry.host, 'pushed/image', 'v1');
    const before = tokens.asks.length;
    for (const blob of [...layout.layers, layout.config]) {
      expect(await client.hasBlob(ref, blob.digest)).toBe(false);
      expect(await client.uploadBlob(ref, uploadOf(blob.bytes))).toEqual({
        digest: blob.digest,
        sizeBytes: blob.sizeBytes,
      });
      expect(await client.hasBlob(ref, blob.digest)).toBe(true);
    }
    const index = JSON.parse(readFileSync(path.join(directory, 'layout/index.json'), 'utf8'));
    const digest: string = index.manifests[0].digest;
    const manifest = readFileSync(path.join(directory, 'layout/blobs/sha256', digest.slice(7)));
    expect(await client.putManifest(ref, manifest, 'application/vnd.oci.image.manifest.v1+json')).toBe(digest);
    expect(
      await client.putManifest({ ...ref, tag: '', digest }, manifest, 'application/vnd.oci.image.manifest.v1+json'),
    ).toBe(digest);
    expect(tokens.asks.slice(before)).toEqual([
      expect.objectContaining({ scopes: ['repository:pushed/image:pull,push'] }),
    ]);
    await registry.pull('pushed/image:v1', `oci:${path.join(directory, 'pulled')}:v1`);
    const pulled = JSON.parse(readFileSync(path.join(directory, 'pulled/index.json'), 'utf8'));
    expect(pulled.manifests[0].digest).toBe(digest);
  });

  test('of bytes whose digest and size are not known before gives both', async () => {
    const bytes = randomBytes(150_000);
    const sent: number[] = [];
    const upload = { ...uploadOf(bytes), digest: '', sizeBytes: null, onProgress: (count: number) => sent.push(count) };
    const result = await pusher().uploadBlob(refOf(registry.host, 'pushed/unknown', ''), upload);
    expect(result).toEqual({ digest: digestOf(bytes), sizeBytes: bytes.length });
    expect(await fetchBack('pushed/unknown', result.digest, result.sizeBytes)).toEqual(bytes);
    expect(sent).toEqual([0, 10, 150_000]);
  });

  test('of an empty blob works', async () => {
    const result = await pusher().uploadBlob(refOf(registry.host, 'pushed/empty', ''), {
      ...uploadOf(Buffer.alloc(0)),
      open: () => Promise.resolve(Readable.from([])),
    });
    expect(await fetchBack('pushed/empty', result.digest, 0)).toEqual(Buffer.alloc(0));
  });

  test('of a blob that another repository has sends no bytes', async () => {
    const client = pusher();
    const bytes = randomBytes(5000);
    await client.uploadBlob(refOf(registry.host, 'pushed/first', ''), uploadOf(bytes));
    const second = refOf(proxy.host, 'pushed/second', '');
    expect(await client.mountBlob(second, digestOf(bytes), 'pushed/first')).toBe(true);
    expect(await fetchBack('pushed/second', digestOf(bytes), 5000)).toEqual(bytes);
    expect(proxy.requests.filter(({ status }) => status !== 401)).toHaveLength(1);
    expect(tokens.asks.at(-2)?.scopes).toEqual(['repository:pushed/second:pull,push', 'repository:pushed/first:pull']);
  });

  test('of a blob that cannot be mounted goes on with the upload that the registry opened', async () => {
    const client = pusher();
    const bytes = randomBytes(5000);
    const ref = refOf(proxy.host, 'pushed/third', '');
    expect(await client.mountBlob(ref, digestOf(bytes), 'pushed/nowhere')).toBe(false);
    await client.uploadBlob(ref, uploadOf(bytes));
    expect(await fetchBack('pushed/third', digestOf(bytes), 5000)).toEqual(bytes);
    expect(proxy.requests.filter(({ status }) => status !== 401).map(({ method }) => method)).toEqual(['POST', 'PUT']);
  });

  test('that is cut is sent again from the beginning of the stream', async () => {
    const bytes = randomBytes(100_000);
    const ref = refOf(proxy.host, 'pushed/cut', '');
    let cuts = 2;
    proxy.inject(({ method }) => (method === 'PUT' && cuts-- > 0 ? { kind: 'cut', atByte: 'before' } : null));
    let opened = 0;
    const upload = uploadOf(bytes);
    const open = () => {
      opened++;
      return upload.open();
    };
    await pusher().uploadBlob(ref, { ...upload, open });
    expect(opened).toBe(3);
    expect(await fetchBack('pushed/cut', digestOf(bytes), bytes.length)).toEqual(bytes);
  });

  test("of other bytes than the digest says is refused with the registry's words", async () => {
    const upload = { ...uploadOf(randomBytes(1000)), digest: digestOf(Buffer.from('other')) };
    const error = await errorOf(pusher().uploadBlob(refOf(registry.host, 'pushed/wrong', ''), upload));
    expect(error.message).toMatch(/^upload of blob sha256:\w+ of pushed\/wrong at .*: DIGEST_INVALID: .*\(PUT /);
    expect(error.message).not.toContain('_state=');
  });

  test('whose bytes cannot be read says so, and is not tried again', async () => {
    const broken = new Error('disk on fire');
    let opened = 0;
    const open = () => {
      opened++;
      return Promise.resolve(
        Readable.from(
          (async function* () {
            yield Buffer.alloc(10);
            throw broken;
          })(),
        ),
      );
    };
    const upload = { ...uploadOf(randomBytes(1000)), open };
    await expect(pusher().uploadBlob(refOf(registry.host, 'pushed/broken', ''), upload)).rejects.toBe(broken);
    expect(opened).toBe(1);
  });

  test('that the registry wants elsewhere takes no credentials there', async () => {
    const elsewhere = await fakeRegistry(() => ({ status: 201 }));
    const there = await fakeRegistry((request) => {
      if (request.headers.authorization === undefined)
        return { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } };
      return { status: 202, headers: { location: `http://${elsewhere.host}/signed?X-Signature=secret` } };
    });
    const client = clientOf({ keychain: keychainOf({ [there.host]: passwordOf('me', 'pass') }) });
    const bytes = randomBytes(100);
    await client.uploadBlob(refOf(there.host, 'a', ''), uploadOf(bytes));
    expect(elsewhere.requests.map(({ method, url, headers }) => [method, url, headers.authorization])).toEqual([
      ['PUT', `/signed?X-Signature=secret&digest=${encodeURIComponent(digestOf(bytes))}`, undefined],
    ]);
  });

  test('by nobody says who may not', async () => {
    const error = await errorOf(
      clientOf().uploadBlob(refOf(registry.host, 'pushed/nobody', ''), uploadOf(randomBytes(10))),
    );
    expect(error.message).toContain('a login is needed');
    expect(error.message).toContain('scope repository:pushed/nobody:pull,push; anonymous');
  });

  test('of a manifest whose layers are missing names what the registry says', async () => {
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digestOf(Buffer.from('x')), size: 1 },
        layers: [],
      }),
    );
    const error = await errorOf(
      pusher().putManifest(
        refOf(registry.host, 'pushed/none', 'x'),
        manifest,
        'application/vnd.oci.image.manifest.v1+json',
      ),
    );
    expect(error.message).toContain('push of manifest x of pushed/none');
    expect(error.code).toBe('MANIFEST_BLOB_UNKNOWN');
  });

  test('to a registry in trouble is tried again', async () => {
    proxy.inject(({ method, tryNumber }) =>
      method === 'POST' && tryNumber <= 2 ? { kind: 'answer', status: 503 } : null,
    );
    const bytes = randomBytes(1000);
    await pusher().uploadBlob(refOf(proxy.host, 'pushed/trouble', ''), uploadOf(bytes));
    expect(await fetchBack('pushed/trouble', digestOf(bytes), 1000)).toEqual(bytes);
  });
});
