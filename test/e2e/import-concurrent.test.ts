// SPDX-License-Identifier: Apache-2.0
// Many processes that import the same image at the same time into one cache, as the ranks of a job do.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import type { FaultProxy } from '../support/fault-proxy.ts';
import { testNeeding } from '../support/features.ts';
import type { PushedImage } from '../support/push-image.ts';
import { makeRawTar } from '../support/raw-tar.ts';
import { type ServedImage, serveImage } from '../support/served-image.ts';
import { untilAllEnded } from '../support/snapshot.ts';
import { expectWholeBlobs, importBytes, listBelow, makeImporter, makeLayer, startBundler } from './import-rig.ts';

const needing = testNeeding('root', 'bundler', 'registry', 'busybox');

let served: ServedImage;
let proxy: FaultProxy;
let image: PushedImage;

beforeAll(async () => {
  const busybox = { name: 'busybox', content: readFileSync('/bin/busybox'), mode: 0o755 };
  served = await serveImage([{ tar: makeRawTar([busybox]) }, { tar: makeLayer('top', 100_000), encoding: 'zstd' }]);
  ({ proxy, image } = served);
});

afterAll(() => served?.stop());

const name = () => served.name;
const blobs = () => [...image.layers, image.config];

/** Nobody gets a blob before so many processes have asked for the manifest: then all of them want it at the same time. */
function waitForAll(processes: number): void {
  const patience = { kind: 'answer', status: 503, headers: { 'retry-after': '0.2' } } as const;
  const asked = () => proxy.requests.filter(({ kind }) => kind === 'manifest').length;
  proxy.inject(({ kind }) => (kind === 'blob' && asked() < processes ? patience : null));
}

function expectOneDownload(): void {
  for (const { digest, size } of blobs()) {
    const sent = proxy.requests.filter((request) => request.digest === digest && request.status === 200);
    expect(sent).toHaveLength(1);
    expect(proxy.sentBytes(digest)).toBe(size);
  }
}

needing(
  '128 processes download each blob once, and all their images are the same',
  async () => {
    const processes = 128;
    const importer = makeImporter();
    const good = await importBytes(makeImporter(), [name()]);
    proxy.reset();
    waitForAll(processes);
    const env = { ENROOT_TRANSFER_RETRIES: '1000' };
    const all = Array.from({ length: processes }, (_, n) =>
      startBundler(importer, ['import', '--quiet', '-o', `${n}.sqsh`, name()], { env, timeoutMs: 150_000 }).end(),
    );
    for (const ran of await Promise.all(all)) expect(ran).toMatchObject({ status: 0, stdout: '', stderr: '' });
    expectOneDownload();
    expect(readdirSync(importer.dir)).toHaveLength(processes);
    for (let n = 0; n < processes; n++) {
      expect(readFileSync(path.join(importer.dir, `${n}.sqsh`)).equals(good), `image ${n}`).toBe(true);
    }
    await untilAllEnded(importer.user);
    expectWholeBlobs(importer.cache);
    expect(listBelow(importer.cache).filter((file) => !file.startsWith('blobs/'))).toEqual([]);
  },
  180_000,
);

needing('when the one that downloads is killed, another goes on where it was', async () => {
  const importer = makeImporter();
  proxy.reset();
  const [low] = image.layers;
  const half = Math.floor((low?.size ?? 0) / 2);
  // The first to ask gets half of it and no more.
  proxy.inject(({ digest, tryNumber }) =>
    digest === low?.digest && tryNumber === 1 ? { kind: 'stall', atByte: half } : null,
  );
  const argv = (n: number) => ['import', '--json', '-o', `${n}.sqsh`, name()];
  const all = Array.from({ length: 4 }, (_, n) => startBundler(importer, argv(n)));
  const leases = path.join(importer.cache, 'leases');
  const owner = await findOwner();
  all.find(({ pid }) => pid === owner)?.child.kill('SIGKILL');
  const ran = await Promise.all(all.map((running) => running.end()));
  expect(ran.filter(({ status }) => status === 0)).toHaveLength(3);
  expect(proxy.sentBytes(low?.digest ?? '')).toBe(low?.size);
  await untilAllEnded(importer.user);
  const images = readdirSync(importer.dir).filter((file) => file.endsWith('.sqsh'));
  const [first, ...others] = images.map((file) => readFileSync(path.join(importer.dir, file)));
  expect(others).toHaveLength(2);
  for (const other of others) expect(other.equals(first as Buffer)).toBe(true);

  /** The process that has the lease, as soon as its half is in its file. */
  async function findOwner(): Promise<number> {
    const key = low?.digest.replace(':', '-') ?? '';
    const end = Date.now() + 20_000;
    while (Date.now() < end) {
      const isWaiting = proxy.sentBytes(low?.digest ?? '') === half;
      const [partial] = listBelow(path.join(importer.cache, 'partial')).filter((file) => file.startsWith(key));
      const [lease] = listBelow(leases).filter((file) => file.startsWith(key));
      if (isWaiting && partial !== undefined && lease !== undefined) {
        const bytes = readFileSync(path.join(importer.cache, 'partial', partial)).length;
        const writer = /^writer \w+-(\d+)-/m.exec(readFileSync(path.join(leases, lease), 'utf8'))?.[1];
        if (bytes === half && writer !== undefined) return Number(writer);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error('nobody downloads');
  }
});
