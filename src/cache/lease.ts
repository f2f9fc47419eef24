// SPDX-License-Identifier: Apache-2.0
import { closeSync, constants, fchmodSync, lstatSync, openSync, readdirSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { onInterrupt, removeQuietly } from '../cleanup.ts';
import { Failure } from '../failure.ts';
import { type Host, isGone, nameWriter, parseWriter } from '../host.ts';
import { readBeginning } from './files.ts';

/*
 * Who downloads a blob is said by the files leases/KEY.1, KEY.2, ..: the maker of the one with the highest number. A file is made with
 * O_EXCL, which is right on every file system with more than one host too (open(2): NFS from version 3 on), and nobody but its maker
 * ever writes to it. Who finds the owner of N dead makes N+1: only one process can, nothing has to be taken away from anybody (so it
 * works in a directory with the sticky bit), and an owner that was only asleep finds N+1 when it wakes.
 */

export interface LeaseTimes {
  /** How often an owner shows that it lives. */
  readonly heartbeatMs: number;
  /** How long an owner shows nothing until another process takes over. */
  readonly staleMs: number;
}

export interface Lease {
  /** Aborted when another process took over. */
  readonly lost: AbortSignal;
  /** Synchronous, may be called twice. */
  release(): void;
}

/** What a waiter has seen so far of the lease in its way. */
export interface Watch {
  seen: string;
  /** Time by this process's own clock: those of two hosts are never compared. */
  unchangedMs: number;
  lookedAtMs: number;
}

const maxLeaseBytes = 1000;
/** The last number that is looked for: behind it nobody could be seen. */
const maxGeneration = 999_999_999;
/** One look counts no more than this: a waiter that was suspended has seen nothing meanwhile. */
const maxLookMs = 1000;

/** A watch that has seen nothing. */
export function startWatch(): Watch {
  return { seen: '', unchangedMs: 0, lookedAtMs: 0 };
}

/** Becomes the owner of a key when there is none, or a dead one. Throws system errors, and Failure. */
export function tryLease(
  directory: string,
  key: string,
  { host, times, watch }: { host: Host; times: LeaseTimes; watch: Watch },
): Lease | undefined {
  const before = listGenerations(directory, key);
  const top = before.at(-1) ?? 0;
  if (top >= maxGeneration) {
    throw new Failure(`cannot use the cache: somebody put ${leasePath(directory, key, top)} there`, {
      hint: 'remove it',
    });
  }
  const found = top === 0 ? undefined : readLease(directory, key, top);
  if (top > 0 && (found === undefined || !isStale(found, { host, times, watch }))) return undefined;
  const made = createLease(directory, key, top + 1, host);
  if (made === undefined) return undefined;
  // What was looked at may have been released or taken over since: then others may have begun anew from another number.
  const judged = top === 0 || readLease(directory, key, top)?.maker === found?.maker;
  const highest = listGenerations(directory, key).at(-1) === top + 1;
  // And such a one may have swept our file away as a left-over and be through, and a third process have made one of the same number.
  const ours = readLease(directory, key, top + 1)?.writer === made.writer;
  if (!judged || !highest || !ours) {
    removeLease(made);
    return undefined;
  }
  // Only those that were there before: a later one is of a process that will find ours.
  for (const generation of before) removeQuietly(leasePath(directory, key, generation));
  return keepLease(made, times);
}

/** A lease as a file: `maker` stays the same as long as it does, `text` changes with each heartbeat. */
export interface FoundLease {
  readonly path: string;
  readonly maker: string;
  readonly text: string;
  readonly writer: string;
  readonly hostName: string;
  readonly modifiedMs: number;
}

/** Undefined when it is gone. Throws system errors. */
export function readLease(directory: string, key: string, generation: number): FoundLease | undefined {
  const path = leasePath(directory, key, generation);
  try {
    // Opened, not only looked at: close-to-open consistency (nfs(5)) shows the last heartbeat of another host.
    const { text, status } = readPlanted(path);
    const [, hostName = '', writer = ''] = /^host (.*)\nwriter (\S+)\n/.exec(text) ?? [];
    const modifiedMs = Number(status.mtimeMs);
    return { path, maker: `${status.ino} ${writer}`, text: `${status.mtimeNs} ${text}`, writer, hostName, modifiedMs };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Without a text for what is no lease (somebody planted a link or a FIFO) or cannot be read (yet): that nobody is seen to be alive behind. */
function readPlanted(path: string): ReturnType<typeof readBeginning> {
  try {
    return readBeginning(path, maxLeaseBytes);
  } catch (error) {
    if (!['ELOOP', 'EACCES', 'ENXIO'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    return { text: '', status: lstatSync(path, { bigint: true }) };
  }
}

/** The numbers of a key's leases, lowest first. */
export function listGenerations(directory: string, key: string): number[] {
  const generations: number[] = [];
  for (const name of readdirSync(directory)) {
    const rest = name.startsWith(`${key}.`) ? name.slice(key.length + 1) : '';
    if (/^[1-9]\d{0,8}$/.test(rest)) generations.push(Number(rest));
  }
  return generations.sort((a, b) => a - b);
}

function isStale(found: FoundLease, { host, times, watch }: { host: Host; times: LeaseTimes; watch: Watch }): boolean {
  const writer = parseWriter(found.writer);
  if (writer !== undefined && isGone(writer, host)) return true;
  const nowMs = performance.now();
  const seen = `${found.path} ${found.maker} ${found.text}`;
  watch.unchangedMs = seen === watch.seen ? watch.unchangedMs + Math.min(nowMs - watch.lookedAtMs, maxLookMs) : 0;
  watch.seen = seen;
  watch.lookedAtMs = nowMs;
  return watch.unchangedMs >= times.staleMs;
}

interface Made {
  readonly directory: string;
  readonly key: string;
  readonly generation: number;
  readonly path: string;
  readonly host: Host;
  readonly writer: string;
}

function createLease(directory: string, key: string, generation: number, host: Host): Made | undefined {
  const made = {
    directory,
    key,
    generation,
    path: leasePath(directory, key, generation),
    host,
    writer: nameWriter(host),
  };
  let descriptor: number;
  try {
    descriptor = openSync(made.path, 'wx', 0o644);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
    throw error;
  }
  try {
    writeSync(descriptor, formatLease(made, 0), 0);
    // Whatever the umask: the others must see that somebody works.
    fchmodSync(descriptor, 0o644);
  } catch (error) {
    removeQuietly(made.path);
    throw error;
  } finally {
    closeSync(descriptor);
  }
  return made;
}

/** Always of the same length, so that it is written over in place. */
function formatLease({ host, writer }: Made, beat: number): string {
  return `host ${host.name}\nwriter ${writer}\nbeat ${String(beat).padStart(10, '0')}\n`;
}

function keepLease(made: Made, times: LeaseTimes): Lease {
  const lost = new AbortController();
  let beats = 0;
  const timer = setInterval(() => {
    if (beat(made, ++beats)) return;
    clearInterval(timer);
    lost.abort(new Error('another process took over'));
  }, times.heartbeatMs);
  timer.unref();
  const forget = onInterrupt(() => removeLease(made));
  return {
    lost: lost.signal,
    release() {
      clearInterval(timer);
      forget();
      removeLease(made);
    },
  };
}

/** Shows that we live; false when we are not the owner any more. */
function beat(made: Made, count: number): boolean {
  try {
    if (listGenerations(made.directory, made.key).some((generation) => generation > made.generation)) return false;
    if (!readBeginning(made.path, maxLeaseBytes).text.includes(made.writer)) return false;
    const descriptor = openSync(made.path, constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      writeSync(descriptor, formatLease(made, count), 0);
    } finally {
      // On NFS it is this that sends it.
      closeSync(descriptor);
    }
  } catch (error) {
    // Other trouble (a server that does not answer, a full disk) passes, or somebody takes over.
    return !isMissing(error);
  }
  return true;
}

function removeLease({ directory, key, generation, path, writer }: Made): void {
  try {
    if (readLease(directory, key, generation)?.writer === writer) unlinkSync(path);
  } catch {
    // It stays behind; others find that its owner is gone.
  }
}

function leasePath(directory: string, key: string, generation: number): string {
  return join(directory, `${key}.${generation}`);
}

function isMissing(error: unknown): boolean {
  return ['ENOENT', 'ESTALE'].includes((error as NodeJS.ErrnoException).code ?? '');
}
