// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'vitest';
import { testNeeding } from './features.ts';
import { repository } from './programs.ts';

/** What build-real-images makes; scripts/test calls it. */
const directory = path.join(repository, 'build/real');

/** An OCI layout of five images of Debian packages. */
export const realImages = path.join(directory, 'images');

export type RealImage = 'packages' | 'upgraded' | 'owners' | 'server' | 'static';

/** The file system as buildah had it when it made the image, in the form of `listTree`. */
export function readMountedTree(name: RealImage): string[] {
  return readFileSync(path.join(directory, `${name}.tree`), 'latin1').split('\n');
}

/** A test that needs these images: skipped where no mirror of Debian could be reached, and whenever they are missing but must not be it fails. */
export const withRealImages: typeof testNeeding = (...features) => {
  const needing = testNeeding(...features);
  if (existsSync(realImages)) return needing;
  const unreachable = path.join(directory, 'unreachable');
  const why = existsSync(unreachable)
    ? readFileSync(unreachable, 'utf8').trim()
    : `${realImages} is missing: test/support/build-real-images ${directory}`;
  if (process.env['BUNDLER_MUST_WORK'] === '1' && !existsSync(unreachable)) {
    return (title) =>
      test(title, () => {
        throw new Error(`must work here, but: ${why}`);
      });
  }
  return (title, body) => test.skip(`${title} (skipped: ${why})`, body);
};
