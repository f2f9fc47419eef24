// SPDX-License-Identifier: Apache-2.0
import type { ImportEvent, LayerState } from '../source/events.ts';
import { formatSize } from './format-size.ts';

type StreamState = 'receiving' | 'compressing' | 'sending';

/** What is known of one layer, or of what comes or goes as one stream. */
export interface Transfer {
  /** The digest shortened, as docker shows it. */
  readonly label: string;
  readonly sizeBytes: number | null;
  readonly state: LayerState | 'queued' | StreamState;
  readonly presentBytes: number;
  /** When bytes began to come, and how many were there then: what the speed is counted from. */
  readonly startedMs: number | null;
  readonly startBytes: number;
  readonly endedMs: number | null;
}

/** The transfers after one more event. Pure. */
export function addEvent(transfers: readonly Transfer[], event: ImportEvent, nowMs: number): readonly Transfer[] {
  if (event.event === 'image') {
    return event.layers.map(({ digest, sizeBytes }) => makeTransfer(digest, sizeBytes));
  }
  if (event.event === 'received')
    return [advanceStream(transfers[0], 'receiving', event.bytes, null, nowMs), ...transfers.slice(1)];
  if (event.event === 'compressed') return [advanceStream(transfers[0], 'compressing', event.bytes, null, nowMs)];
  if (event.event === 'sent') return [advanceStream(transfers[0], 'sending', event.bytes, event.sizeBytes, nowMs)];
  if (event.event !== 'layer') return transfers;
  return transfers.map((transfer, index) => (index === event.index ? advance(transfer, event, nowMs) : transfer));
}

function makeTransfer(digest: string, sizeBytes: number | null): Transfer {
  const label = digest === '' ? 'archive' : digest.replace(/^sha\d+:/, '').slice(0, 12);
  return { label, sizeBytes, state: 'queued', presentBytes: 0, startedMs: null, startBytes: 0, endedMs: null };
}

/** Another state is another stream, whose speed is its own. */
function advanceStream(
  before: Transfer | undefined,
  state: StreamState,
  presentBytes: number,
  sizeBytes: number | null,
  nowMs: number,
): Transfer {
  if (before?.state === state) return { ...before, presentBytes };
  const label = state === 'receiving' ? 'archive' : 'layer';
  return { ...makeTransfer('', sizeBytes), label, state, presentBytes, startedMs: nowMs };
}

function advance(transfer: Transfer, event: ImportEvent & { event: 'layer' }, nowMs: number): Transfer {
  const presentBytes = event.presentBytes ?? transfer.presentBytes;
  // Reading a layer goes on while it is downloaded; the download is what takes long.
  const state = event.state === 'reading' && transfer.state === 'downloading' ? transfer.state : event.state;
  const begins = state === 'downloading' && transfer.startedMs === null;
  const ends = event.state === 'downloaded' || event.state === 'cached';
  return {
    ...transfer,
    state,
    presentBytes,
    ...(begins ? { startedMs: nowMs, startBytes: presentBytes } : {}),
    ...(ends ? { endedMs: nowMs } : {}),
  };
}

const words: Record<Transfer['state'], string> = {
  queued: 'waiting',
  waiting: 'another process downloads it',
  downloading: 'downloading',
  downloaded: 'downloaded',
  cached: 'in the cache',
  reading: 'unpacking',
  done: 'done',
  receiving: 'receiving',
  compressing: 'compressing',
  sending: 'sending',
};

function showsBytes(state: Transfer['state']): boolean {
  return state === 'downloading' || state === 'receiving' || state === 'compressing' || state === 'sending';
}

/** One transfer as a line of a terminal, at most `columns` wide. */
export function formatTransfer(transfer: Transfer, nowMs: number, columns: number): string {
  const { label, sizeBytes, presentBytes, state } = transfer;
  const cells = [label.padEnd(12)];
  if (showsBytes(state) || (state === 'waiting' && presentBytes > 0)) {
    const rate = rateOf(transfer, nowMs);
    if (sizeBytes === null) cells.push(words[state], formatSize(presentBytes));
    else {
      const percent = sizeBytes === 0 ? 100 : Math.floor((presentBytes * 100) / sizeBytes);
      cells.push(
        words[state],
        `${String(percent).padStart(3)}%`,
        `${formatSize(presentBytes)} of ${formatSize(sizeBytes)}`,
      );
    }
    if (rate > 0) cells.push(`${formatSize(rate)}/s`);
    if (rate > 0 && sizeBytes !== null) cells.push(`${formatDuration((sizeBytes - presentBytes) / rate)} left`);
  } else {
    cells.push(words[state], sizeBytes === null ? '' : formatSize(sizeBytes));
  }
  return cells
    .filter((cell) => cell !== '')
    .join('  ')
    .slice(0, Math.max(20, columns - 1));
}

/** What a finished download says in a log: `44.3 MB in 1.2 s (36.9 MB/s)`, or that nothing was downloaded. */
export function formatOutcome(transfer: Transfer): string {
  const { sizeBytes, presentBytes, startedMs, startBytes, endedMs, state } = transfer;
  const size = formatSize(sizeBytes ?? presentBytes);
  if (startedMs === null || endedMs === null) return `${size} ${state === 'cached' ? words.cached : words.downloaded}`;
  const seconds = Math.max(0.001, (endedMs - startedMs) / 1000);
  const resumed = startBytes > 0 ? `, ${formatSize(startBytes)} of it from an earlier try` : '';
  return `${size} downloaded in ${seconds.toFixed(1)} s (${formatSize((presentBytes - startBytes) / seconds)}/s${resumed})`;
}

/** Bytes a second since the transfer began; 0 while that says nothing yet. */
function rateOf({ startedMs, startBytes, presentBytes }: Transfer, nowMs: number): number {
  return startedMs === null || nowMs - startedMs < 200 ? 0 : ((presentBytes - startBytes) * 1000) / (nowMs - startedMs);
}

/** `8 s`, `2:05`, `1:02:05`. */
function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < 60) return `${whole} s`;
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const tail = `${String(whole % 60).padStart(2, '0')}`;
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${tail}` : `${minutes}:${tail}`;
}
