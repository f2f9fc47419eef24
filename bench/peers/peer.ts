// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Absent, Setting, Subject } from '../measure.ts';

/** Sets up what is measured, or says why it cannot be. */
export type Peer = (setting: Setting, repository: string) => (Subject | Absent)[];

export function findCommand(name: string): string | undefined {
  const dirs = ['/usr/local/bin', '/usr/bin', '/bin', '/usr/sbin', '/sbin'];
  return dirs.map((dir) => path.join(dir, name)).find((file) => existsSync(file));
}

/** The peer, or a row that names it as absent when one of its commands is not installed. */
export function withCommands(
  name: string,
  commands: readonly string[],
  setUp: () => (Subject | Absent)[],
): (Subject | Absent)[] {
  const lacking = commands.filter((command) => !findCommand(command));
  if (lacking.length > 0) return [{ name, absent: `not installed: ${lacking.join(', ')}` }];
  try {
    return setUp();
  } catch (error) {
    return [
      { name, absent: (error instanceof Error ? error.message : String(error)).trim().split('\n').slice(-1).join('') },
    ];
  }
}
