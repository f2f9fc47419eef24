// SPDX-License-Identifier: Apache-2.0
import { chmodSync, lstatSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** Removes a file or a directory with all in it, also directories whose modes forbid it to their owner. Symbolic links are not followed. */
export function removeTree(path: string): void {
  const status = lstatSync(path);
  if (status.isDirectory()) openUp(path, status.mode);
  rmSync(path, { recursive: true, force: true });
}

function openUp(directory: string, mode: number): void {
  if ((mode & 0o700) !== 0o700) chmodSync(directory, 0o700);
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const path = join(directory, entry.name);
    openUp(path, lstatSync(path).mode);
  }
}
