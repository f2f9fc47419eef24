// SPDX-License-Identifier: Apache-2.0
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { User } from './session.ts';

export interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly state: string;
  readonly uid: number;
  readonly command: string;
}

/** All processes of a user that are alive (a zombie whose parent is about to reap it is not). */
export function listProcesses(user: User): Process[] {
  const list: Process[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const status = readFileSync(`/proc/${name}/status`, 'utf8');
      const field = (key: string): string => new RegExp(`^${key}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? '';
      if (Number(field('Uid')) !== user.uid || field('State') === 'Z') continue;
      const command = readFileSync(`/proc/${name}/cmdline`, 'latin1').replaceAll('\0', ' ').trim() || field('Name');
      list.push({ pid: Number(name), parent: Number(field('PPid')), state: field('State'), uid: user.uid, command });
    } catch {
      // it ended while we looked
    }
  }
  return list;
}

/**
 * The mounts of the host, as lines of mountinfo. Tests that run at the same time mount things in their own scratch directories, which do not
 * count; below `home`, where it is given, everything does.
 */
export function listMounts(home?: string): string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').trim().split('\n');
  return lines.filter((line) => {
    const point = line.split(' ')[4] ?? '';
    return (
      !/^(\/tmp|\/var\/tmp|\/dev\/shm)\/./.test(point) || (home !== undefined && `${point}/`.startsWith(`${home}/`))
    );
  });
}

function* walk(dir: string): Generator<string> {
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch {
    return;
  }
  for (const name of names) {
    const file = path.join(dir, name);
    yield file;
    try {
      if (lstatSync(file).isDirectory()) yield* walk(file);
    } catch {
      // gone meanwhile
    }
  }
}

/** Files of the user in the places where a bundle may write; below its cache only the first two levels. */
export function listFiles(user: User, ...more: string[]): string[] {
  const found: string[] = [];
  for (const dir of ['/tmp', '/var/tmp', '/dev/shm', '/run']) {
    for (const name of readdirSync(dir)) {
      const file = path.join(dir, name);
      try {
        if (lstatSync(file).uid === user.uid) found.push(file);
      } catch {
        // gone meanwhile
      }
    }
  }
  for (const dir of [user.home, ...more]) found.push(...walk(dir));
  return found.filter((file) => !/\/runtime-[0-9a-f]+\//.test(file)).sort();
}

/** Waits until a condition holds; fails with what describe() says. Polls: what it looks at cannot be waited for. */
export async function until(condition: () => boolean, describe: () => string, timeoutMs = 10_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`still not so after ${timeoutMs} ms: ${describe()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Waits until no process of the user is left. */
export function untilAllEnded(user: User, timeoutMs = 10_000): Promise<void> {
  const show = (): string =>
    listProcesses(user)
      .map((p) => `${p.pid} (parent ${p.parent}, ${p.state}) ${p.command}`)
      .join('\n');
  return until(
    () => listProcesses(user).length === 0,
    () => `processes of uid ${user.uid}:\n${show()}`,
    timeoutMs,
  );
}
