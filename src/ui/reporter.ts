// SPDX-License-Identifier: Apache-2.0
import { Failure, ShownFailure, UsageFailure } from '../failure.ts';
import { FormatError } from '../format/format-error.ts';
import { cleanMessage, cleanText } from './clean-text.ts';
import { formatSize } from './format-size.ts';

/** The only printer: results on stdout, everything else on stderr. */
export interface Reporter {
  /** Text on stdout; a line end is added where it is missing. */
  result(text: string): void;
  /** A value as JSON on stdout. */
  json(value: unknown): void;
  warn(text: string): void;
  /** Tells of an error: expected trouble with its hint, anything else as the bug that it is. */
  error(error: unknown): void;
  /** A progress line, when stderr is a terminal and nobody asked for quiet. */
  progress(label: string, totalBytes: number): Progress;
  /** A progress that shows nothing. */
  silence(): Progress;
}

export interface Progress {
  advance(bytes: number): void;
  /** Takes the line away. */
  end(): void;
}

const redrawMs = 100;
const silent: Progress = { advance: () => {}, end: () => {} };

/** The reporter of this process. quiet: no progress and no results other than JSON. */
export function createReporter(options: { quiet?: boolean } = {}): Reporter {
  const quiet = options.quiet === true;
  return {
    result: (text) => {
      if (!quiet) print(process.stdout, process.stdout.isTTY ? cleanText(text) : text);
    },
    json: (value) => print(process.stdout, JSON.stringify(value, null, 2)),
    warn: (text) => print(process.stderr, `bundler: ${cleanMessage(text)}`),
    error: (error) => {
      if (!(error instanceof ShownFailure)) print(process.stderr, describe(error));
    },
    silence: () => silent,
    progress: (label, totalBytes) => (quiet || !process.stderr.isTTY ? silent : startProgress(label, totalBytes)),
  };
}

/** A reader that went away (`bundler inspect x.run | head -1`) is no error of ours. To be called before a stream is written to. */
export function forgiveLostReader(stream: NodeJS.WriteStream): void {
  if (stream.listenerCount('error') === 0) stream.on('error', () => {});
}

function print(stream: NodeJS.WriteStream, text: string): void {
  forgiveLostReader(stream);
  stream.write(text.endsWith('\n') ? text : `${text}\n`);
}

/** An error as text for stderr: "bundler: MESSAGE", then "  try: HINT" or the usage. */
function describe(error: unknown): string {
  if (error instanceof UsageFailure) return `bundler: ${cleanMessage(error.message)}\nusage: ${error.usage}`;
  if (error instanceof Failure || error instanceof FormatError) {
    const hint = error.hint === '' ? '' : `\n  try: ${cleanMessage(error.hint)}`;
    return `bundler: ${cleanMessage(error.message)}${hint}`;
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `bundler: this is a bug, please report it with the command line and these lines:\n${cleanText(stack)}`;
}

function startProgress(label: string, totalBytes: number): Progress {
  const startedMs = performance.now();
  let doneBytes = 0;
  let drawnMs = startedMs;
  let drawn = false;
  return {
    advance(bytes) {
      doneBytes += bytes;
      const nowMs = performance.now();
      if (nowMs - drawnMs < redrawMs) return;
      drawnMs = nowMs;
      drawn = true;
      const rate = doneBytes / ((nowMs - startedMs) / 1000);
      const percent = totalBytes === 0 ? 100 : Math.min(100, Math.floor((doneBytes * 100) / totalBytes));
      const line = `${label} ${percent}% ${formatSize(doneBytes)} of ${formatSize(totalBytes)}, ${formatSize(rate)}/s`;
      process.stderr.write(`\r${line.slice(0, (process.stderr.columns ?? 80) - 1)}\x1b[K`);
    },
    end() {
      if (drawn) process.stderr.write('\r\x1b[K');
    },
  };
}
