// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync, statfsSync } from 'node:fs';

const everyMs = 10;

/** The most that was seen while something ran. */
export interface Peaks {
  /** Resident memory of each process by its pid (VmHWM of proc_pid_status(5)): of the one that is watched and all below it. */
  readonly memoryBytes: ReadonlyMap<number, number>;
  /** Used in the file system of the directory. */
  readonly diskBytes: number;
}

/** Watches a process, those that it starts, and the file system of a directory; ended by what it returns. */
export function watchProcess(pid: number, directory: string): () => Peaks {
  const memoryBytes = new Map<number, number>();
  let diskBytes = 0;
  const look = (): void => {
    diskBytes = Math.max(diskBytes, usedBytes(directory));
    for (const each of [pid, ...listChildren(pid)]) {
      const found = readPeak(each);
      if (found > 0) memoryBytes.set(each, Math.max(found, memoryBytes.get(each) ?? 0));
    }
  };
  const timer = setInterval(look, everyMs);
  return () => {
    clearInterval(timer);
    return { memoryBytes, diskBytes };
  };
}

/** Bytes in use in the file system of a directory. */
export function usedBytes(directory: string): number {
  const { blocks, bfree, bsize } = statfsSync(directory);
  return (blocks - bfree) * bsize;
}

/** All processes below one. */
function listChildren(pid: number): number[] {
  const found: number[] = [];
  try {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      for (const child of readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' ')) {
        if (child !== '') found.push(Number(child), ...listChildren(Number(child)));
      }
    }
  } catch {
    // It ended meanwhile.
  }
  return found;
}

/** A new program begins anew: its peak is not that of the one before it in the same process. 0 when the process has ended. */
function readPeak(pid: number): number {
  try {
    const found = /^VmHWM:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return Number(found?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
