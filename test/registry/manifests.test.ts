// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { afterEach, describe, expect, test } from 'vitest';
import { digestOf } from '../support/random-layout.ts';
import { type Answer, fakeRegistry } from './fake-registry.ts';
import { clientOf, closeClients, errorOf, refOf } from './support.ts';

afterEach(closeClients);

const oci = 'application/vnd.oci.image.manifest.v1+json';
const docker = 'application/vnd.docker.distribution.manifest.v2+json';
const sha512 = (text: string) => `sha512:${createHash('sha512').update(text).digest('hex')}`;

/** What a client makes of one answer. */
async function fetch(answer: Answer, digest = '') {
  const registry = await fakeRegistry(() => answer);
  return await clientOf().fetchManifest(refOf(registry.host, 'a/b', digest === '' ? 'v1' : '', { digest }));
}

const plain = JSON.stringify({ schemaVersion: 2, layers: [] });

describe('a manifest', () => {
  test('of sha512 is verified', async () => {
    expect((await fetch({ headers: { 'content-type': oci }, body: plain }, sha512(plain))).digest).toBe(sha512(plain));
    await expect(fetch({ body: `${plain} ` }, sha512(plain))).rejects.toThrow(/don't have the digest sha512:/);
  });

  test('with other bytes than were asked for is refused', async () => {
    const wanted = digestOf(Buffer.from('other'));
    const error = await errorOf(fetch({ body: plain }, wanted));
    expect(error.message).toContain(`the bytes that came don't have the digest ${wanted}`);
  });

  test('with other bytes than the registry named is refused', async () => {
    const named = digestOf(Buffer.from('other'));
    await expect(fetch({ headers: { 'docker-content-digest': named }, body: plain })).rejects.toThrow(
      /that the registry named/,
    );
  });

  test.each([
    ['that the registry tells', { schemaVersion: 2, layers: [] }, `${docker}; charset=utf-8`, docker],
    ['that it tells itself', { schemaVersion: 2, mediaType: docker, layers: [] }, oci, docker],
    ['that nobody tells', { schemaVersion: 2, layers: [] }, 'application/json', oci],
    [
      'that nobody tells, of an index',
      { schemaVersion: 2, manifests: [] },
      'text/plain',
      'application/vnd.oci.image.index.v1+json',
    ],
    ['that nobody here knows', { schemaVersion: 2 }, 'application/x', 'application/x'],
  ])('has the media type %s', async (_, value, type, expected) => {
    expect((await fetch({ headers: { 'content-type': type }, body: JSON.stringify(value) })).mediaType).toBe(expected);
  });

  test.each([
    ['its media type', { name: 'x' }, 'application/vnd.docker.distribution.manifest.v1+prettyjws'],
    ['its field', { schemaVersion: 1, fsLayers: [] }, 'application/json'],
  ])('of schema 1, by %s, is refused by name', async (_, value, type) => {
    const error = await errorOf(fetch({ headers: { 'content-type': type }, body: JSON.stringify(value) }));
    expect(error.message).toContain("Docker's image format version 1 (schema 1)");
    expect(error.hint).toContain('skopeo copy');
  });

  test('that is a login page is refused', async () => {
    await expect(fetch({ body: '<html>' })).rejects.toThrow(/what came is no manifest/);
    await expect(fetch({ body: '[]' })).rejects.toThrow(/what came is no manifest/);
  });

  test('longer than 8 MiB is not read', async () => {
    await expect(fetch({ body: Buffer.alloc(8 * 1024 * 1024 + 1, 0x20) })).rejects.toThrow(/longer than 8 MiB/);
  });

  test('is asked for in all formats', async () => {
    const registry = await fakeRegistry(() => ({ body: plain }));
    await clientOf().fetchManifest(refOf(registry.host, 'a/b', ''));
    expect(registry.requests[0]?.url).toBe('/v2/a/b/manifests/latest');
    expect(registry.requests[0]?.headers.accept?.split(', ')).toEqual(
      expect.arrayContaining([
        oci,
        docker,
        expect.stringContaining('manifest.list.v2'),
        expect.stringContaining('image.index.v1'),
      ]),
    );
  });

  test('of a registry that does not tell the digest is fetched to know it', async () => {
    const registry = await fakeRegistry(({ method }) =>
      method === 'HEAD' ? {} : { headers: { 'content-type': oci }, body: plain },
    );
    const head = await clientOf().headManifest(refOf(registry.host, 'a/b', 'v1'));
    expect(head).toEqual({ digest: digestOf(Buffer.from(plain)), mediaType: oci, sizeBytes: plain.length });
  });
});
