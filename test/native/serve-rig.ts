// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeAll } from 'vitest';
import { repository } from '../support/programs.ts';
import { type Ran, type Running, type RunOptions, start } from '../support/run.ts';
import { makeDir, ordinaryUser, sessionDir, type User } from '../support/session.ts';

/** BUNDLER_SANITIZE=1 runs these tests on a build with the address and undefined-behaviour sanitizers. */
export const sanitize = process.env['BUNDLER_SANITIZE'] === '1';
const libraries = ['-lsquashfs', '-lzstd', '-llz4', '-llzma', '-lz', '-lpthread'];

function compilerLine(output: string, sources: readonly string[]): [string, string[]] {
  const common = ['-std=gnu17', '-D_GNU_SOURCE', '-g', '-Wall', '-Wextra', '-o', output, ...sources];
  if (!sanitize) return ['gcc', ['-O2', '-static', ...common, ...libraries]];
  const clang = ['clang', 'clang-14'].find((name) => existsSync(`/usr/bin/${name}`)) ?? 'clang';
  return [clang, ['-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all', ...common, ...libraries]];
}

const built = new Map<string, string>();

/** The file server and what is below it. */
const parts = /^(serve|tree|image|block_cache|object_cache|decompress|lzo|fault|wire|sha256)([-_.].*)?\.[ch]$/;

/** Compiles a C program of this directory with the launcher's own sources; kept in build/ under the digest of all of them. */
export function compile(program: 'serve-mount' | 'serve-protocol'): string {
  const known = built.get(program);
  if (known) return known;
  const native = path.join(repository, 'native');
  const listed = readdirSync(native)
    .filter((name) => parts.test(name))
    .sort()
    .map((name) => path.join(native, name));
  const sources = [path.join(import.meta.dirname, `${program}.c`), ...listed.filter((name) => name.endsWith('.c'))];
  const hash = createHash('sha256');
  for (const file of [...sources, ...listed.filter((name) => name.endsWith('.h'))]) hash.update(readFileSync(file));
  const name = `${program}-${sanitize ? 'sanitized-' : ''}${hash.digest('hex').slice(0, 12)}`;
  const output = path.join(repository, 'build/test', name);
  if (!existsSync(output)) {
    mkdirSync(path.dirname(output), { recursive: true });
    const temporary = `${output}.${process.pid}`;
    execFileSync(...compilerLine(temporary, sources));
    renameSync(temporary, output);
  }
  built.set(program, output);
  return output;
}

const reports = (): string[] => readdirSync(sessionDir()).filter((name) => name.startsWith('sanitizer.'));
// The server's stderr is /dev/null, so the sanitizers write files.
const sanitizerEnv = (): Record<string, string> => {
  const where = `log_path=${sessionDir()}/sanitizer`;
  return sanitize ? { ASAN_OPTIONS: `${where}:detect_leaks=0`, UBSAN_OPTIONS: `${where}:print_stacktrace=1` } : {};
};

if (sanitize) {
  beforeAll(() => chmodSync(sessionDir(), 0o1777));
  afterEach(() => {
    const found = reports().map((name) => readFileSync(path.join(sessionDir(), name), 'utf8'));
    for (const name of reports()) rmSync(path.join(sessionDir(), name));
    if (found.length > 0) throw new Error(found.join('\n'));
  });
}

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
  const line = [compile('serve-mount'), ...(options.flags ?? []), ...entries, image, makeDir(user, 'mnt'), ...command];
  return start([...(options.before ?? []), ...line], {
    ...options,
    user,
    env: { ...sanitizerEnv(), ...options.env },
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
