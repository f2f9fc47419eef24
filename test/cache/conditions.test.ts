// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import { testNeeding } from '../support/features.ts';
import { type BlobServer, listFiles, makeBlob, makeScratch, serveBlob, startDriver, stopDrivers } from './rig.ts';

const blob = makeBlob(3 << 20);
let scratch: ReturnType<typeof makeScratch>;
let server: BlobServer;
beforeEach(async () => {
  scratch = makeScratch();
  chmodSync(scratch.path, 0o755);
  server = await serveBlob(blob);
});
afterEach(async () => {
  stopDrivers();
  await server.close();
  scratch.remove();
});

/** Runs the driver in a mount namespace of its own after a mount on the scratch directory. */
function startMounted(mount: string, directory = scratch.path) {
  const options = { directory, url: server.url, digest: blob.digest, sizeBytes: blob.sizeBytes };
  return startDriver(options, ['unshare', '-m', 'sh', '-ec', `${mount}; exec "$@"`, 'sh']);
}

const cure = /hint: '.*ENROOT_CACHE_PATH=DIRECTORY'/;

testNeeding('root')('a full disk is told with the cure, once, and not tried again', async () => {
  const { errors, code } = await startMounted(`mount -t tmpfs -o size=1m none ${scratch.path}`).ended;
  expect(code).not.toBe(0);
  expect(errors).toContain(`cannot write to the cache ${scratch.path}: no space left on the device`);
  expect(errors).toContain('make room ("bundler cache prune")');
  expect(errors).toMatch(cure);
  expect(server.offsets).toEqual([0]);
});

testNeeding('root')('a read-only file system is told with the cure', async () => {
  const { errors, code } = await startMounted(`mount -t tmpfs -o ro none ${scratch.path}`).ended;
  expect(code).not.toBe(0);
  expect(errors).toContain(`cannot write to the cache ${scratch.path}: the file system is read-only`);
  expect(errors).toMatch(cure);
});

testNeeding('root')('a read-only cache serves what is in it', async () => {
  const options = { directory: scratch.path, url: server.url, digest: blob.digest, sizeBytes: blob.sizeBytes };
  expect(await startDriver(options).ended).toMatchObject({ code: 0 });
  const driver = startMounted(`mount --bind ${scratch.path} ${scratch.path}; mount -o remount,bind,ro ${scratch.path}`);
  expect(await driver.ended).toMatchObject({ code: 0, errors: '' });
  expect(driver.lines).toEqual(['asking', 'cached']);
});

testNeeding('root')("somebody else's directory is told with the cure", async () => {
  const directory = join(scratch.path, 'theirs');
  mkdirSync(directory, { mode: 0o755 });
  const options = { directory, url: server.url, digest: blob.digest, sizeBytes: blob.sizeBytes };
  const { errors, code } = await startDriver(options, ['setpriv', '--reuid=4242', '--regid=4242', '--clear-groups'])
    .ended;
  expect(code).not.toBe(0);
  expect(errors).toContain(`cannot write to the cache ${directory}: permission denied`);
  expect(errors).toMatch(cure);
});

testNeeding('root')(
  'two users share a directory with the sticky bit, and one goes on with what the other left',
  async () => {
    const directory = join(scratch.path, 'shared');
    mkdirSync(directory);
    chmodSync(directory, 0o1777);
    await server.close();
    let open = false;
    server = await serveBlob(blob, 64 << 10, async (at, response) => {
      if (at >= 1 << 20 && !open) response.destroy();
    });
    const options = { directory, url: server.url, digest: blob.digest, sizeBytes: blob.sizeBytes };
    const as = (uid: number) => ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
    expect(await startDriver(options, as(4242)).ended).toMatchObject({ code: 1 });
    open = true;
    const second = startDriver(options, as(4243));
    expect(await second.ended).toMatchObject({ code: 0, errors: '' });
    expect(server.offsets[1]).toBeGreaterThan(0);
    const third = startDriver(options, as(4242));
    expect(await third.ended).toMatchObject({ code: 0, errors: '' });
    expect(third.lines.at(-1)).toBe('cached');
    expect(listFiles(directory).filter((path) => path.startsWith('blobs/'))).toHaveLength(1);
  },
);
