// SPDX-License-Identifier: Apache-2.0
// An import that ends in its middle, by kill -9 or by a signal that can be handled, and the next one.
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { bundler } from '../support/bundle.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { testNeeding } from '../support/features.ts';
import { type PushedImage, pushImage } from '../support/push-image.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { startOnTerminal } from '../support/run.ts';
import { freshUser } from '../support/session.ts';
import { listProcesses, until, untilAllEnded } from '../support/snapshot.ts';
import {
  expectOnlyCache,
  expectWholeBlobs,
  importBytes,
  listBelow,
  makeImporter,
  makeLayer,
  startBundler,
  untilEvent,
} from './import-rig.ts';

const needing = testNeeding('root', 'bundler', 'registry');

let registry: TestRegistry;
let image: PushedImage;

beforeAll(async () => {
  registry = await startRegistry();
  image = await pushImage(registry.url, 'team/app', '1', {
    layers: [
      { tar: makeLayer('low', 2_000_000) },
      { tar: makeLayer('mid', 700_000), encoding: 'zstd' },
      { tar: makeLayer('top', 300_000), encoding: 'none' },
    ],
  });
});

afterAll(async () => {
  await registry?.stop();
});

const layerBytes = () => image.layers.reduce((sum, { size }) => sum + size, 0);
const importOf = (proxy: FaultProxy) => [
  'import',
  '--json',
  '-f',
  '-o',
  'out.sqsh',
  `docker://${proxy.host}/team/app:1`,
];
/** So slow that most of an import's time is its downloads. */
const slowDown = (proxy: FaultProxy, bytesPerSecond = 6_000_000) =>
  proxy.inject(({ kind }) => (kind === 'blob' ? { kind: 'slow', bytesPerSecond } : null));
const sentBytes = (proxy: FaultProxy) => image.layers.reduce((sum, { digest }) => sum + proxy.sentBytes(digest), 0);
/** What is there of the layers, whole or begun. */
const cachedDigests = (cache: string) =>
  expectWholeBlobs(cache).filter((digest) => image.layers.some((l) => l.digest === digest));

describe('kill -9', () => {
  needing(
    'at any of 50 moments leaves no half file under a final name, and the next import goes on and is right',
    async () => {
      const moments = 50;
      let killed = 0;
      let resumed = 0;
      let tries = 0;
      // Each has a user, a cache and a proxy of its own; they wait most of the time, so that two cores bear three.
      const work = async (): Promise<void> => {
        const proxy = await startFaultProxy(registry.url);
        const user = freshUser();
        const good = await importBytes(makeImporter(user), [`docker://${proxy.host}/team/app:1`]);
        proxy.reset();
        slowDown(proxy);
        const begin = performance.now();
        await importBytes(makeImporter(user), [`docker://${proxy.host}/team/app:1`]);
        let spanMs = performance.now() - begin;
        try {
          while (killed < moments && tries++ < 3 * moments) {
            const importer = makeImporter(user);
            proxy.reset();
            slowDown(proxy);
            const delayMs = spanMs * Math.random();
            const running = startBundler(importer, importOf(proxy));
            await new Promise((resolve) => setTimeout(resolve, delayMs));
            running.child.kill('SIGKILL');
            const ran = await running.end();
            if (ran.signal === 'SIGKILL') killed++;
            // The machine has less to do than when it was measured.
            else spanMs = Math.min(spanMs, delayMs);
            // The packer ends by itself.
            await untilAllEnded(user);
            const told = `killed after ${delayMs} ms`;
            const left = readdirSync(importer.dir);
            expect(
              left.filter((name) => !/^(out\.sqsh|\.out\.sqsh\.partial-[0-9a-f-]+)$/.test(name)),
              told,
            ).toEqual([]);
            const whole = cachedDigests(importer.cache);
            if (left.includes('out.sqsh')) {
              expect(readFileSync(path.join(importer.dir, 'out.sqsh')).equals(good), told).toBe(true);
            }
            const sent = sentBytes(proxy);
            proxy.reset();
            expect((await importBytes(importer, [`docker://${proxy.host}/team/app:1`])).equals(good), told).toBe(true);
            expect(readdirSync(importer.dir), told).toEqual(['out.sqsh']);
            const again = sentBytes(proxy);
            for (const digest of whole) expect(proxy.sentBytes(digest), told).toBe(0);
            // What was on its way or in memory comes again.
            expect(again, told).toBeLessThanOrEqual(layerBytes());
            expect(again, told).toBeGreaterThanOrEqual(layerBytes() - sent);
            if (sent > 0 && again < layerBytes()) resumed++;
            // A lease of a dead owner may stay beside a whole blob, where nobody asks for it any more: prune removes it.
            expect(listBelow(path.join(importer.cache, 'partial')), told).toEqual([]);
            rmSync(importer.dir, { recursive: true });
          }
        } finally {
          await proxy.stop();
        }
      };
      await Promise.all([work(), work(), work()]);
      expect(killed).toBeGreaterThanOrEqual(moments);
      expect(resumed).toBeGreaterThan(moments / 5);
    },
    240_000,
  );

  needing('of an import in the middle of its image ends the packer too', async () => {
    const importer = makeImporter(freshUser());
    const proxy = await startFaultProxy(registry.url);
    try {
      proxy.inject(({ digest }) => (digest === image.layers[0]?.digest ? { kind: 'stall', atByte: 1_500_000 } : null));
      const running = startBundler(importer, importOf(proxy));
      await untilEvent(running, /"index":1,"state":"done"/);
      const helpers = listProcesses(importer.user).filter(({ parent }) => parent === running.pid);
      expect(helpers.length).toBeGreaterThan(0);
      running.child.kill('SIGKILL');
      expect(await running.end()).toMatchObject({ signal: 'SIGKILL' });
      await untilAllEnded(importer.user);
      expect(readdirSync(importer.dir)).not.toContain('out.sqsh');
    } finally {
      await proxy.stop();
    }
  });
});

describe('a packer that is killed', () => {
  needing('ends the import with a message, and nothing is left but the cache', async () => {
    const importer = makeImporter(freshUser());
    const proxy = await startFaultProxy(registry.url);
    try {
      proxy.inject(({ digest }) => (digest === image.layers[0]?.digest ? { kind: 'stall', atByte: 1_500_000 } : null));
      const running = startBundler(importer, importOf(proxy));
      await untilEvent(running, /"index":1,"state":"done"/);
      const [packer] = listProcesses(importer.user).filter(({ parent }) => parent === running.pid);
      process.kill(packer?.pid ?? Number.NaN, 'SIGKILL');
      const ran = await running.end();
      expect(ran).toMatchObject({
        status: 125,
        stderr: 'bundler: cannot write out.sqsh: the launcher was ended by SIGKILL\n',
      });
      await expectOnlyCache(importer, 'blobs and rests');
      expect(readdirSync(importer.dir)).toEqual([]);
    } finally {
      await proxy.stop();
    }
  });
});

describe('a signal', () => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    needing(
      `${signal} ends an import by that signal, and leaves nothing but what the next one goes on from`,
      async () => {
        const importer = makeImporter(freshUser());
        const proxy = await startFaultProxy(registry.url);
        try {
          proxy.inject(({ digest }) =>
            digest === image.layers[0]?.digest ? { kind: 'stall', atByte: 1_500_000 } : null,
          );
          const running = startBundler(importer, importOf(proxy));
          await untilEvent(running, /"index":1,"state":"done"/);
          await until(
            () => proxy.sentBytes(image.layers[0]?.digest ?? '') === 1_500_000,
            () => 'the bytes before the stall',
          );
          // Those that the process has not got yet would come again.
          const partials = path.join(importer.cache, 'partial');
          await until(
            () => listBelow(partials).some((name) => statSync(path.join(partials, name)).size === 1_500_000),
            () => 'a partial file with all that came',
          );
          running.child.kill(signal);
          expect(await running.end()).toMatchObject({ signal });
          await expectOnlyCache(importer, 'blobs and rests');
          expect(readdirSync(importer.dir)).toEqual([]);
          proxy.reset();
          await importBytes(importer, [`docker://${proxy.host}/team/app:1`]);
          const [low, ...others] = image.layers;
          expect(proxy.sentBytes(low?.digest ?? '')).toBe((low?.size ?? 0) - 1_500_000);
          for (const { digest } of others) expect(proxy.sentBytes(digest)).toBe(0);
          await expectOnlyCache(importer, 'blobs');
        } finally {
          await proxy.stop();
        }
      },
    );
  }

  needing('at any of 16 moments leaves nothing but the cache', async () => {
    const user = freshUser();
    const proxy = await startFaultProxy(registry.url);
    try {
      await importBytes(makeImporter(user), [`docker://${proxy.host}/team/app:1`]);
      slowDown(proxy);
      const begin = performance.now();
      await importBytes(makeImporter(user), [`docker://${proxy.host}/team/app:1`]);
      const spanMs = performance.now() - begin;
      for (let n = 0; n < 16; n++) {
        const importer = makeImporter(user);
        const running = startBundler(importer, importOf(proxy));
        await new Promise((resolve) => setTimeout(resolve, (spanMs * (n + Math.random())) / 16));
        const signal = n % 2 === 0 ? 'SIGTERM' : 'SIGINT';
        running.child.kill(signal);
        const ran = await running.end();
        if (ran.status !== 0) expect(ran, `moment ${n}: ${ran.stderr}`).toMatchObject({ signal });
        await expectOnlyCache(importer, 'blobs and rests');
        const isThere = readdirSync(importer.dir).includes('out.sqsh');
        expect(isThere && ran.status !== 0 && !/"event":"done"/.test(ran.stdout), `moment ${n}`).toBe(false);
      }
    } finally {
      await proxy.stop();
    }
  });

  needing('by ctrl-C on a terminal leaves the terminal clean, nothing running, and nothing but the cache', async () => {
    const importer = makeImporter(freshUser());
    const proxy = await startFaultProxy(registry.url);
    try {
      proxy.inject(({ digest }) => (digest === image.layers[0]?.digest ? { kind: 'stall', atByte: 1_500_000 } : null));
      const { user, dir, cache } = importer;
      const env = { ENROOT_CACHE_PATH: cache, ENROOT_SYSCONF_PATH: '/nonexistent' };
      const argv = [bundler, 'import', '-o', 'out.sqsh', `docker://${proxy.host}/team/app:1`];
      const running = startOnTerminal(argv, { user, cwd: dir, env });
      await running.see(/ {2}75%|1\.50 MB of/);
      running.type('\x03');
      expect((await running.end()).status).toBe(130);
      await expectOnlyCache(importer, 'blobs and rests');
    } finally {
      await proxy.stop();
    }
  });
});
