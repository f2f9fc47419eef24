// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { bundler } from '../support/bundle.ts';
import { testNeeding } from '../support/features.ts';
import { writeLargeLayout, writeManyFilesLayout } from '../support/large-layout.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { start } from '../support/run.ts';
import { sanitize } from '../support/sanitize.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';
import { type Peaks, usedBytes, watchProcess } from '../support/watch-process.ts';

// A sanitizer's memory is not the program's.
const needing = testNeeding('root', 'bundler', 'registry', 'skopeo');
const mebi = 1 << 20;
const user = ordinaryUser();
let dir = '';
let registry: TestRegistry;

beforeAll(async () => {
  if (sanitize) return;
  dir = makeDir(user, 'size');
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1g,mode=755', 'tmpfs', dir]);
  chownSync(dir, user.uid, user.uid);
  registry = await startRegistry();
});

afterAll(async () => {
  if (sanitize) return;
  await registry.stop();
  execFileSync('umount', [dir]);
});

interface Imported extends Peaks {
  readonly largestBytes: number;
  readonly endBytes: number;
  readonly image: string;
}

/** Imports with an empty cache; everything that is written lies in the one file system. */
async function importWatched(uri: string, name: string): Promise<Imported> {
  const image = path.join(dir, `${name}.sqsh`);
  const places = { ENROOT_CACHE_PATH: path.join(dir, 'cache'), ENROOT_TEMP_PATH: dir, ENROOT_ALLOW_HTTP: 'y' };
  const running = start([bundler, 'import', '--quiet', '-o', image, uri], { user, env: places, timeoutMs: 150_000 });
  const stop = watchProcess(running.pid, dir);
  const ran = await running.end();
  const peaks = stop();
  expect(ran.status, ran.stderr).toBe(0);
  expect(peaks.memoryBytes.size, 'bundler and the writer of the image').toBeGreaterThanOrEqual(2);
  const names = readdirSync(dir);
  expect(names.filter((each) => each !== 'cache' && !each.endsWith('.sqsh'))).toEqual([]);
  return { ...peaks, image, largestBytes: Math.max(...peaks.memoryBytes.values()), endBytes: usedBytes(dir) };
}

async function push(name: string, write: (layout: string) => void): Promise<string> {
  const layout = path.join(makeDir(user, 'layout'), name);
  mkdirSync(layout);
  write(layout);
  chmodSync(layout, 0o755);
  await registry.push(`oci:${layout}:latest`, name);
  execFileSync('rm', ['-rf', layout]);
  return `docker://${registry.host}#${name}:latest`;
}

describe.skipIf(sanitize)('an import takes little memory and disk', () => {
  needing(
    'for an image of 4 GiB',
    async () => {
      const layers = 8;
      const layerBytes = 512 * mebi;
      const uri = await push('large', (layout) => writeLargeLayout(layout, layers, layerBytes));
      const { largestBytes, diskBytes, endBytes, image } = await importWatched(uri, 'large');
      expect(largestBytes).toBeLessThan(300 * mebi);
      // What is left is the image and the cache.
      expect(statSync(image).size).toBeGreaterThan(10 * mebi);
      expect(diskBytes).toBeLessThanOrEqual(endBytes + mebi);
      const listed = execFileSync('unsquashfs', ['-lln', image], { encoding: 'utf8' });
      expect(listed.match(new RegExp(` ${layerBytes} .*/layer-\\d`, 'g'))).toHaveLength(layers);
    },
    240_000,
  );

  needing(
    'for an image of 150,000 small files',
    async () => {
      const uri = await push('many', (layout) => writeManyFilesLayout(layout, 150_000));
      const { largestBytes, diskBytes, endBytes } = await importWatched(uri, 'many');
      expect(largestBytes).toBeLessThan(300 * mebi);
      expect(diskBytes).toBeLessThanOrEqual(endBytes + mebi);
    },
    240_000,
  );
});
