// SPDX-License-Identifier: Apache-2.0
import { readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { run } from '../support/run.ts';
import { freshUser, makeDir, ordinaryUser } from '../support/session.ts';
import { assemble, launcher, sectionOf, writeBundle } from './rig.ts';

const whole = assemble({ payload: Buffer.alloc(70_001, 7) });
const launcherEnd = sectionOf(whole.table, 'launcher').sizeBytes;
const { tableOffset } = whole.table;
const file = writeBundle(whole.bytes);
const cache = makeDir(ordinaryUser(), 'cache');

/** Runs the bundle with changed bytes; the fake planner would print its facts if it were started. */
async function refuse(change: (bytes: Buffer) => Buffer): Promise<string> {
  writeFileSync(file, change(Buffer.from(whole.bytes)));
  const ran = await run([file, 'facts'], { env: { BUNDLER_CACHE_DIR: cache } });
  expect(ran).toMatchObject({ status: 125, stdout: '' });
  expect(ran.stderr).toMatch(/^bundler: .*x\.run: /);
  return ran.stderr;
}

function flip(at: number, bit = 0): (bytes: Buffer) => Buffer {
  return (bytes) => {
    bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
    return bytes;
  };
}

describe('a damaged bundle is refused before anything runs', () => {
  test('the undamaged one runs', async () => {
    writeFileSync(file, whole.bytes);
    expect(await run([file, 'text', '7'], { env: { BUNDLER_CACHE_DIR: cache } })).toMatchObject({
      status: 7,
      stdout: 'out\n',
      stderr: 'err\n',
    });
  });

  test('cut anywhere after the launcher, it says how much is missing', async () => {
    const total = whole.bytes.length;
    const cuts = [
      launcherEnd + 1,
      tableOffset,
      tableOffset + 1,
      tableOffset + 4095,
      tableOffset + 4096,
      total - 70_000,
      total - 1,
    ];
    for (let i = 1; i < 20; i++) cuts.push(tableOffset + 4096 + Math.floor(((total - tableOffset - 4096) * i) / 20));
    for (const cut of cuts)
      expect(await refuse((bytes) => bytes.subarray(0, cut))).toMatch(/truncated: .* expected, .* present/);
  });

  test('cut right after the launcher, it has no sections', async () => {
    expect(await refuse((bytes) => bytes.subarray(0, launcherEnd))).toContain('a launcher without sections');
  });

  test('megabytes are named when megabytes are missing', async () => {
    const big = assemble({ payload: Buffer.alloc(12_000_000, 1) });
    const cut = writeBundle(big.bytes);
    truncateSync(cut, big.bytes.length - 10_000_000);
    const megabytes = Math.round(big.bytes.length / 1e6);
    const ran = await run([cut], { env: { BUNDLER_CACHE_DIR: cache } });
    expect(ran.stderr).toContain(
      `truncated: ${megabytes} MB expected, ${Math.floor(big.bytes.length / 1e6) - 10} MB present`,
    );
  });

  test('one byte appended is named', async () => {
    expect(await refuse((bytes) => Buffer.concat([bytes, Buffer.from('x')]))).toContain('something was appended');
  });

  test('any bit of the table page', async () => {
    const positions = new Set([0, 7, 8, 12, 16, 24, 31, 32, 48, 56, 64, 71, 104, 176, 4000, 4063, 4064, 4095]);
    for (let i = 0; i < 40; i++) positions.add(Math.floor(i * 101.7));
    for (const at of positions) await refuse(flip(tableOffset + at, at % 8));
  });

  test('any bit of the padding', async () => {
    const runtime = sectionOf(whole.table, 'runtime');
    const payload = sectionOf(whole.table, 'payload');
    const manifest = sectionOf(whole.table, 'manifest');
    const gaps = [
      [launcherEnd, tableOffset],
      [runtime.offset + runtime.sizeBytes, payload.offset],
      [payload.offset + payload.sizeBytes, manifest.offset],
    ] as const;
    for (const [from, to] of gaps)
      for (const at of from === to ? [] : [from, (from + to) >> 1, to - 1])
        expect(await refuse(flip(at, at % 8))).toContain('padding after section');
  });

  test('any bit of the manifest', async () => {
    const { offset, sizeBytes } = sectionOf(whole.table, 'manifest');
    for (let at = offset; at < offset + sizeBytes; at++)
      expect(await refuse(flip(at, at % 8))).toContain('the manifest is damaged');
  });

  test('a bit of the runtime, when it is unpacked; and nothing stays in the cache', async () => {
    const { offset, sizeBytes } = sectionOf(whole.table, 'runtime');
    for (const at of [offset, offset + (sizeBytes >> 1), offset + sizeBytes - 1]) {
      const user = freshUser();
      const damaged = writeBundle(flip(at, 3)(Buffer.from(whole.bytes)));
      const ran = await run([damaged, 'facts'], { user });
      expect(ran).toMatchObject({ status: 125, stdout: '' });
      expect(ran.stderr).toContain('section runtime is damaged');
      expect(readdirSync(user.home)).toEqual([]);
    }
  });

  test('a launcher without sections says so', async () => {
    const ran = await run([writeBundle(Buffer.from(whole.bytes.subarray(0, launcherEnd)))]);
    expect(ran.stderr).toContain('a launcher without sections');
    expect(ran.status).toBe(125);
    expect(launcher).not.toBe('');
  });
});
