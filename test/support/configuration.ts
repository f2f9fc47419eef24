// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { makeImage } from '../../fixtures/make.ts';
import { bundler } from './bundle.ts';
import { sanitizerEnv } from './sanitize.ts';
import { isRoot, makeDir, ordinaryUser, sessionDir } from './session.ts';

type Files = Readonly<Record<string, string | { readonly mode: number; readonly text: string }>>;

/** A configuration directory of enroot's; a file that ends in .sh may be executed unless it says otherwise. */
export function makeConfiguration(files: Files, dir = makeDir(ordinaryUser(), 'enroot')): string {
  for (const [name, file] of Object.entries(files)) {
    const place = path.join(dir, name);
    const { text, mode } = typeof file === 'string' ? { text: file, mode: name.endsWith('.sh') ? 0o755 : 0o644 } : file;
    mkdirSync(path.dirname(place), { recursive: true });
    writeFileSync(place, text);
    chmodSync(place, mode);
    if (isRoot) chownSync(place, ordinaryUser().uid, ordinaryUser().uid);
  }
  return dir;
}

/** A bundle made where enroot is configured so. user: the files of ~/.config/enroot, and then `make --all`. */
export function makeConfigured(system: Files, user?: Files, env: Readonly<Record<string, string>> = {}): string {
  const dir = makeDir(ordinaryUser(), 'configured');
  const home = path.join(dir, 'home');
  mkdirSync(home);
  if (user) makeConfiguration(user, path.join(home, '.config', 'enroot'));
  const file = path.join(dir, 'x.run');
  execFileSync(bundler, ['make', '--quiet', '-o', file, ...(user ? ['--all'] : []), makeImage('busybox')], {
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: home,
      ENROOT_SYSCONF_PATH: makeConfiguration(system),
      BUNDLER_CACHE_DIR: path.join(sessionDir(), 'cache-make'),
      ...sanitizerEnv(),
      ...env,
    },
    stdio: 'pipe',
  });
  return file;
}
