// SPDX-License-Identifier: Apache-2.0
import { existsSync, realpathSync } from 'node:fs';
import { run } from './step.ts';

const searchDirs = ['/lib/x86_64-linux-gnu', '/usr/lib/x86_64-linux-gnu', '/lib64', '/usr/lib64', '/lib', '/usr/lib'];

/** The dynamic loader's path on the build machine: the interpreter that Node's own ELF file names. */
export function findLoader(program: string): string {
  const match = /Requesting program interpreter: ([^\]]+)\]/.exec(run('readelf', ['-lW', program]));
  if (!match?.[1]) throw new Error(`${program} names no program interpreter`);
  return realpathSync(match[1]);
}

/** The NEEDED entries of an ELF file's dynamic section. */
export function readNeeded(path: string): string[] {
  return [...run('readelf', ['-dW', path]).matchAll(/\(NEEDED\).*\[(.+)\]/g)].map((match) => match[1] as string);
}

/** Every library that a program needs, directly or through others: name to path on the build machine. The loader is not among them. */
export function collectLibraries(program: string): Map<string, string> {
  const found = new Map<string, string>();
  const waiting = [program];
  for (let path = waiting.pop(); path; path = waiting.pop()) {
    for (const name of readNeeded(path)) {
      if (found.has(name) || /^ld-linux/.test(name)) continue;
      const dir = searchDirs.find((candidate) => existsSync(`${candidate}/${name}`));
      if (!dir) throw new Error(`${path} needs ${name}, which is in none of ${searchDirs.join(' ')}`);
      const library = realpathSync(`${dir}/${name}`);
      found.set(name, library);
      waiting.push(library);
    }
  }
  return new Map([...found].sort());
}
