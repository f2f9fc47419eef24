// SPDX-License-Identifier: Apache-2.0
import type { Absent, Row } from './measure.ts';

/** A ratio of two rows that the project promises. */
export interface Target {
  readonly what: string;
  readonly row: string;
  readonly against: string;
  readonly atMost: number;
}

export interface Verdict extends Target {
  readonly ratio: number | null;
  readonly met: boolean | null;
}

export const targets: readonly Target[] = [
  { what: 'later starts against node -e 0', row: 'bundle', against: 'node -e 0', atMost: 1.8 },
  { what: 'np image against a 1 MiB image', row: 'bundle', against: 'bundle, 1 MiB image', atMost: 1.2 },
  { what: 'first start ever against node -e 0', row: 'bundle, first start ever', against: 'node -e 0', atMost: 15 },
  {
    what: 'make against cp + openssl dgst (disk)',
    row: 'bundler make, disk',
    against: 'cp + openssl dgst, disk',
    atMost: 1.5,
  },
  {
    what: 'make against cp + openssl dgst (tmpfs)',
    row: 'bundler make, tmpfs',
    against: 'cp + openssl dgst, tmpfs',
    atMost: 1.5,
  },
];

export function judge(rows: readonly (Row | Absent)[]): Verdict[] {
  const find = (name: string): number | undefined => {
    const row = rows.find((each) => each.name === name);
    return row && 'medianMs' in row ? row.medianMs : undefined;
  };
  return targets.map((target) => {
    const [mine, theirs] = [find(target.row), find(target.against)];
    if (mine === undefined || theirs === undefined) return { ...target, ratio: null, met: null };
    const ratio = mine / theirs;
    return { ...target, ratio, met: ratio <= target.atMost };
  });
}

/** A table for people: medians, spread, and each row's ratio to the bundle's. */
export function formatTable(title: string, rows: readonly (Row | Absent)[], reference: string): string {
  const base = rows.find((row): row is Row => row.name === reference && 'medianMs' in row)?.medianMs;
  const width = Math.max(...rows.map(({ name }) => name.length), title.length);
  const lines = [`${title.padEnd(width)}  median ms     min     max   ratio`];
  for (const row of rows) {
    if ('absent' in row) {
      lines.push(`${row.name.padEnd(width)}  absent: ${row.absent}`);
      continue;
    }
    const cells = [
      row.medianMs.toFixed(1).padStart(9),
      row.minMs.toFixed(1).padStart(7),
      row.maxMs.toFixed(1).padStart(7),
    ];
    lines.push(
      `${row.name.padEnd(width)}  ${cells.join(' ')} ${(base ? (row.medianMs / base).toFixed(2) : '').padStart(7)}`,
    );
  }
  return lines.join('\n');
}

export function formatVerdicts(verdicts: readonly Verdict[]): string {
  return verdicts
    .map(
      ({ what, ratio, atMost, met }) =>
        `${ratio === null ? 'not measured' : met ? 'met   ' : 'MISSED'}  ${what}: ${ratio === null ? 'a row is absent' : ratio.toFixed(2)} (at most ${atMost})`,
    )
    .join('\n');
}
