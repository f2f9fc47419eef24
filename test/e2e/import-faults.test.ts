// SPDX-License-Identifier: Apache-2.0
// `bundler import` on bad days of registries and networks: through a proxy that makes them.
import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect } from 'vitest';
import { cutEveryTenth, expireTokens, type FaultProxy, onTries, startFaultProxy } from '../support/fault-proxy.ts';
import { testNeeding } from '../support/features.ts';
import { writeLayout } from '../support/oci-layout.ts';
import type { PushedBlob, PushedImage } from '../support/push-image.ts';
import { startRegistry } from '../support/registry.ts';
import type { Ran } from '../support/run.ts';
import { type ServedImage, serveImage } from '../support/served-image.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';
import { startTokenServer, type TokenServer } from '../support/token-server.ts';
import {
  expectFailure,
  expectOnlyCache,
  type Importer,
  importBytes,
  listBelow,
  makeImporter,
  makeLayer,
  runBundler,
} from './import-rig.ts';

const needing = testNeeding('root', 'bundler', 'registry');
const needingSkopeo = testNeeding('root', 'bundler', 'registry', 'skopeo');

let served: ServedImage;
let proxy: FaultProxy;
let image: PushedImage;
/** What an import gives on a good day. */
let good: Buffer;

beforeAll(async () => {
  served = await serveImage([
    { tar: makeLayer('low', 1_500_000) },
    { tar: makeLayer('mid', 400_000), encoding: 'zstd' },
    { tar: makeLayer('top', 400_000), encoding: 'none' },
  ]);
  ({ proxy, image } = served);
  good = await importBytes(makeImporter(), [at()]);
  proxy.reset();
});

afterEach(() => proxy?.reset());

afterAll(() => served?.stop());

const at = () => served.name;
const low = () => image.layers[0] as PushedBlob;
/** Of the second and of the third pause after a failure in a row one would have to wait too long in a test. */
const retries = (count: number) => ({ env: { ENROOT_TRANSFER_RETRIES: String(count) } });
const importOnce = (importer: Importer, count = 1): Promise<Ran> =>
  runBundler(importer, ['import', '--verbose', '-f', '-o', 'out.sqsh', at()], retries(count));
const blobRequests = () => proxy.requests.filter(({ kind, method }) => kind === 'blob' && method === 'GET');

/** The proxy sent each byte of each layer once. */
function expectNothingTwice(): void {
  for (const { digest, size } of [...image.layers, image.config]) expect(proxy.sentBytes(digest), digest).toBe(size);
}

async function expectGood(importer: Importer): Promise<void> {
  expect((await importBytes(importer, [at()], retries(1))).equals(good)).toBe(true);
  await expectOnlyCache(importer, 'blobs');
}

describe('an import succeeds', () => {
  needing('with connections cut at every tenth of each blob, and no byte comes twice', async () => {
    const importer = makeImporter();
    // A tenth of a few bytes is none.
    proxy.inject((request, sizeOf) =>
      request.digest === image.config.digest ? null : cutEveryTenth()(request, sizeOf),
    );
    const ran = await importOnce(importer);
    expect(ran.status, ran.stderr).toBe(0);
    for (const { digest } of image.layers) {
      const asked = blobRequests().filter((request) => request.digest === digest);
      expect(asked.map(({ status }) => status)).toEqual([200, ...Array(9).fill(206)]);
    }
    expectNothingTwice();
    proxy.reset();
    await expectGood(importer);
    expect(blobRequests()).toEqual([]);
  });

  needing('after 429 with Retry-After, which is kept to, and 500, 502 and 503', async () => {
    const importer = makeImporter();
    const { layers } = image;
    const patience = { kind: 'answer', status: 429, headers: { 'retry-after': '1' } } as const;
    const statuses = [500, 502, 503];
    proxy.inject(onTries(1, patience, 'manifest'), (request) => {
      const layer = layers.findIndex(({ digest }) => digest === request.digest);
      return layer >= 0 && request.tryNumber === 1 ? { kind: 'answer', status: statuses[layer] as number } : null;
    });
    const startMs = performance.now();
    const ran = await importOnce(importer);
    expect(ran.status, ran.stderr).toBe(0);
    expect(performance.now() - startMs).toBeGreaterThan(1000);
    expect(ran.stderr).toMatch(/too many requests.*in 1 s, as the server asks/);
    for (const status of statuses) expect(ran.stderr).toContain(`gave ${status};`);
    expectNothingTwice();
    await expectGood(importer);
  });

  needing('when a body is shorter than it should be: the rest is asked for', async () => {
    const importer = makeImporter();
    proxy.inject(onTries(1, { kind: 'short', atByte: 300_000 }));
    const ran = await importOnce(importer);
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stderr).toContain(`only 300000 of ${low().size} bytes came`);
    expectNothingTwice();
    await expectGood(importer);
  });

  needing('when the server knows no ranges: what is there is read past', async () => {
    const importer = makeImporter();
    proxy.inject(onTries(1, { kind: 'cut', atByte: 200_000 }), onTries(9, { kind: 'no-range' }));
    const ran = await importOnce(importer);
    expect(ran.status, ran.stderr).toBe(0);
    for (const { digest, size } of image.layers) expect(proxy.sentBytes(digest)).toBe(size + 200_000);
    await expectGood(importer);
  });

  needingSkopeo('when blobs are at another origin, which is not shown the password', async () => {
    const importer = makeImporter();
    const tokens = await startTokenServer({ anonymousPull: false });
    const strict = await startRegistry({ auth: tokens });
    const front = await startFaultProxy(strict.url);
    try {
      const layout = makeDir(ordinaryUser(), 'layout');
      writeLayout(layout, [{ tar: makeLayer('a', 300_000) }, { tar: makeLayer('b', 10_000) }]);
      await strict.push(`oci:${layout}:latest`, 'team/app:1');
      front.inject(onTries(9, { kind: 'redirect' }));
      const argv = ['import', '-o', 'out.sqsh', '--verbose', '--user', tokens.user];
      const ran = await runBundler(importer, [...argv, `docker://${front.host}/team/app:1`], {
        env: { BUNDLER_PASSWORD: tokens.password },
      });
      expect(ran.status, ran.stderr).toBe(0);
      expect(front.elsewhere.requests).toHaveLength(3);
      for (const { headers } of front.elsewhere.requests) {
        expect(headers.authorization).toBeUndefined();
        expect(headers.cookie).toBeUndefined();
      }
      expect(front.requests.some(({ headers }) => headers.authorization?.startsWith('Bearer '))).toBe(true);
      expect(ran.stderr).not.toMatch(/signed-url-secret/);
      await expectOnlyCache(importer, 'blobs');
    } finally {
      await front.stop();
      await Promise.all([strict.stop(), tokens.stop()]);
    }
  });

  needingSkopeo('with tokens that expire in its middle, by 401 and by the 400 of public ECR', async () => {
    const tokens: TokenServer = await startTokenServer({ anonymousPull: false });
    const strict = await startRegistry({ auth: tokens });
    const front = await startFaultProxy(strict.url);
    try {
      const layout = makeDir(ordinaryUser(), 'layout');
      writeLayout(layout, [{ tar: makeLayer('a', 300_000) }, { tar: makeLayer('b', 300_000) }]);
      await strict.push(`oci:${layout}:latest`, 'team/app:1');
      for (const status of [401, 400]) {
        const importer = makeImporter();
        front.reset();
        const challenge = `Bearer realm="${tokens.realm}",service="${tokens.service}"`;
        front.inject(expireTokens({ afterRequests: 2, status, challenge }), (request, sizeOf) =>
          request.tryNumber < 5 ? cutEveryTenth()(request, sizeOf) : null,
        );
        const before = tokens.asks.length;
        const argv = ['import', '-o', 'out.sqsh', '--verbose', '--user', tokens.user];
        const ran = await runBundler(importer, [...argv, `docker://${front.host}/team/app:1`], {
          env: { BUNDLER_PASSWORD: tokens.password, ENROOT_TRANSFER_RETRIES: '1' },
        });
        expect(ran.status, ran.stderr).toBe(0);
        expect(tokens.asks.length - before).toBeGreaterThan(3);
        for (const token of tokens.tokens) expect(ran.stderr).not.toContain(token.slice(-40));
        // The proxy's first cut is at the very start: it does not know the sizes yet.
        for (const name of listBelow(path.join(importer.cache, 'blobs'))) {
          const digest = name.replace('/', ':');
          const asked = front.requests.filter((request) => request.digest === digest && request.kind === 'blob');
          const { size } = statSync(path.join(importer.cache, 'blobs', name));
          if (asked.length > 0) expect(front.sentBytes(digest)).toBe(size);
        }
        await expectOnlyCache(importer, 'blobs');
      }
    } finally {
      await front.stop();
      await Promise.all([strict.stop(), tokens.stop()]);
    }
  });
});

describe('an import fails and says why, and the next one goes on from there', () => {
  needing('when a connection is cut again and again', async () => {
    const importer = makeImporter();
    proxy.inject(({ digest, method }, sizeOf) =>
      digest === low().digest && method === 'GET' ? { kind: 'cut', atByte: Math.floor(sizeOf(digest) / 2) } : null,
    );
    const ran = await importOnce(importer);
    expectFailure(ran, new RegExp(`blob ${low().digest} of team/app at ${proxy.host}: connection to .* was cut`), /./);
    await expectOnlyCache(importer, 'blobs and rests');
    expect(readdirSync(importer.dir)).toEqual([]);
    proxy.reset();
    await expectGood(importer);
    expect(proxy.sentBytes(low().digest)).toBe(low().size - Math.floor(low().size / 2));
  });

  needing('when the registry stays in trouble or wants to be left alone', async () => {
    const importer = makeImporter();
    const body = JSON.stringify({ errors: [{ code: 'TOOMANYREQUESTS', message: 'you have reached your pull limit' }] });
    proxy.inject(onTries(9, { kind: 'answer', status: 429, body }, 'manifest'));
    expectFailure(
      await importOnce(importer),
      /manifest 1 of team\/app at .*: too many requests: TOOMANYREQUESTS: you have reached your pull limit .*gave 429/,
      /wait; or, for a higher limit, log in/,
    );
    proxy.reset();
    proxy.inject(({ digest }) => (digest === low().digest ? { kind: 'answer', status: 500 } : null));
    expectFailure(
      await importOnce(importer),
      new RegExp(`blob ${low().digest} of .*: the registry is in trouble .*gave 500`),
      /try again later/,
    );
    await expectOnlyCache(importer, 'blobs and rests');
    expect(readdirSync(importer.dir)).toEqual([]);
    proxy.reset();
    await expectGood(importer);
  });

  for (const [what, fault, message] of [
    [
      'has another digest',
      { kind: 'corrupt', atByte: 77 },
      /the bytes for sha256:.* are not those that were asked for/,
    ],
    [
      'is longer than it should be',
      { kind: 'long', extraBytes: 5 },
      /it is longer than the \d+ bytes of its descriptor/,
    ],
  ] as const) {
    needing(`when a blob ${what}, of which nothing is kept`, async () => {
      const importer = makeImporter();
      proxy.inject((request) => (request.digest === low().digest ? onTries(9, fault)(request, () => 0) : null));
      const ran = await importOnce(importer);
      // The last lines: layers that come meanwhile are not told of any more.
      expectFailure(ran, message);
      expect(ran.stderr).toContain(low().digest);
      await expectOnlyCache(importer, 'blobs and rests');
      expect(readdirSync(importer.dir)).toEqual([]);
      proxy.reset();
      await expectGood(importer);
      expect(proxy.sentBytes(low().digest)).toBe(low().size);
    });
  }

  needing('when a transfer takes longer than it may', async () => {
    const importer = makeImporter();
    proxy.inject(({ digest }) => (digest === low().digest ? { kind: 'slow', bytesPerSecond: 500_000 } : null));
    const ran = await runBundler(importer, ['import', '-o', 'out.sqsh', at()], {
      env: { ENROOT_TRANSFER_TIMEOUT: '1', ENROOT_TRANSFER_RETRIES: '1' },
    });
    expectFailure(ran, new RegExp(`blob ${low().digest} .*: not done within 1 s`), /raise ENROOT_TRANSFER_TIMEOUT/);
    await expectOnlyCache(importer, 'blobs and rests');
    proxy.reset();
    await expectGood(importer);
    expect(proxy.sentBytes(low().digest)).toBeLessThan(low().size - 500_000);
  });

  needing('when a manifest is not the one that its digest names', async () => {
    const importer = makeImporter();
    proxy.inject(onTries(9, { kind: 'corrupt', atByte: 20 }, 'manifest'));
    const ran = await runBundler(importer, ['import', '-o', 'out.sqsh', `${at().replace(/:1$/, '')}@${image.digest}`]);
    expect(ran.status, ran.stderr).toBe(125);
    expect(ran.stderr).toMatch(new RegExp(`manifest ${image.digest}.*sha256:`));
    await expectOnlyCache(importer, 'blobs');
  });
});
