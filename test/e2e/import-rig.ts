// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { bundler } from '../support/bundle.ts';
import { makeRawTar, type RawEntry } from '../support/raw-tar.ts';
import { type Ran, type Running, type RunOptions, start } from '../support/run.ts';
import { freshUser, makeDir, type User } from '../support/session.ts';
import { listFiles, until, untilAllEnded } from '../support/snapshot.ts';

/** Who imports: a user, a directory for outputs and a cache that is not there yet. */
export interface Importer {
  readonly user: User;
  readonly dir: string;
  readonly cache: string;
}

let shared: User | undefined;

/** An importer of this test file's own user, whose cache of bundler's runtime is warm after the first one, or of another. */
export function makeImporter(user?: User): Importer {
  shared ??= freshUser();
  const own = user ?? shared;
  return { user: own, dir: makeDir(own, 'import'), cache: path.join(makeDir(own, 'cache'), 'enroot') };
}

function envOf({ cache }: Importer, env: RunOptions['env']): Record<string, string> {
  // What this machine is set up for is not what is tested.
  return { ENROOT_SYSCONF_PATH: '/nonexistent', ENROOT_CACHE_PATH: cache, ...env };
}

/** Starts `bundler ARGUMENTS` as the user, in the directory for outputs. */
export function startBundler(importer: Importer, argv: readonly string[], options: RunOptions = {}): Running {
  const { user, dir } = importer;
  return start([bundler, ...argv], { cwd: dir, ...options, user, env: envOf(importer, options.env) });
}

export function runBundler(importer: Importer, argv: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return startBundler(importer, argv, options).end(options.input);
}

/** Imports with the further arguments, which must work, and gives the image's bytes. */
export async function importBytes(importer: Importer, argv: readonly string[], options: RunOptions = {}) {
  const file = path.join(importer.dir, 'out.sqsh');
  const ran = await runBundler(importer, ['import', '--force', '-o', file, ...argv], options);
  expect(ran.status, ran.stderr).toBe(0);
  return readFileSync(file);
}

/** A failure of ours with that message (its first line) and hint. */
export function expectFailure(ran: Ran, message: RegExp, hint: RegExp = /./): void {
  expect(ran.status, ran.stderr).toBe(125);
  const lines = ran.stderr.trimEnd().split('\n');
  expect(lines.find((line) => message.test(line) && line.startsWith('bundler: ')) ?? ran.stderr).toMatch(message);
  expect(lines.at(-1)).toMatch(/^ {2}try: /);
  expect(lines.at(-1)).toMatch(hint);
}

/** A layer of files and a part that does not compress, always the same for a seed. */
export function makeLayer(seed: string, noiseBytes: number, entries: readonly RawEntry[] = []): Buffer {
  const noise = Buffer.alloc(noiseBytes);
  for (let at = 0; at < noiseBytes; at += 64) {
    createHash('sha512').update(`${seed} ${at}`).digest().copy(noise, at);
  }
  return makeRawTar([{ name: `noise-${seed}`, content: noise }, ...entries]);
}

/** A file's content in a squashfs image, by squashfs-tools. */
export function readImageFile(image: string, name: string): string {
  return execFileSync('unsquashfs', ['-cat', image, name], { encoding: 'latin1', maxBuffer: 1 << 28 });
}

/** The names of a squashfs image's files and empty directories, without import's own. */
export function listImage(image: string): string[] {
  const lines = execFileSync('unsquashfs', ['-lc', image], { encoding: 'latin1' }).trim().split('\n');
  return lines.map((line) => line.replace(/^squashfs-root/, '')).filter((name) => !/^(|\/etc(\/.*)?)$/.test(name));
}

/** Files below a directory, as names relative to it. */
export function listBelow(directory: string): string[] {
  if (!existsSync(directory)) return [];
  const names = readdirSync(directory, { recursive: true, encoding: 'latin1' });
  return names.filter((name) => statSync(path.join(directory, name), { throwIfNoEntry: false })?.isFile()).sort();
}

/** Each file of the cache with a final name is what its name says. Gives the digests. */
export function expectWholeBlobs(cache: string): string[] {
  const names = listBelow(path.join(cache, 'blobs'));
  for (const name of names) {
    const bytes = readFileSync(path.join(cache, 'blobs', name));
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(path.basename(name));
  }
  return names.map((name) => name.replace('/', ':'));
}

/** Nothing of an import that is over is left but whole blobs and, where they are allowed, the beginnings of others and notes of failure. */
export async function expectOnlyCache({ user, dir, cache }: Importer, left: 'blobs' | 'blobs and rests') {
  await untilAllEnded(user);
  expect(readdirSync(dir).filter((name) => name !== 'out.sqsh')).toEqual([]);
  expect(listFiles(user).filter((name) => !name.startsWith(path.join(user.home, '.cache')))).toEqual([]);
  expectWholeBlobs(cache);
  const others = listBelow(cache).filter((name) => !name.startsWith('blobs/'));
  const isRest = (name: string) =>
    /^(partial\/sha256-[0-9a-f]{64}\.[a-z0-9-]+|leases\/sha256-[0-9a-f]{64}\.failed)$/.test(name);
  expect(others.filter((name) => left === 'blobs' || !isRest(name))).toEqual([]);
}

/** Waits until the process shows a line of JSON events that fits. */
export async function untilEvent(running: Running, pattern: RegExp): Promise<void> {
  await until(
    () => pattern.test(running.shown),
    () => `events of ${running.pid}: ${running.shown}\n${running.complaints}`,
  );
}
