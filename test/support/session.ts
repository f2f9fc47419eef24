// SPDX-License-Identifier: Apache-2.0
import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

export const isRoot = process.getuid?.() === 0;

/** Prepares the machine as a desktop or cluster node is: udev gives /dev/fuse mode 0666 everywhere. Needs root; else nothing. */
export function prepareMachine(): void {
  if (!isRoot) return;
  if (!existsSync('/dev/fuse')) {
    try {
      execFileSync('mknod', ['/dev/fuse', 'c', '10', '229']);
    } catch {
      return; // the tests that need it say so
    }
  }
  if ((statSync('/dev/fuse').mode & 0o666) !== 0o666) chmodSync('/dev/fuse', 0o666);
}

/** Makes the directory that a whole test run shares (bundles, homes). Everybody may enter it, as test users must. */
export function makeSession(): string {
  const dir = mkdtempSync(path.join(tmpdir(), 'bundler-test-'));
  chmodSync(dir, 0o755);
  return dir;
}

/** The command that removes what a session made, also its users' caches outside their homes. rm goes deeper than paths do. */
function removalOf(dir: string): [string, string[]] {
  if (process.env['BUNDLER_KEEP_TEMP'] === '1') return ['true', []];
  const names = isRoot && existsSync(dir) ? readdirSync(dir) : [];
  const uids = names.flatMap((name) => /^home-(\d+)$/.exec(name)?.[1] ?? []);
  const caches = uids.flatMap((uid) => [`/tmp/bundler-${uid}`, `/var/tmp/bundler-${uid}`]);
  return ['rm', ['-rf', '--one-file-system', '--', ...caches, dir]];
}

/**
 * Removes what a session made, without blocking: it may take longer than the 10 seconds after which vitest takes a worker whose
 * end it had no time to see for one that does not end.
 */
export async function removeSession(dir: string): Promise<void> {
  await promisify(execFile)(...removalOf(dir));
}

let own: string | undefined;

/** The session's directory: the global set-up's, or one of this process's own when there was none. */
export function sessionDir(): string {
  const shared = process.env['BUNDLER_TEST_DIR'];
  if (shared) return shared;
  if (!own) {
    prepareMachine();
    const dir = makeSession();
    own = dir;
    process.on('exit', () => execFileSync(...removalOf(dir)));
  }
  return own;
}

export interface User {
  readonly uid: number;
  readonly home: string;
}

/** A user of the tests, with a home of its own. Without root every user is the caller. */
export function makeUser(uid: number): User {
  const real = isRoot ? uid : (process.getuid?.() ?? 0);
  const home = path.join(sessionDir(), `home-${real}`);
  mkdirSync(home, { recursive: true, mode: 0o700 });
  if (isRoot) chownSync(home, real, real);
  return { uid: real, home };
}

/** The ordinary user of most tests; its cache is warm after the first run. */
export function ordinaryUser(): User {
  return makeUser(4242);
}

let count = 0;

/** A user that nothing else runs as: its processes, files and caches are this test's alone. */
export function freshUser(): User {
  count += 1;
  return makeUser(100_000 + (process.pid % 30_000) * 64 + count);
}

/** A new directory in the session, owned by the user. */
export function makeDir(user: User, name = 'dir'): string {
  const dir = mkdtempSync(path.join(sessionDir(), `${name}-`));
  chmodSync(dir, 0o755);
  if (isRoot) chownSync(dir, user.uid, user.uid);
  return dir;
}
