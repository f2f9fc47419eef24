// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { sessionDir } from './session.ts';

/** BUNDLER_SANITIZE=1 runs the tests on a build of the C with the address and undefined-behaviour sanitizers. */
export const sanitize = process.env['BUNDLER_SANITIZE'] === '1';

/** Where a bare host shows the directory of reports. */
const bareReports = '/sanitizer';

/** Reports of what this test file starts: most processes of ours have no stderr, so the sanitizers write files. */
export function reportsDir(): string {
  const dir = path.join(sessionDir(), `sanitizer-${process.pid}`);
  if (!existsSync(dir)) {
    mkdirSync(dir, { recursive: true });
    chmodSync(dir, 0o1777);
  }
  return dir;
}

/** What the programs of a test are started with; a command in a container does not see it, as its environment is a new one. */
export function sanitizerEnv(where: 'machine' | 'bare host' = 'machine'): Record<string, string> {
  if (!sanitize) return {};
  const options = `log_path=${where === 'machine' ? reportsDir() : bareReports}/report:disable_coredump=0`;
  return { ASAN_OPTIONS: `${options}:detect_leaks=0`, UBSAN_OPTIONS: `${options}:print_stacktrace=1` };
}

const librariesOf = new Map<string, string[]>();

/** The loader and the libraries of a dynamic program, by the paths that it looks for; none for a static one. */
function findLibraries(program: string): string[] {
  let found = librariesOf.get(program);
  if (!found) {
    // Fails on a static program.
    const { stdout } = spawnSync('ldd', [program], { encoding: 'utf8' });
    found = [...stdout.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)].map((match) => match[1] ?? '');
    librariesOf.set(program, found);
  }
  return found;
}

/** What a program with sanitizers needs of a bare host: its loader, its libraries, and a place for reports. */
export function bareFlags(program: string): string[] {
  return sanitize ? [...bareLibraries(program), '--bind', `${reportsDir()}=${bareReports}`] : [];
}

/** Its loader and libraries alone, for a second program. */
export function bareLibraries(program: string): string[] {
  return sanitize ? findLibraries(program).flatMap((file) => ['--file', `${file}=${file}`]) : [];
}

/** Takes away and returns the reports of this test file. */
export function takeReports(): string[] {
  const files = readdirSync(reportsDir()).map((name) => path.join(reportsDir(), name));
  const texts = files.map((file) => `${path.basename(file)}:\n${readFileSync(file, 'utf8')}`);
  for (const file of files) rmSync(file);
  return texts;
}

/** Reports of processes that outlived their test file; at the end of the session. */
export function lateReports(session: string): string[] {
  const dirs = readdirSync(session).filter((name) => name.startsWith('sanitizer-'));
  const files = dirs.flatMap((dir) =>
    readdirSync(path.join(session, dir)).map((name) => path.join(session, dir, name)),
  );
  return files.map((file) => readFileSync(file, 'utf8'));
}
