// SPDX-License-Identifier: Apache-2.0
import { closeSync, constants, openSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { explain } from '../failure.ts';

/** An open file without a name: nothing is left of it, however the process ends. */
export interface AnonymousFile {
  readonly descriptor: number;
  /** How this process, and those that it starts, open it. */
  readonly path: string;
  close(): void;
}

/** O_TMPFILE of open(2), which Node does not name. */
const unnamed = 0o20000000 | constants.O_DIRECTORY;

/** Makes an empty file for reading and writing in a directory, for what needs room for a while. Throws Failure. */
export async function createAnonymousFile(directory: string): Promise<AnonymousFile> {
  const descriptor = await explain(`cannot write to the directory ${directory}`, () => open(directory));
  return {
    descriptor,
    path: `/proc/${process.pid}/fd/${descriptor}`,
    close: () => closeSync(descriptor),
  };
}

function open(directory: string): number {
  try {
    return openSync(directory, unnamed | constants.O_RDWR, 0o600);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    // File systems that cannot (NFS, FUSE ones, overlay of old kernels).
    if (!['EOPNOTSUPP', 'ENOTSUP', 'EISDIR', 'ENOENT', 'EINVAL'].includes(code)) throw error;
  }
  const path = join(directory, `.bundler-${process.pid}-${Math.random().toString(36).slice(2, 10)}`);
  const descriptor = openSync(path, 'wx+', 0o600);
  unlinkSync(path);
  return descriptor;
}
