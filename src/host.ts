// SPDX-License-Identifier: Apache-2.0
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** Where process ids mean the same: one boot of one kernel, one PID namespace. */
export interface Host {
  /** For people. */
  readonly name: string;
  /** 16 hex digits made of the host's name, its boot id and the PID namespace. */
  readonly key: string;
}

/** Who writes: a process that can be told from a later one with the same number. */
export interface Writer {
  readonly hostKey: string;
  readonly pid: number;
  /** Clock ticks from boot to its start (proc_pid_stat(5), field 22). */
  readonly start: string;
}

/** The host of this process. */
export function identifyHost(): Host {
  const name = hostname();
  const facts = [name, readOr(() => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim())];
  facts.push(readOr(() => readlinkSync('/proc/self/ns/pid')));
  return { name, key: createHash('sha256').update(facts.join('\0')).digest('hex').slice(0, 16) };
}

/** Without /proc nobody is taken for being on the same host. */
function readOr(read: () => string): string {
  try {
    return read();
  } catch {
    return randomBytes(8).toString('hex');
  }
}

/** A new name for this process as a writer: HOST-PID-START-RANDOM, never used before. */
export function nameWriter(host: Host): string {
  const start = readStat(process.pid)?.start ?? '0';
  return `${host.key}-${process.pid}-${start}-${randomBytes(8).toString('hex')}`;
}

/** What nameWriter wrote; undefined for any other text. */
export function parseWriter(text: string): Writer | undefined {
  const match = /^([0-9a-f]{16})-([1-9]\d{0,9})-(\d{1,20})-[0-9a-f]{16}$/.exec(text);
  if (match === null) return undefined;
  return { hostKey: match[1] as string, pid: Number(match[2]), start: match[3] as string };
}

/** Whether a process is certainly gone, so that nothing of it can write any more. Of other hosts nothing is certain. */
export function isGone(writer: Writer, host: Host): boolean {
  if (writer.hostKey !== host.key) return false;
  const stat = readStat(writer.pid);
  // With hidepid (proc(5)) a living process of somebody else cannot be looked at, but signalled.
  if (stat === undefined) return !exists(writer.pid);
  // The first thread may be dead while another one is still in a write(2).
  return stat.start !== writer.start || (/[ZX]/.test(stat.state) && stat.threads <= 1);
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

function readStat(pid: number): { state: string; threads: number; start: string } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // Field 2, the command, may hold anything, but ends at the last parenthesis.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? '', threads: Number(fields[17]), start: fields[19] ?? '' };
  } catch {
    return undefined;
  }
}
