// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { lstatSync, type Stats, unlinkSync } from 'node:fs';
import { type FileHandle, link, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { onInterrupt } from '../cleanup.ts';
import { describeSystemError, explain, Failure } from '../failure.ts';

/** A file being written under a temporary name beside its final one. */
export interface Output {
  readonly handle: FileHandle;
  /** Makes it executable (0755 less the umask), safe on disk, and gives it its final name. */
  commit(): Promise<void>;
  /** Removes it; does nothing after commit. */
  discard(): Promise<void>;
}

/**
 * Begins a file that appears under its name only when it is whole: `.NAME.partial-PID-RANDOM` in the same directory, mode 0600,
 * removed again when something fails or a signal ends the process. Refuses an existing path unless force, and what is not a
 * regular file always. Throws Failure.
 */
export async function createOutput(path: string, options: { force: boolean }): Promise<Output> {
  checkTarget(path, options.force);
  const temporary = join(dirname(path), `.${basename(path)}.partial-${process.pid}-${randomBytes(4).toString('hex')}`);
  const forget = onInterrupt(() => removeQuietly(temporary));
  const handle = await explain(
    `cannot write to the directory ${dirname(path)}`,
    () => open(temporary, 'wx', 0o600),
    'name another place with --output FILE',
  ).catch((error: unknown) => {
    forget();
    throw error;
  });
  let done = false;
  return {
    handle,
    async commit() {
      await explain(`cannot finish ${path}`, async () => {
        await handle.chmod(0o755 & ~process.umask());
        await handle.sync();
        await handle.close();
        await putInPlace(temporary, path, options.force);
        done = true;
        forget();
        await syncDirectory(dirname(path));
      });
    },
    async discard() {
      if (done) return;
      done = true;
      await handle.close().catch(() => {});
      removeQuietly(temporary);
      forget();
    },
  };
}

function checkTarget(path: string, force: boolean): void {
  let status: Stats;
  try {
    status = lstatSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw new Failure(`cannot write ${path}: ${describeSystemError(error)}`, { cause: error });
  }
  if (status.isDirectory())
    throw new Failure(`cannot write ${path}: it is a directory`, { hint: `--output ${join(path, 'NAME.run')}` });
  if (!force) throw existsFailure(path);
  if (!status.isFile() && !status.isSymbolicLink()) throw new Failure(`cannot replace ${path}: not a regular file`);
}

function existsFailure(path: string): Failure {
  return new Failure(`cannot write ${path}: it exists`, {
    hint: 'replace it with --force, or name another file with --output',
  });
}

/** rename(2), or without force link(2), which never replaces a file that somebody made meanwhile. */
async function putInPlace(temporary: string, path: string, force: boolean): Promise<void> {
  if (!force) {
    try {
      await link(temporary, path);
      await unlink(temporary);
      return;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'EEXIST') throw existsFailure(path);
      // File systems without hard links (vfat, some FUSE ones) answer in several ways.
      if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EACCES', 'EINVAL'].includes(code ?? '')) throw error;
    }
  }
  await rename(temporary, path);
}

async function syncDirectory(path: string): Promise<void> {
  // Some file systems cannot sync a directory; the file itself is safe then.
  const directory = await open(path, 'r').catch(() => undefined);
  await directory?.sync().catch(() => {});
  await directory?.close();
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It was not made yet, or is gone already.
  }
}
