// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import {
  closeSync,
  fchmodSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  renameSync,
  type Stats,
  unlinkSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { onInterrupt, removeQuietly } from '../cleanup.ts';
import { describeSystemError, explain, Failure } from '../failure.ts';
import { type Host, identifyHost, isGone, nameWriter, parseWriter } from '../host.ts';

/** A file being written under a temporary name beside its final one. */
export interface Output {
  readonly descriptor: number;
  /** Gives it its mode less the umask, makes it safe on disk, and gives it its final name. */
  commit(): Promise<void>;
  /** Removes it; after commit there is nothing to remove. */
  discard(): void;
}

/**
 * Begins a file that appears under its name only when it is whole: `.NAME.partial-WRITER` in the same directory, mode 0600,
 * removed again when something fails or a signal ends the process. What processes that were killed left of the same file is removed too. Its final mode is 0755 unless given. Refuses an existing path unless
 * force, and what is not a regular file always. Throws Failure.
 */
export async function createOutput(path: string, options: { force: boolean; mode?: number }): Promise<Output> {
  checkTarget(path, options.force);
  const host = identifyHost();
  const prefix = `.${shortenName(basename(path))}.partial-`;
  removeAbandoned(dirname(path), prefix, host);
  const temporary = join(dirname(path), `${prefix}${nameWriter(host)}`);
  const forget = onInterrupt(() => removeQuietly(temporary));
  let descriptor: number | undefined;
  try {
    descriptor = await explain(
      `cannot write to the directory ${dirname(path)}`,
      () => openSync(temporary, 'wx+', 0o600),
      'name another place with --output FILE',
    );
  } catch (error) {
    forget();
    throw error;
  }
  return {
    descriptor,
    async commit() {
      await explain(`cannot finish ${path}`, () => {
        if (descriptor === undefined) throw new Error('this output is closed');
        fchmodSync(descriptor, (options.mode ?? 0o755) & ~process.umask());
        fsyncSync(descriptor);
        closeSync(descriptor);
        descriptor = undefined;
        putInPlace(temporary, path, options.force);
      });
      forget();
    },
    discard() {
      if (descriptor !== undefined) closeSync(descriptor);
      descriptor = undefined;
      removeQuietly(temporary);
      forget();
    },
  };
}

/** A name that leaves room for what goes around it: a file's name has at most 255 bytes. */
function shortenName(name: string): string {
  return Buffer.byteLength(name) <= 150 ? name : createHash('sha256').update(name).digest('hex').slice(0, 32);
}

/** Removes partial files whose writer is certainly gone: nobody else would. */
function removeAbandoned(directory: string, prefix: string, host: Host): void {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch {
    return;
  }
  for (const name of names) {
    const writer = name.startsWith(prefix) ? parseWriter(name.slice(prefix.length)) : undefined;
    if (writer !== undefined && isGone(writer, host)) removeQuietly(join(directory, name));
  }
}

/** Throws Failure where createOutput would, but for the directory: for what takes its time before there is something to write. */
export function checkTarget(path: string, force: boolean): void {
  let status: Stats;
  try {
    status = lstatSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw new Failure(`cannot write ${path}: ${describeSystemError(error)}`, { cause: error });
  }
  if (status.isDirectory())
    throw new Failure(`cannot write ${path}: it is a directory`, {
      hint: `name a file in it: --output ${join(path, 'FILE')}`,
    });
  if (!force) throw existsFailure(path);
  if (!status.isFile() && !status.isSymbolicLink()) throw new Failure(`cannot replace ${path}: not a regular file`);
}

function existsFailure(path: string): Failure {
  return new Failure(`cannot write ${path}: it exists`, {
    hint: 'replace it with --force, or name another file with --output',
  });
}

/** rename(2), or without force link(2), which never replaces a file that somebody made meanwhile. */
function putInPlace(temporary: string, path: string, force: boolean): void {
  if (!force) {
    try {
      linkSync(temporary, path);
      unlinkSync(temporary);
      return;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'EEXIST') throw existsFailure(path);
      // File systems without hard links (vfat, some FUSE ones) answer in several ways.
      if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EACCES', 'EINVAL'].includes(code ?? '')) throw error;
    }
  }
  renameSync(temporary, path);
}
