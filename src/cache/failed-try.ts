// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { removeQuietly } from '../cleanup.ts';
import { type Host, nameWriter } from '../host.ts';
import { readBeginning, renameQuietly } from './files.ts';

/*
 * Each process has credentials of its own, so a waiter tries when an owner failed. But of 128 processes that want what cannot be had not
 * every one may find out in turn: leases/KEY.failed is new after each try that failed, and a waiter that saw several gives up.
 */

/** Notes that this process's download failed. No message: others may read it. */
export function noteFailedTry(directory: string, key: string, host: Host): void {
  const temporary = join(directory, `.${key}.${nameWriter(host)}`);
  try {
    writeFileSync(temporary, `${host.name} ${process.pid} ${randomBytes(8).toString('hex')}\n`, {
      mode: 0o644,
      flag: 'wx',
    });
  } catch {
    // Then the others find out themselves.
    return;
  }
  if (!renameQuietly(temporary, notePath(directory, key))) removeQuietly(temporary);
}

/** Takes the note away: the blob is there. */
export function forgetFailedTries(directory: string, key: string): void {
  removeQuietly(notePath(directory, key));
}

/** What the last failed try wrote: host, process id, a random word; '' when there is none. */
export function readFailedTry(directory: string, key: string): string {
  try {
    return readBeginning(notePath(directory, key), 500).text;
  } catch {
    return '';
  }
}

function notePath(directory: string, key: string): string {
  return join(directory, `${key}.failed`);
}
