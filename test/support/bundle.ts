// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readSync, statSync } from 'node:fs';
import path from 'node:path';
import { type ImageName, makeImage } from '../../fixtures/make.ts';
import { repository } from './programs.ts';
import { sanitize, sanitizerEnv } from './sanitize.ts';
import { sessionDir } from './session.ts';

/** The tool under test; what it makes has its launcher. */
export const bundler = path.join(repository, sanitize ? 'dist/bundler-asan' : 'dist/bundler');

/** Makes a bundle of a fixture image (or of an image file) with dist/bundler, once a session for the same inputs. */
export function makeBundle(image: ImageName | `/${string}`, ...makeArgs: string[]): string {
  const source = image.startsWith('/') ? image : makeImage(image as ImageName);
  const tool = statSync(bundler);
  const key = createHash('sha256').update(
    JSON.stringify([source, statSync(source).mtimeMs, tool.mtimeMs, tool.size, makeArgs]),
  );
  const dir = path.join(sessionDir(), 'bundles', key.digest('hex').slice(0, 16));
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  const file = path.join(dir, 'x.run');
  // make renames into place, so a file that is there is complete, and two makers at once do no harm.
  if (!existsSync(file)) {
    const env = {
      PATH: process.env['PATH'] ?? '',
      HOME: '/nonexistent',
      // What this machine has configured is not what is tested.
      ENROOT_SYSCONF_PATH: '/nonexistent',
      BUNDLER_CACHE_DIR: path.join(sessionDir(), 'cache-make'),
      ...sanitizerEnv(),
    };
    execFileSync(bundler, ['make', '--quiet', '--force', '-o', file, ...makeArgs, source], {
      env,
      cwd: dir,
      stdio: 'pipe',
    });
  }
  return file;
}

export interface Section {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

/** Reads the table of sections of a bundle as docs/format.md describes it, without any of the code under test. */
export function readTable(file: string): { tableOffset: number; totalSize: number; sections: Section[] } {
  const fd = openSync(file, 'r');
  try {
    const head = Buffer.alloc(Math.min(16 << 20, fstatSync(fd).size));
    readSync(fd, head, 0, head.length, 0);
    let at = 4096;
    while (at < head.length && head.toString('latin1', at, at + 8) !== 'BNDLRUN1') at += 4096;
    if (at >= head.length) throw new Error(`${file}: no table page`);
    const count = head.readUInt32LE(at + 12);
    const sections = Array.from({ length: count }, (_, i) => {
      const entry = at + 32 + 72 * i;
      const name = head.toString('latin1', entry, entry + 16).replace(/\0+$/, '');
      return { name, offset: Number(head.readBigUInt64LE(entry + 16)), size: Number(head.readBigUInt64LE(entry + 24)) };
    });
    return { tableOffset: at, totalSize: Number(head.readBigUInt64LE(at + 16)), sections };
  } finally {
    closeSync(fd);
  }
}

export function findSection(file: string, name: string): Section {
  const section = readTable(file).sections.find((s) => s.name === name);
  if (!section) throw new Error(`${file}: no section ${name}`);
  return section;
}
