// SPDX-License-Identifier: Apache-2.0
import { randomFillSync } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBundle } from '../../src/bundle/open.ts';
import { verifyPayloadOf, verifySections } from '../../src/bundle/verify.ts';
import { writeBundle } from '../../src/bundle/write.ts';
import { buildTree, hashLeaves, leafSizeBytes, sha256 } from '../../src/format/hash-tree.ts';
import { findSection, type SectionTable } from '../../src/format/sections.ts';
import { repository } from '../support/programs.ts';
import { makeElf, sampleManifest } from './support.ts';

const launcher = makeElf(9000);
const runtime = randomFillSync(Buffer.alloc(300_000));
/** More than one piece of the copy, and a short last leaf. */
const payload = randomFillSync(Buffer.alloc(12 * leafSizeBytes + 777));

let dir = '';
beforeAll(() => {
  // Its launcher copies.
  process.env.BUNDLER_SELF = join(repository, 'dist/bundler');
  dir = mkdtempSync(join(tmpdir(), 'bundler-write-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

interface Changes {
  readonly runtimeDigest?: Buffer;
  /** What the image is said to have. */
  readonly claimedBytes?: number;
  readonly targetMode?: string;
  readonly advance?: (bytes: number) => void;
}

async function write(file: string, data: Buffer, changes: Changes = {}): Promise<SectionTable> {
  const [tool, image] = [join(dir, 'tool'), join(dir, 'image')];
  writeFileSync(tool, Buffer.concat([launcher, runtime]));
  writeFileSync(image, data);
  const descriptors = [openSync(tool, 'r'), openSync(image, 'r'), openSync(file, changes.targetMode ?? 'w')] as const;
  try {
    return await writeBundle(
      descriptors[2],
      {
        launcher: {
          source: descriptors[0],
          offset: 0,
          sizeBytes: launcher.length,
          rawSizeBytes: launcher.length,
          digest: sha256(launcher),
        },
        runtime: {
          source: descriptors[0],
          offset: launcher.length,
          sizeBytes: runtime.length,
          rawSizeBytes: 999,
          digest: changes.runtimeDigest ?? sha256(runtime),
        },
        payload: {
          source: descriptors[1],
          sizeBytes: changes.claimedBytes ?? data.length,
          rawSizeBytes: data.length,
        },
        describe: async () => Buffer.from(JSON.stringify(sampleManifest)),
      },
      changes.advance ?? (() => {}),
    );
  } finally {
    for (const descriptor of descriptors) closeSync(descriptor);
  }
}

async function verify(file: string): ReturnType<typeof verifySections> {
  const opened = await openBundle(file);
  if (opened.kind !== 'bundle') throw new Error('not a bundle');
  const verdicts = await verifySections(opened.file.descriptor, opened.table, () => {});
  opened.file.close();
  return verdicts;
}

describe('writing a bundle', () => {
  test.each([0, 1, leafSizeBytes, payload.length])(
    'a payload of %i bytes is in it, byte for byte',
    async (sizeBytes) => {
      const file = join(dir, `size-${sizeBytes}`);
      const data = payload.subarray(0, sizeBytes);
      const table = await write(file, data);
      const bytes = readFileSync(file);
      expect(bytes.length).toBe(table.fileSizeBytes);
      const opened = await openBundle(file);
      opened.file.close();
      expect(opened).toMatchObject({ kind: 'bundle', manifest: sampleManifest, table });
      for (const [name, content] of [
        ['launcher', launcher],
        ['runtime', runtime],
        ['payload', data],
      ] as const) {
        const section = findSection(table, name);
        expect(section && bytes.subarray(section.offset, section.offset + section.sizeBytes).equals(content)).toBe(
          true,
        );
      }
      expect(findSection(table, 'payload')?.digest).toEqual(buildTree(hashLeaves(data), sizeBytes).root);
      expect((await verify(file)).every(({ ok }) => ok)).toBe(true);
    },
  );

  test('many pieces, copied by several threads, arrive in their places', async () => {
    const large = randomFillSync(Buffer.alloc((37 << 20) + 4321));
    const file = join(dir, 'large');
    let advancedBytes = 0;
    const table = await write(file, large, { advance: (bytes) => (advancedBytes += bytes) });
    const section = findSection(table, 'payload');
    expect(section?.digest).toEqual(buildTree(hashLeaves(large), large.length).root);
    expect(
      readFileSync(file)
        .subarray(section?.offset, (section?.offset ?? 0) + large.length)
        .equals(large),
    ).toBe(true);
    expect(advancedBytes).toBeGreaterThan(large.length);
    expect(advancedBytes).toBeLessThanOrEqual(table.fileSizeBytes);
  });

  test('an image that ends early is noticed', async () => {
    const claimedBytes = payload.length + 1;
    await expect(write(join(dir, 'short'), payload, { claimedBytes })).rejects.toThrow('it became shorter');
  });

  test('a write that fails is said', async () => {
    writeFileSync(join(dir, 'shut'), '');
    await expect(write(join(dir, 'shut'), payload, { targetMode: 'r' })).rejects.toThrow('write the target');
  });

  test('a damaged runtime of the tool itself is noticed', async () => {
    await expect(write(join(dir, 'bad'), payload, { runtimeDigest: Buffer.alloc(32) })).rejects.toThrow(
      'runtime section of this bundler is damaged',
    );
  });
});

describe('verifying a bundle', () => {
  test.each(['launcher', 'runtime', 'payload', 'hashtree'])(
    'a flipped bit in %s is found there and nowhere else',
    async (name) => {
      const file = join(dir, `flip-${name}`);
      const section = findSection(await write(file, payload), name);
      const at = (section?.offset ?? 0) + Math.floor((section?.sizeBytes ?? 0) / 2);
      flip(file, at);
      const verdicts = await verify(file);
      expect(verdicts.filter(({ ok }) => !ok).map((verdict) => verdict.name)).toEqual([name]);
    },
  );

  test('the first bad leaf is named by its place in the file', async () => {
    const file = join(dir, 'leaves');
    const table = await write(file, payload);
    const offset = findSection(table, 'payload')?.offset ?? 0;
    for (const leaf of [3, 7, 12]) flip(file, offset + leaf * leafSizeBytes + 5);
    const verdict = (await verify(file)).find(({ name }) => name === 'payload');
    expect(verdict).toMatchObject({ ok: false, badLeaves: 3, firstBadOffset: offset + 3 * leafSizeBytes });
    expect(verdict?.problem).toContain('3 of 13 leaves');
  });

  test('with a damaged hash tree a good payload is still known to be good, and a bad one to be bad', async () => {
    const file = join(dir, 'tree');
    const table = await write(file, payload);
    flip(file, findSection(table, 'hashtree')?.offset ?? 0);
    const descriptor = openSync(file, 'r');
    expect(await verifyPayloadOf(descriptor, table, () => {})).toMatchObject({ ok: true });
    flip(file, findSection(table, 'payload')?.offset ?? 0);
    expect(await verifyPayloadOf(descriptor, table, () => {})).toMatchObject({ ok: false });
    closeSync(descriptor);
  });
});

function flip(file: string, at: number): void {
  const bytes = readFileSync(file);
  bytes[at] = (bytes[at] as number) ^ 0x10;
  writeFileSync(file, bytes);
}
