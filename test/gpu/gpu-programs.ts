// SPDX-License-Identifier: Apache-2.0
import { execFileSync, type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { repository } from '../support/programs.ts';
import { sessionDir } from '../support/session.ts';

/** The programs that use a GPU, and a driver without a GPU for them. */
export interface GpuPrograms {
  /** A directory that everything is in. */
  readonly dir: string;
  /** libcuda.so.1 and libnvidia-ml.so.1 with their links, nvidia-smi and libcublas.so.12, as test/gpu/stub/compile-stubs makes them. */
  readonly driver: string;
  readonly gpuCheck: string;
  readonly gpuNorm: string;
}

/** Compiles all of them into a new directory of the session; takes about 2 seconds. */
export function compileGpuPrograms(): GpuPrograms {
  const dir = mkdtempSync(path.join(sessionDir(), 'gpu-'));
  const compile = (script: string, output: string): string => {
    execFileSync(path.join(repository, script), [path.join(dir, output)], { stdio: 'pipe' });
    return path.join(dir, output);
  };
  return {
    dir,
    driver: compile('test/gpu/stub/compile-stubs', 'driver'),
    gpuCheck: compile('test/gpu/hardware/compile-check', 'gpu-check'),
    gpuNorm: compile('examples/gpu-norm/compile', 'gpu-norm'),
  };
}

/** A directory with device nodes for the stubs, which take it for /dev: plain files will do. */
export function makeNodes(programs: GpuPrograms, ...minors: number[]): string {
  const dir = mkdtempSync(path.join(programs.dir, 'dev-'));
  for (const minor of minors) writeFileSync(path.join(dir, `nvidia${minor}`), '');
  return dir;
}

/** The same driver without some of its files: a copy of those that are named. */
export function copyDriver(programs: GpuPrograms, ...names: string[]): string {
  const dir = path.join(programs.dir, `driver-with-${names.join('-')}`);
  mkdirSync(dir, { recursive: true });
  for (const name of names) copyFileSync(path.join(programs.driver, name), path.join(dir, name));
  return dir;
}

/** Runs a program with a driver ('' for none) and nodes; more variables may tell the stub what goes wrong. */
export function runGpuProgram(
  program: string,
  args: readonly string[],
  host: { driver: string; nodes: string },
  more: Readonly<Record<string, string>> = {},
): SpawnSyncReturns<string> {
  const env = { PATH: process.env['PATH'] ?? '', LD_LIBRARY_PATH: host.driver, STUB_GPU_DIR: host.nodes, ...more };
  return spawnSync(program, args, { env, encoding: 'utf8' });
}

/** A machine with a driver of its own finds that one where a test wants none. */
export const hasRealDriver = existsSync('/proc/driver/nvidia/version');
