// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import path from 'node:path';

export interface Subject {
  readonly name: string;
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Runs before each measurement and is not part of it. */
  readonly before?: () => void;
  /** Another user than the setting's. */
  readonly uid?: number;
  /** Needs real root; else it runs as the ordinary user. */
  readonly asRoot?: boolean;
  /** On a file system of its own: how much of it is used at the peak is measured too. */
  readonly diskAt?: string;
  /** A program that makes a host for it, and starts the rest of its arguments there: its own time is not part of the measurement. */
  readonly inside?: readonly string[];
  readonly tearDown?: () => void;
}

export interface Absent {
  readonly name: string;
  readonly absent: string;
}

export interface Row {
  readonly name: string;
  readonly medianMs: number;
  readonly minMs: number;
  readonly maxMs: number;
  readonly samplesMs: readonly number[];
  /** The largest memory that one of its processes had, in any round. */
  readonly peakBytes: number;
  /** How much more of its file system was in use at the peak; 0 where it was not measured. */
  readonly diskBytes: number;
}

export interface Sample {
  readonly ms: number;
  readonly peakBytes: number;
  readonly diskBytes: number;
}

export interface Setting {
  /** A directory that everybody may enter; gone after the run. */
  readonly work: string;
  readonly image: string;
  readonly imageName: string;
  /** The image unpacked. */
  readonly root: string;
  readonly bundler: string;
  readonly uid: number;
  readonly home: string;
}

let timer = '';

function timeRun(repository: string): string {
  if (timer) return timer;
  const source = path.join(repository, 'bench/time-run.c');
  const program = path.join(repository, 'build/bench/time-run');
  if (!existsSync(program) || statSync(program).mtimeMs < statSync(source).mtimeMs) {
    mkdirSync(path.dirname(program), { recursive: true });
    execFileSync('gcc', [
      '-std=gnu17',
      '-D_GNU_SOURCE',
      '-O2',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-static',
      '-o',
      program,
      source,
    ]);
  }
  timer = program;
  return program;
}

/** One measurement; fails when the subject does. */
export function measureOnce(repository: string, subject: Subject, setting: Setting): Sample {
  subject.before?.();
  const isRoot = process.getuid?.() === 0;
  const uid = isRoot && !subject.asRoot ? (subject.uid ?? setting.uid) : -1;
  const env = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: setting.home,
    USER: 'bench',
    TERM: 'dumb',
    ...subject.env,
  };
  const timed = [timeRun(repository), String(uid), subject.diskAt ?? '', ...subject.argv];
  const [program = '', ...args] = [...(subject.inside ?? []), ...timed];
  const ran = spawnSync(program, args, {
    env,
    cwd: setting.work,
    encoding: 'utf8',
    timeout: 120_000,
  });
  if (ran.status !== 0)
    throw new Error(
      `${subject.name}: status ${ran.status ?? ran.signal}: ${ran.stderr.trim().split('\n').slice(-3).join(' / ')}`,
    );
  const [nanoseconds = Number.NaN, peakKiB = Number.NaN, diskBytes = 0] = ran.stdout.split(' ').map(Number);
  return { ms: nanoseconds / 1e6, peakBytes: peakKiB * 1024, diskBytes };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

/** Measures all subjects in rounds (A B C, A B C ..), so that a slow moment of the machine hits all alike. One round before warms up. */
export function measureRounds(
  repository: string,
  subjects: readonly Subject[],
  rounds: number,
  setting: Setting,
  progress: (text: string) => void,
): (Row | Absent)[] {
  const samples = new Map<string, Sample[]>();
  const failed = new Map<string, string>();
  for (let round = -1; round < rounds; round++) {
    progress(round < 0 ? 'warming up' : `round ${round + 1} of ${rounds}`);
    for (const subject of subjects) {
      if (failed.has(subject.name)) continue;
      try {
        const sample = measureOnce(repository, subject, setting);
        if (round >= 0) samples.set(subject.name, [...(samples.get(subject.name) ?? []), sample]);
      } catch (error) {
        failed.set(subject.name, (error instanceof Error ? error.message : String(error)).split('\n', 1)[0] ?? '');
      }
    }
  }
  return subjects.map(({ name }) => {
    const problem = failed.get(name);
    if (problem !== undefined) return { name, absent: problem };
    const list = samples.get(name) ?? [];
    const samplesMs = list.map(({ ms }) => ms);
    return {
      name,
      medianMs: median(samplesMs),
      minMs: Math.min(...samplesMs),
      maxMs: Math.max(...samplesMs),
      samplesMs,
      peakBytes: Math.max(...list.map(({ peakBytes }) => peakBytes)),
      diskBytes: Math.max(...list.map(({ diskBytes }) => diskBytes)),
    };
  });
}
