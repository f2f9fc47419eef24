// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { cudaOfDriver } from '../../runtime/gpu/cuda-versions.ts';

describe('the CUDA version of a driver', () => {
  test.each<[driver: string, cuda: string | null]>([
    ['375.26', '8.0'],
    ['390.157', '9.1'],
    ['418.226.00', '10.1'],
    ['430.50', '10.1'],
    ['455.32.00', '11.1'],
    ['470.82.01', '11.4'],
    ['535.129.03', '12.2'],
    ['570.211.01', '12.8'],
    ['580.95.05', '13.0'],
    ['595.71.05', '13.2'],
    ['620.70.06', '13.5'],
    ['624.1', '13.5'],
    ['625.1', null],
    ['700.10', null],
    ['340.108', null],
    ['535', '12.2'],
    ['', null],
    ['N/A', null],
    ['535.x', null],
  ])('%s: %s', (driver, cuda) => {
    expect(cudaOfDriver(driver)).toBe(cuda);
  });

  test('never falls when the driver is newer', () => {
    const known = Array.from({ length: 280 }, (_, at) => cudaOfDriver(`${346 + at}.10`) ?? '').filter(
      (cuda) => cuda !== '',
    );
    expect(known.length).toBeGreaterThan(270);
    for (const [at, cuda] of known.entries()) {
      if (at === 0) continue;
      const [last, next] = [known[at - 1] ?? '', cuda].map((one) => one.split('.').map(Number)) as [number[], number[]];
      expect((next[0] ?? 0) * 100 + (next[1] ?? 0), cuda).toBeGreaterThanOrEqual((last[0] ?? 0) * 100 + (last[1] ?? 0));
    }
  });
});
