// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import path from 'node:path';

export const repository = path.resolve(import.meta.dirname, '../..');

/** Compiles NAME.c of a directory of test/ into a static program and returns its path; kept in build/ under the digest of its source. */
export function compileProgram(name: string, directory = 'support'): string {
  const source = path.join(repository, 'test', directory, `${name}.c`);
  const digest = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 12);
  const program = path.join(repository, 'build/test', `${name}-${digest}`);
  if (!existsSync(program)) {
    mkdirSync(path.dirname(program), { recursive: true });
    const temporary = `${program}.${process.pid}`;
    execFileSync('gcc', [
      '-std=gnu17',
      '-D_GNU_SOURCE',
      '-O2',
      '-Wall',
      '-Wextra',
      '-static',
      '-s',
      '-o',
      temporary,
      source,
    ]);
    renameSync(temporary, program);
  }
  return program;
}
