// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Runs a program and gives what it prints. */
export function run(program: string, ...argv: string[]): string {
  return execFileSync(program, argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** buildah and podman with a storage of their own. */
export interface Storage {
  readonly options: readonly string[];
  buildah(...argv: string[]): string;
  podman(...argv: string[]): string;
}

export function openStorage(directory: string): Storage {
  const options = ['--root', join(directory, 'root'), '--runroot', join(directory, 'run'), '--storage-driver', 'vfs'];
  return {
    options,
    buildah: (...argv) => run('buildah', ...options, ...argv),
    podman: (...argv) => run('podman', ...options, ...argv),
  };
}

/** Commits an image of one more layer, with the files of a directory, on another image or `scratch`. */
export function buildImage(storage: Storage, base: string, files: string, name: string, ...config: string[]): void {
  const container = storage.buildah('from', base).trim();
  storage.buildah('copy', '-q', container, files, '/');
  if (config.length > 0) storage.buildah('config', ...config, container);
  storage.buildah('commit', '-q', container, name);
  storage.buildah('rm', container);
}

/** The API of a storage on a socket. The socket is there when this returns; ended by `stop`. */
export async function servePodman(
  storage: Storage,
  socket: string,
  env: Readonly<Record<string, string>> = {},
): Promise<{ stop(): Promise<void> }> {
  // The kernel ends it with us, however we end.
  const argv = ['podman', ...storage.options, 'system', 'service', '-t', '0', `unix://${socket}`];
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', ...argv], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...env },
  });
  let complaint = '';
  child.stderr.on('data', (data: Buffer) => {
    complaint += data;
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  while (!existsSync(socket)) {
    if (child.exitCode !== null) throw new Error(`podman system service: ${complaint}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return {
    async stop() {
      child.kill();
      await ended;
    },
  };
}
