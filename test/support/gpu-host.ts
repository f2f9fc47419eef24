// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { existsSync, renameSync } from 'node:fs';
import path from 'node:path';
import { bundler } from './bundle.ts';
import { repository } from './programs.ts';
import { type Ran, Running } from './run.ts';
import { sanitizerEnv } from './sanitize.ts';
import { ordinaryUser, sessionDir, type User } from './session.ts';

/** What the hardware suite takes along: images that differ in where their libraries are, with gpu-check in each. */
export type GpuImage = 'debian' | 'rhel' | 'distroless';

/** Makes a directory once a session, whoever of several test files comes first. */
function once(name: string, make: (dir: string) => void): string {
  const dir = path.join(sessionDir(), name);
  if (existsSync(dir)) return dir;
  const own = `${dir}.${process.pid}`;
  make(own);
  try {
    renameSync(own, dir);
  } catch {
    // Another process was first.
    execFileSync('rm', ['-rf', own]);
  }
  return dir;
}

/** The driver of stubs: libcuda, libnvidia-ml, nvidia-smi. */
export function stubDriver(): string {
  return once('gpu-driver', (dir) => {
    execFileSync(path.join(repository, 'test/gpu/stub/compile-stubs'), [dir], { stdio: 'pipe' });
  });
}

/** The squashfs image. */
export function gpuImage(name: GpuImage): string {
  const dir = once('gpu-images', (own) => {
    execFileSync(path.join(repository, 'test/gpu/hardware/prepare'), ['--bundler', bundler, own], { stdio: 'pipe' });
  });
  return path.join(dir, 'images', `${name}.sqsh`);
}

export interface GpuHostOptions {
  readonly gpus?: number;
  readonly user?: User;
  readonly env?: Readonly<Record<string, string>>;
  /** Run by root in the pretended host before the command: what differs there. */
  readonly prepare?: string;
}

/** Starts a command as an ordinary user on a host that seems to have NVIDIA's driver and some GPUs. Needs root. */
export function startOnGpuHost(argv: readonly string[], options: GpuHostOptions = {}): Running {
  const { gpus = 2, user = ordinaryUser(), prepare = '' } = options;
  const env = {
    PATH: '/usr/local/bin:/usr/bin:/bin',
    HOME: user.home,
    TERM: 'dumb',
    ...sanitizerEnv(),
    ...options.env,
  };
  const drop = ['setpriv', `--reuid=${user.uid}`, `--regid=${user.uid}`, '--clear-groups', '--', ...argv];
  const pretend = [path.join(repository, 'test/gpu/stub/pretend-host'), stubDriver(), String(gpus)];
  return new Running([...pretend, 'sh', '-c', `${prepare}\nexec "$@"`, 'sh', ...drop], { cwd: user.home, env });
}

export function runOnGpuHost(argv: readonly string[], options: GpuHostOptions = {}): Promise<Ran> {
  return startOnGpuHost(argv, options).end();
}
