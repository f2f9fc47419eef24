// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { exportDockerArchive, exportOciArchive } from '../../src/exporting/export-archive.ts';
import { Failure } from '../../src/failure.ts';
import { more, requestOf } from '../exporting/support.ts';
import { makeTemporary, openImage, optionsIn, summarize } from './support.ts';

let dir = '';
const archives: Record<string, Buffer> = {};
beforeAll(async () => {
  dir = makeTemporary();
  mkdirSync(join(dir, 'temporary'));
  await exportDockerArchive(join(dir, 'docker-archive'), requestOf([more]), false);
  await exportOciArchive(join(dir, 'oci-archive'), requestOf([more]), false);
  for (const form of ['docker-archive', 'oci-archive']) archives[form] = readFileSync(join(dir, form));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** What an import reads of an image; null when it was refused in words. */
async function readImage(text: string, stdin?: Readable) {
  try {
    return await summarize(await openImage(text, optionsIn(join(dir, 'temporary')), stdin));
  } catch (error) {
    if (error instanceof Failure) return null;
    throw error;
  }
}

test.each(['docker-archive', 'oci-archive'])(
  'a damaged %s is refused in words, or nothing that matters was damaged',
  async (form) => {
    const good = archives[form] as Buffer;
    const whole = await readImage(`${form}:${join(dir, form)}`);
    const damage = fc.record({
      at: fc.nat(good.length - 1),
      byte: fc.nat(255),
      cut: fc.option(fc.nat(good.length), { freq: 4 }),
    });
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(damage, async ({ at, byte, cut }) => {
        const bytes = Buffer.from(good.subarray(0, cut ?? good.length));
        if (at < bytes.length) bytes[at] = byte;
        const path = join(dir, 'damaged');
        writeFileSync(path, bytes);
        const found = await readImage(`${form}:${path}`);
        if (found === null) refused++;
        // Names are not guarded by a digest; layers and configuration are.
        else expect({ ...found.config, ...found.diffIds }).toEqual({ ...whole?.config, ...whole?.diffIds });
        await readImage('-', Readable.from([bytes], { objectMode: false }));
      }),
      { numRuns: 300 },
    );
    expect(refused).toBeGreaterThan(50);
  },
);
