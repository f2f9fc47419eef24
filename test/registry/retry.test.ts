// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { RegistryFailure } from '../../src/registry/errors.ts';
import { isTransient, retry } from '../../src/registry/retry.ts';

const facts = {
  what: 'blob',
  registry: 'r.example',
  repository: 'a',
  method: 'GET',
  url: new URL('https://r.example/v2/a'),
  scope: '',
  identity: 'anonymous',
};
const failure = (retryAfterMs: number | null = null, more = {}) =>
  new RegistryFailure(facts, 'no', { retryable: true, retryAfterMs, ...more });

/** What retry does, with the pauses that it made (the clock runs ahead of itself). */
async function run(retries: number, attempt: (count: number, progress: () => void) => unknown) {
  const log: string[] = [];
  const pausesMs: number[] = [];
  let count = 0;
  let lastMs = Date.now();
  const options = {
    retries,
    retryDelayMs: 1000,
    log: (text: string) => log.push(text),
    signal: new AbortController().signal,
  };
  const done = retry(options, async (progress) => {
    if (count > 0) pausesMs.push(Date.now() - lastMs);
    lastMs = Date.now();
    return attempt(++count, progress);
  }).then(
    (value) => ({ value, error: undefined }),
    (error: unknown) => ({ value: undefined, error }),
  );
  await vi.runAllTimersAsync();
  return { ...(await done), count, pausesMs, log };
}

const fail = (error: Error) => {
  throw error;
};

describe('another try', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('comes after pauses that double, shortened by chance, to half a minute', async () => {
    const { count, pausesMs } = await run(8, () => fail(failure()));
    expect(count).toBe(9);
    for (const [index, pauseMs] of pausesMs.entries()) {
      const fullMs = Math.min(30_000, 1000 * 2 ** index);
      expect(pauseMs).toBeGreaterThanOrEqual(fullMs / 2);
      expect(pauseMs).toBeLessThanOrEqual(fullMs + 1);
    }
  });

  test('comes when the server asks for it, and after five minutes if it asks for more, which is told', async () => {
    const { pausesMs, log } = await run(2, (count) => fail(failure(count === 1 ? 90_000 : 7_200_000)));
    expect(pausesMs).toEqual([90_000, 300_000]);
    expect(log[0]).toMatch(/; trying again in 90 s, as the server asks \(1 of 2\)$/);
    expect(log[1]).toMatch(/; trying again in 300 s, as the server asks \(for 7200 s\) \(2 of 2\)$/);
  });

  test('does not come for what no try can cure', async () => {
    expect((await run(5, () => fail(failure(null, { retryable: false })))).count).toBe(1);
    expect((await run(5, () => fail(new Error('disk')))).count).toBe(1);
    expect((await run(0, () => fail(failure()))).count).toBe(1);
  });

  test('is counted anew after progress, but not when time for the transfer was up', async () => {
    const steps = await run(1, (count, progress) => {
      if (count < 6) progress();
      return fail(failure());
    });
    expect(steps.count).toBe(6);
    const slow = await run(1, (_, progress) => {
      progress();
      return fail(failure(null, { code: 'TRANSFER_TIMEOUT' }));
    });
    expect(slow.count).toBe(2);
  });

  test('ends the matter when it works', async () => {
    expect(await run(3, (count) => (count < 3 ? fail(failure()) : 'done'))).toMatchObject({ value: 'done', count: 3 });
  });
});

test('statuses that pass are those of load and trouble', () => {
  const statuses = [200, 400, 401, 403, 404, 408, 416, 425, 429, 500, 501, 502, 503, 504, 505, 507];
  expect(statuses.filter(isTransient)).toEqual([408, 425, 429, 500, 502, 503, 504, 507]);
});
