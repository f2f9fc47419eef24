// SPDX-License-Identifier: Apache-2.0
import type { Absent, Row } from './measure.ts';

/** A relation of two rows that the project promises: their ratio, or by how many milliseconds one is more. */
export interface Target {
  readonly what: string;
  readonly row: string;
  readonly against: string;
  readonly atMost: number;
  readonly as?: 'difference in ms';
}

export interface Verdict extends Target {
  /** The ratio, or the difference. */
  readonly ratio: number | null;
  readonly met: boolean | null;
}

export const targets: readonly Target[] = [
  {
    what: 'a start with a GPU against one without, on the same host',
    row: 'bundle, GPU host, --gpus all',
    against: 'bundle, GPU host',
    atMost: 10,
    as: 'difference in ms',
  },
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
  {
    what: 'import of the np image against enroot with the same compressor',
    row: 'bundler import, lz4',
    against: 'enroot import, lz4',
    atMost: 0.7,
  },
  { what: 'import of the np image against enroot', row: 'bundler import', against: 'enroot import', atMost: 0.2 },
  {
    what: 'import of the np image against skopeo + umoci + mksquashfs',
    row: 'bundler import',
    against: 'skopeo + umoci + mksquashfs',
    atMost: 0.35,
  },
  {
    what: 'import of a 1 MB image against enroot',
    row: 'bundler import, 1 MB image',
    against: 'enroot import, 1 MB image',
    atMost: 0.5,
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
    const ratio = target.as === undefined ? mine / theirs : mine - theirs;
    return { ...target, ratio, met: ratio <= target.atMost };
  });
}

/** A table for people: medians, spread, each row's ratio to the reference's, and the memory of its largest process. */
export function formatTable(title: string, rows: readonly (Row | Absent)[], reference: string): string {
  const base = rows.find((row): row is Row => row.name === reference && 'medianMs' in row)?.medianMs;
  if (rows.length === 0) return '';
  const width = Math.max(...rows.map(({ name }) => name.length), title.length);
  const lines = [
    `${title.padEnd(width)}  median ms     min     max   ratio  memory MB${rows.some((row) => 'diskBytes' in row && row.diskBytes > 0) ? '  disk MB' : ''}`,
  ];
  for (const row of rows) {
    if ('absent' in row) {
      lines.push(`${row.name.padEnd(width)}  absent: ${row.absent}`);
      continue;
    }
    const cells = [
      row.medianMs.toFixed(1).padStart(9),
      row.minMs.toFixed(1).padStart(7),
      row.maxMs.toFixed(1).padStart(7),
      (base ? (row.medianMs / base).toFixed(2) : '').padStart(7),
      (row.peakBytes / 1e6).toFixed(0).padStart(10),
      row.diskBytes > 0 ? (row.diskBytes / 1e6).toFixed(0).padStart(8) : '',
    ];
    lines.push(`${row.name.padEnd(width)}  ${cells.join(' ').trimEnd()}`);
  }
  return lines.join('\n');
}

export function formatVerdicts(verdicts: readonly Verdict[]): string {
  return verdicts
    .map(
      ({ what, ratio, atMost, met, as }) =>
        `${ratio === null ? 'not measured' : met ? 'met   ' : 'MISSED'}  ${what}: ${ratio === null ? 'a row is absent' : ratio.toFixed(2)} (${as === undefined ? '' : `${as}, `}at most ${atMost})`,
    )
    .join('\n');
}
