// SPDX-License-Identifier: Apache-2.0
// Caches that several users share, that nobody may write to, and that are damaged.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { bundler } from '../support/bundle.ts';
import { type FaultProxy, onTries } from '../support/fault-proxy.ts';
import { testNeeding } from '../support/features.ts';
import { type PushedBlob, type PushedImage, pushImage } from '../support/push-image.ts';
import { type Ran, run } from '../support/run.ts';
import { type ServedImage, serveImage } from '../support/served-image.ts';
import { freshUser } from '../support/session.ts';
import {
  expectFailure,
  expectWholeBlobs,
  type Importer,
  importBytes,
  makeImporter,
  makeLayer,
  runBundler,
} from './import-rig.ts';

const needing = testNeeding('root', 'bundler', 'registry');

let served: ServedImage;
let proxy: FaultProxy;
let image: PushedImage;
let good: Buffer;

beforeAll(async () => {
  served = await serveImage([{ tar: makeLayer('low', 600_000) }, { tar: makeLayer('top', 50_000), encoding: 'zstd' }]);
  ({ proxy, image } = served);
  good = await importBytes(makeImporter(), [name()]);
  proxy.reset();
});

afterEach(() => proxy?.reset());

afterAll(() => served?.stop());

const name = () => served.name;
const low = () => image.layers[0] as PushedBlob;
const blobRequests = () => proxy.requests.filter(({ kind }) => kind === 'blob');
const fileOf = (cache: string, { digest }: PushedBlob) => path.join(cache, 'blobs', digest.replace(':', '/'));

/** Imports as somebody whose files are private unless told otherwise. */
function importPrivately({ user, dir, cache }: Importer): Promise<Ran> {
  const env = { ENROOT_CACHE_PATH: cache, ENROOT_SYSCONF_PATH: '/nonexistent', ENROOT_TRANSFER_RETRIES: '0' };
  const argv = ['sh', '-c', 'umask 077; exec "$@"', 'sh', bundler, 'import', '-f', '-o', 'out.sqsh', name()];
  return run(argv, { user, cwd: dir, env });
}

needing(
  'a cache that everybody may write to serves everybody, whatever their umasks, also the rest of a failed try',
  async () => {
    const first = makeImporter(freshUser());
    const second = { ...makeImporter(freshUser()), cache: first.cache };
    mkdirSync(first.cache);
    chmodSync(first.cache, 0o1777);
    proxy.inject((request) =>
      request.digest === low().digest ? onTries(1, { kind: 'cut', atByte: 400_000 })(request, () => 0) : null,
    );
    expectFailure(await importPrivately(first), /was cut/);
    const ran = await importPrivately(second);
    expect(ran.status, ran.stderr).toBe(0);
    for (const { digest, size } of [...image.layers, image.config]) expect(proxy.sentBytes(digest)).toBe(size);
    proxy.reset();
    const again = await importPrivately(first);
    expect(again.status, again.stderr).toBe(0);
    expect(blobRequests()).toEqual([]);
    for (const { dir } of [first, second]) expect(readFileSync(path.join(dir, 'out.sqsh')).equals(good)).toBe(true);
  },
);

needing('a cache that may only be read serves what is in it, and says so of what is not', async () => {
  const importer = makeImporter();
  await importBytes(importer, [name()]);
  const { cache } = importer;
  execFileSync('chown', ['-R', '0:0', cache]);
  execFileSync('chmod', ['-R', 'a=rX', cache]);
  proxy.reset();
  expect((await importBytes(importer, [name()])).equals(good)).toBe(true);
  expect(blobRequests()).toEqual([]);
  execFileSync('rm', [fileOf(cache, low())]);
  const ran = await runBundler(importer, ['import', '-f', '-o', 'x.sqsh', name()]);
  expectFailure(ran, new RegExp(`cannot write to the cache ${cache}: permission denied`), /ENROOT_CACHE_PATH/);
  expect(readdirSync(importer.dir)).toEqual(['out.sqsh']);
});

needing('a blob that became another one is found when it is read, and the next import heals it', async () => {
  for (const damage of ['byte', 'size', 'manifest'] as const) {
    const importer = makeImporter();
    await importBytes(importer, [name()]);
    const file = fileOf(importer.cache, damage === 'manifest' ? image : low());
    const bytes = readFileSync(file);
    bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 0xff, bytes.length >> 1);
    if (damage === 'size') truncateSync(file, 1000);
    else writeFileSync(file, bytes);
    proxy.reset();
    // By digest, as a manifest by its tag is asked for anew.
    const byDigest = `docker://${proxy.host}/team/app@${image.digest}`;
    const ran = await runBundler(importer, [
      'import',
      '-f',
      '-o',
      'out.sqsh',
      damage === 'manifest' ? byDigest : name(),
    ]);
    if (damage === 'size') expect(ran.status, ran.stderr).toBe(0);
    else expectFailure(ran, /sha256:[0-9a-f]{64} is damaged in the cache/, /try again: it was removed/);
    expect((await importBytes(importer, [name()])).equals(good)).toBe(true);
    expect(proxy.sentBytes(low().digest)).toBe(damage === 'manifest' ? 0 : low().size);
    expectWholeBlobs(importer.cache);
  }
});

needing('an image without layers is one too', async () => {
  await pushImage(served.registry.url, 'team/none', '1', { layers: [], config: { Env: ['A=b'] } });
  const bytes = await importBytes(makeImporter(), [`docker://${proxy.host}#team/none:1`]);
  expect(bytes.subarray(0, 4).toString()).toBe('hsqs');
});
