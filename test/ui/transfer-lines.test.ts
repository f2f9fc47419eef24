// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import type { ImportEvent } from '../../src/source/events.ts';
import { addEvent, formatOutcome, formatTransfer, type Transfer } from '../../src/ui/transfer-lines.ts';

/** What is shown after events, a second between each two. */
function showAfter(...events: ImportEvent[]): { transfers: readonly Transfer[]; lines: string[] } {
  let transfers: readonly Transfer[] = [];
  for (const [second, event] of events.entries()) transfers = addEvent(transfers, event, second * 1000);
  return { transfers, lines: transfers.map((transfer) => formatTransfer(transfer, (events.length - 1) * 1000, 100)) };
}

const digest = `sha256:${'ab'.repeat(32)}`;
const image = (sizeBytes: number | null): ImportEvent => ({
  event: 'image',
  reference: 'oci:x',
  manifestDigest: '',
  layers: [{ digest, sizeBytes }],
});
const layer = (
  state: 'downloading' | 'downloaded' | 'cached' | 'reading' | 'done' | 'waiting',
  presentBytes: number | null,
): ImportEvent => ({
  event: 'layer',
  index: 0,
  state,
  presentBytes,
});

describe('the line of a layer', () => {
  test('tells bytes, speed and the time left of a download, counted from where it began', () => {
    const { lines } = showAfter(image(10e6), layer('downloading', 2e6), layer('downloading', 4e6));
    expect(lines).toEqual(['abababababab  downloading   40%  4.00 MB of 10.0 MB  2.00 MB/s  3 s left']);
  });

  test('stays that of the download while the layer is read', () => {
    const { lines } = showAfter(
      image(10e6),
      layer('downloading', 1e6),
      layer('reading', null),
      layer('downloading', 5e6),
    );
    expect(lines[0]).toContain('downloading   50%');
  });

  test('tells what happens to it otherwise', () => {
    expect(showAfter(image(10e6)).lines).toEqual(['abababababab  waiting  10.0 MB']);
    expect(showAfter(image(10e6), layer('cached', 10e6)).lines).toEqual(['abababababab  in the cache  10.0 MB']);
    expect(showAfter(image(10e6), layer('cached', 10e6), layer('reading', null)).lines).toEqual([
      'abababababab  unpacking  10.0 MB',
    ]);
    expect(showAfter(image(10e6), layer('waiting', 3e6)).lines[0]).toContain('another process downloads it   30%');
    expect(showAfter(image(10e6), layer('done', null)).lines).toEqual(['abababababab  done  10.0 MB']);
  });

  test('is no longer than the terminal is wide', () => {
    const { transfers } = showAfter(image(10e6), layer('downloading', 2e6), layer('downloading', 4e6));
    expect(formatTransfer(transfers[0] as Transfer, 2000, 40).length).toBe(39);
  });
});

test('a finished download is told with its time and speed, and with what an earlier try had', () => {
  const outcome = (...events: ImportEvent[]): string =>
    formatOutcome(showAfter(image(10e6), ...events).transfers[0] as Transfer);
  expect(outcome(layer('downloading', 0), layer('downloaded', 10e6))).toBe('10.0 MB downloaded in 1.0 s (10.0 MB/s)');
  expect(outcome(layer('downloading', 8e6), layer('downloaded', 10e6))).toBe(
    '10.0 MB downloaded in 1.0 s (2.00 MB/s, 8.00 MB of it from an earlier try)',
  );
  expect(outcome(layer('cached', 10e6))).toBe('10.0 MB in the cache');
});

test('an archive that comes, a layer that is compressed and one that is sent have a line of their own, and each its own speed', () => {
  expect(showAfter({ event: 'received', bytes: 0 }, { event: 'received', bytes: 3e6 }).lines).toEqual([
    'archive       receiving  3.00 MB  3.00 MB/s',
  ]);
  const compressed: ImportEvent[] = [
    { event: 'compressed', bytes: 0 },
    { event: 'compressed', bytes: 9e6 },
  ];
  expect(showAfter(...compressed).lines).toEqual(['layer         compressing  9.00 MB  9.00 MB/s']);
  const sent = showAfter(
    ...compressed,
    { event: 'sent', bytes: 0, sizeBytes: 4e6 },
    { event: 'sent', bytes: 1e6, sizeBytes: 4e6 },
  );
  expect(sent.lines).toEqual(['layer         sending   25%  1.00 MB of 4.00 MB  1.00 MB/s  3 s left']);
});

test('the time left is told as people do', () => {
  const left = (sizeBytes: number): string =>
    /(\S+( s)?) left$/.exec(
      showAfter(image(sizeBytes), layer('downloading', 0), layer('downloading', 1e6)).lines[0] ?? '',
    )?.[1] ?? '';
  expect([1e6, 8.2e6, 60e6, 61e6, 126e6, 3726e6].map(left)).toEqual(['0 s', '8 s', '59 s', '1:00', '2:05', '1:02:05']);
});
