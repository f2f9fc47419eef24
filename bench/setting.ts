// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Setting } from './measure.ts';

/** nobody, whom the files of every host know; for the other kind of user a start also asks `getent`. */
export const uid = 65534;
export const strangerUid = 4242;
export const isRoot = process.getuid?.() === 0;

/** Gives a path to the ordinary user of the measurements, or to another. */
export function giveToUser(file: string, owner = uid): void {
  if (isRoot) chownSync(file, owner, owner);
}

/** The np image, made by the example's script and kept; the busybox fixture where no Debian mirror can be reached. */
function findImage(repository: string, say: (text: string) => void): { image: string; imageName: string } {
  const image = path.join(repository, 'build/demo/np-norm-openblas.sqsh');
  if (existsSync(image)) return { image, imageName: 'np' };
  mkdirSync(path.dirname(image), { recursive: true });
  say('making the np image (once)');
  try {
    execFileSync(path.join(repository, 'examples/np-norm-openblas/build-image'), [image], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    return { image, imageName: 'np' };
  } catch {
    say(
      'the np image could not be made; a small busybox image takes its place, and ratios that depend on size mean nothing',
    );
    const small = path.join(repository, 'build/demo/busybox.sqsh');
    execFileSync(path.join(repository, 'examples/np-norm-openblas/busybox-image'), [small], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    return { image: small, imageName: 'busybox' };
  }
}

/** Prepares a directory with the image, the image unpacked, and a home. */
export function makeSetting(repository: string, say: (text: string) => void): Setting {
  const bundler = path.join(repository, 'dist/bundler');
  if (!existsSync(bundler)) throw new Error(`${bundler} is missing; try: npm run build`);
  if (isRoot && existsSync('/dev/fuse') && (statSync('/dev/fuse').mode & 0o006) !== 0o006)
    chmodSync('/dev/fuse', 0o666);
  const found = findImage(repository, say);
  const work = mkdtempSync(path.join(tmpdir(), 'bundler-bench-'));
  chmodSync(work, 0o755);
  const home = path.join(work, 'home');
  mkdirSync(home);
  const image = path.join(work, 'image.sqsh');
  copyFileSync(found.image, image);
  chmodSync(image, 0o644);
  const tool = path.join(work, 'bundler');
  copyFileSync(bundler, tool);
  chmodSync(tool, 0o755);
  const root = path.join(work, 'root');
  execFileSync('unsquashfs', ['-no-progress', '-quiet', '-d', root, image], { stdio: ['ignore', 'ignore', 'pipe'] });
  if (isRoot) execFileSync('chown', ['-R', `${uid}:${uid}`, root, home, work]);
  return { work, image, imageName: found.imageName, root, bundler: tool, uid, home };
}
