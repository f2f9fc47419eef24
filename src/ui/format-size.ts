// SPDX-License-Identifier: Apache-2.0

const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];

/** A size for people, in powers of 1000 with three digits: "105 MB", "1.23 GB", "12 bytes". */
export function formatSize(sizeBytes: number): string {
  let value = sizeBytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[unit]}`;
}
