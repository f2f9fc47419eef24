// SPDX-License-Identifier: Apache-2.0
import type { ImportEvent } from '../source/events.ts';
import { cleanMessage } from './clean-text.ts';
import { forgiveLostReader } from './reporter.ts';
import { addEvent, formatOutcome, formatTransfer, type Transfer } from './transfer-lines.ts';

/** Shows what an import does. */
export interface TransferView {
  show(event: ImportEvent): void;
  /** Leaves the terminal as other output expects it; what happens afterwards (downloads that are given up) is not shown. May be called again. */
  end(): void;
  /** With JSON: the result as the last event. */
  finish(result: Readonly<Record<string, unknown>>): void;
}

/** terminal: a line a layer, drawn again and again. plain: a line for each layer that has come. json: every event, a line each, on stdout. */
export type TransferStyle = 'terminal' | 'plain' | 'json' | 'quiet';

const redrawMs = 100;

/** The style for the options of a command: JSON and quiet as asked, else what stderr is. */
export function chooseStyle(options: { json?: boolean; quiet?: boolean }): TransferStyle {
  if (options.json === true) return 'json';
  if (options.quiet === true) return 'quiet';
  return process.stderr.isTTY ? 'terminal' : 'plain';
}

/** A view of that style. verbose: notes are shown too. */
export function createTransferView(style: TransferStyle, options: { verbose?: boolean } = {}): TransferView {
  forgiveLostReader(style === 'json' ? process.stdout : process.stderr);
  if (style === 'json') {
    const write = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
    let show = createEventFilter(write);
    return {
      show: (event) => show(event),
      end: () => {
        show = () => {};
      },
      finish: (result) => write({ event: 'done', ...result }),
    };
  }
  const print = (text: string): void => void process.stderr.write(`bundler: ${cleanMessage(text)}\n`);
  const lines = style === 'terminal' ? createLines() : null;
  let transfers: readonly Transfer[] = [];
  let ended = false;
  return {
    show(event) {
      if (ended) return;
      const nowMs = performance.now();
      const before = transfers;
      transfers = addEvent(transfers, event, nowMs);
      if (style !== 'quiet' && (event.event === 'warning' || (event.event === 'note' && options.verbose === true))) {
        lines?.clear();
        print(event.text);
      }
      if (style === 'plain') showPlain(before, transfers, event, print);
      lines?.draw(transfers, nowMs, event.event === 'layer' && event.state === 'done');
    },
    end: () => {
      ended = true;
      lines?.finish(transfers);
    },
    finish: () => {},
  };
}

/** Progress comes with every chunk; a reader of events wants it a few times a second. */
function createEventFilter(write: (event: ImportEvent) => void): (event: ImportEvent) => void {
  const lastMs = new Map<number, number>();
  return (event) => {
    const key =
      event.event === 'layer' && (event.state === 'downloading' || event.state === 'waiting')
        ? event.index
        : event.event === 'received'
          ? -1
          : null;
    const nowMs = performance.now();
    if (key !== null && nowMs - (lastMs.get(key) ?? Number.NEGATIVE_INFINITY) < 5 * redrawMs) return;
    if (key !== null) lastMs.set(key, nowMs);
    write(event);
  };
}

function showPlain(
  before: readonly Transfer[],
  after: readonly Transfer[],
  event: ImportEvent,
  print: (text: string) => void,
): void {
  if (event.event === 'image')
    print(`importing ${event.reference}${event.manifestDigest === '' ? '' : ` (${event.manifestDigest})`}`);
  if (event.event !== 'layer') return;
  const transfer = after[event.index];
  if (transfer === undefined || transfer.endedMs === null || before[event.index]?.endedMs !== null) return;
  print(`layer ${event.index + 1} of ${after.length}, ${transfer.label}: ${formatOutcome(transfer)}`);
}

interface Lines {
  draw(transfers: readonly Transfer[], nowMs: number, now: boolean): void;
  clear(): void;
  finish(transfers: readonly Transfer[]): void;
}

/** A block of lines at the bottom of the terminal. It never has more lines than the terminal, which could not be drawn again. */
function createLines(): Lines {
  let drawn = 0;
  let drawnMs = 0;
  const clear = (): void => {
    if (drawn > 0) process.stderr.write(`\x1b[${drawn}A\x1b[J`);
    drawn = 0;
  };
  const draw = (transfers: readonly Transfer[], nowMs: number): void => {
    const [columns, rows] = [process.stderr.columns ?? 80, process.stderr.rows ?? 24];
    const lines = chooseLines(transfers, Math.max(2, rows - 2)).map((line) =>
      typeof line === 'string' ? line : formatTransfer(line, nowMs, columns),
    );
    const up = drawn > 0 ? `\x1b[${drawn}A` : '';
    process.stderr.write(`${up}${lines.map((line) => `${line}\x1b[K\n`).join('')}\x1b[J`);
    drawn = lines.length;
    drawnMs = nowMs;
  };
  return {
    draw(transfers, nowMs, now) {
      if (transfers.length > 0 && (now || nowMs - drawnMs >= redrawMs)) draw(transfers, nowMs);
    },
    clear,
    finish(transfers) {
      if (drawn > 0) draw(transfers, performance.now());
      drawn = 0;
    },
  };
}

/** All transfers where they fit, else those at work, with a line that counts the others. */
function chooseLines(transfers: readonly Transfer[], most: number): (Transfer | string)[] {
  if (transfers.length <= most) return [...transfers];
  const active = transfers.filter(({ state }) => state !== 'queued' && state !== 'done').slice(0, most - 1);
  const done = transfers.filter(({ state }) => state === 'done').length;
  return [`${done} of ${transfers.length} layers done`, ...active];
}
