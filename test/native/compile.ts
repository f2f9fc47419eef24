// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import path from 'node:path';
import { repository } from '../support/programs.ts';

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

/** Compiles NAME.c of this directory with the whole of native/; kept in build/ under the digest of all of it. Gives the program's path. */
export function compileNative(name: string): string {
  const known = built.get(name);
  if (known !== undefined) return known;
  const native = path.join(repository, 'native');
  const listed = readdirSync(native)
    .filter((file) => /\.[ch]$/.test(file))
    .sort()
    .map((file) => path.join(native, file));
  const sources = [path.join(import.meta.dirname, `${name}.c`), ...listed.filter((file) => file.endsWith('.c'))];
  const hash = createHash('sha256');
  for (const file of [...sources, ...listed.filter((each) => each.endsWith('.h'))]) hash.update(readFileSync(file));
  const digest = hash.digest('hex').slice(0, 12);
  const output = path.join(repository, 'build/test', `${name}-${sanitize ? 'sanitized-' : ''}${digest}`);
  if (!existsSync(output)) {
    mkdirSync(path.dirname(output), { recursive: true });
    const temporary = `${output}.${process.pid}`;
    execFileSync(...compilerLine(temporary, sources));
    renameSync(temporary, output);
  }
  built.set(name, output);
  return output;
}
