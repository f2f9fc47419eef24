// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { repository } from '../support/programs.ts';
import { sanitize } from '../support/sanitize.ts';

const libraries = ['-lsquashfs', '-lzstd', '-llz4', '-llzma', '-lz', '-lpthread'];
const native = path.join(repository, 'native');
const store = path.join(repository, 'build/test');

function compilerLine(...more: string[]): [string, ...string[]] {
  const common = ['-std=gnu17', '-D_GNU_SOURCE', '-g', '-Wall', '-Wextra', ...more];
  if (!sanitize) return ['gcc', '-O2', '-static', ...common];
  const clang = ['clang', 'clang-14'].find((name) => existsSync(`/usr/bin/${name}`)) ?? 'clang';
  return [clang, '-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all', ...common];
}

/** A file of build/test, made once for what it is made from; make() writes it in a directory of its own, under its name. */
function makeOnce(name: string, inputs: readonly string[], make: (output: string) => void): string {
  const hash = createHash('sha256').update(compilerLine().join(' '));
  for (const file of inputs) hash.update(readFileSync(file));
  const output = path.join(store, `${name}-${sanitize ? 'sanitized-' : ''}${hash.digest('hex').slice(0, 12)}`);
  if (existsSync(output)) return output;
  mkdirSync(store, { recursive: true });
  const dir = mkdtempSync(path.join(store, '.making-'));
  try {
    make(path.join(dir, name));
    renameSync(path.join(dir, name), output);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return output;
}

/** The whole of native/ as an archive, compiled once for all programs. */
function nativeArchive(parts: readonly string[]): string {
  return makeOnce('native.a', parts, (output) => {
    const dir = path.dirname(output);
    const sources = parts.filter((file) => file.endsWith('.c'));
    // Few sources a compiler, so that all cores work on them.
    const each = ['-0', '-P', String(availableParallelism()), '-n', '8'];
    execFileSync('xargs', [...each, ...compilerLine('-c')], { cwd: dir, input: sources.join('\0') });
    const objects = readdirSync(dir).filter((file) => file.endsWith('.o'));
    execFileSync('ar', ['rcs', output, ...objects.sort()], { cwd: dir });
  });
}

function listSources(dir: string): string[] {
  const names = readdirSync(dir).filter((file) => /\.[ch]$/.test(file));
  return names.sort().map((file) => path.join(dir, file));
}

const built = new Map<string, string>();

/** Compiles NAME.c of this directory with the whole of native/; kept in build/ under the digest of all of it. Gives the program's path. */
export function compileNative(name: string): string {
  const known = built.get(name);
  if (known !== undefined) return known;
  const source = path.join(import.meta.dirname, `${name}.c`);
  const parts = listSources(native);
  // Programs may include each other.
  const program = makeOnce(name, [...listSources(import.meta.dirname), ...parts], (output) => {
    const [compiler, ...flags] = compilerLine(`-I${native}`, '-o', output, source, nativeArchive(parts), ...libraries);
    execFileSync(compiler, flags);
  });
  built.set(name, program);
  return program;
}
