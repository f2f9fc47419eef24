// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync } from 'node:fs';
import path from 'node:path';
import { type Ran, type Running, type RunOptions, start } from '../support/run.ts';
import { makeDir, ordinaryUser, sessionDir, type User } from '../support/session.ts';
import { compileNative } from './compile.ts';

export interface MountOptions extends RunOptions {
  /** Entries as serve-mount.c takes them: KIND:MODE:PATH[:DATA]. */
  readonly entries?: readonly string[];
  readonly flags?: readonly string[];
  /** Runs a command line in front of serve-mount, such as prlimit. */
  readonly before?: readonly string[];
}

/** Starts a command, as an ordinary user, whose working directory is the mounted image. */
export function startMounted(image: string, command: readonly string[], options: MountOptions = {}): Running {
  const user: User = options.user ?? ordinaryUser();
  const entries = (options.entries ?? []).flatMap((entry) => ['-e', entry]);
  const line = [
    compileNative('serve-mount'),
    ...(options.flags ?? []),
    ...entries,
    image,
    makeDir(user, 'mnt'),
    ...command,
  ];
  return start([...(options.before ?? []), ...line], {
    ...options,
    user,
  });
}

/** The same, to its end. */
export function runMounted(image: string, command: readonly string[], options: MountOptions = {}): Promise<Ran> {
  return startMounted(image, command, options).end(options.input);
}

/** A shell script in the mounted image; fails with its messages unless it ends with 0. */
export async function shMounted(image: string, script: string, options: MountOptions = {}): Promise<string> {
  const ran = await runMounted(image, ['sh', '-ec', script], options);
  if (ran.status !== 0) throw new Error(`exit status ${ran.status}: ${ran.stderr}`);
  return ran.stdout;
}

/** A fresh directory of the session, for trees and images. */
export function scratch(name: string): string {
  const dir = mkdtempSync(path.join(sessionDir(), `${name}-`));
  chmodSync(dir, 0o755);
  return dir;
}

export function makeImage(tree: string, image: string, ...flags: string[]): string {
  execFileSync('mksquashfs', [tree, image, '-noappend', '-quiet', '-no-progress', ...flags], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  return image;
}
