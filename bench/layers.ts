// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { writeLayout } from '../test/support/oci-layout.ts';

/** A root filesystem as the image of five layers that a build of it would have: base, libraries, one large library, Python, the program. */
export function makeNpLayout(repository: string, root: string): string {
  const layout = path.join(repository, 'build/bench/np-layers');
  if (existsSync(path.join(layout, 'index.json'))) return layout;
  rmSync(layout, { recursive: true, force: true });
  mkdirSync(layout, { recursive: true });
  const libraries = './usr/lib/x86_64-linux-gnu';
  const python = existsSync(path.join(root, 'usr/lib'))
    ? readdirSync(path.join(root, 'usr/lib')).flatMap((name) =>
        name.startsWith('python3') ? [`./usr/lib/${name}`] : [],
      )
    : [];
  const tar = (...args: string[]): Buffer =>
    execFileSync('tar', ['-C', root, '--sort=name', '--numeric-owner', '--owner=0', '--group=0', '-cf', '-', ...args], {
      maxBuffer: 1 << 30,
    });
  const large = existsSync(path.join(root, libraries, 'openblas-pthread')) ? [`${libraries}/openblas-pthread`] : [];
  const own = ['./usr/local', './etc/rc'].filter((name) => existsSync(path.join(root, name)));
  const apart = [libraries, ...python, './usr/local'].map((name) => `--exclude=${name}`);
  const parts: string[][] = [
    [...apart, '.'],
    ...(existsSync(path.join(root, libraries)) ? [[...large.map((name) => `--exclude=${name}`), libraries]] : []),
    ...[large, python, own].filter((part) => part.length > 0),
  ];
  writeLayout(
    layout,
    parts.map((part) => ({ tar: tar(...part) })),
  );
  return layout;
}

/** An image of about 1 MB in one layer. */
export function makeSmallLayout(repository: string): string {
  const layout = path.join(repository, 'build/bench/small-layers');
  if (existsSync(path.join(layout, 'index.json'))) return layout;
  const root = path.join(repository, 'build/bench/small-root');
  mkdirSync(path.join(root, 'bin'), { recursive: true });
  execFileSync('cp', ['/bin/busybox', path.join(root, 'bin/busybox')]);
  execFileSync('ln', ['-sf', 'busybox', path.join(root, 'bin/sh')]);
  const tar = execFileSync('tar', ['-C', root, '--sort=name', '--owner=0', '--group=0', '-cf', '-', '.'], {
    maxBuffer: 1 << 26,
  });
  rmSync(layout, { recursive: true, force: true });
  writeLayout(layout, [{ tar }]);
  return layout;
}

/** Size of a layout's blobs, which is what a registry sends. */
export function sizeOfLayout(layout: string): number {
  const blobs = path.join(layout, 'blobs/sha256');
  return readdirSync(blobs).reduce((sum, name) => sum + readFileSync(path.join(blobs, name)).length, 0);
}
