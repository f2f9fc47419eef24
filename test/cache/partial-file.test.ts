// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { makeParts } from '../../src/cache/layout.ts';
import { openPartial } from '../../src/cache/partial-file.ts';
import { Failure } from '../../src/failure.ts';
import { identifyHost } from '../../src/host.ts';
import { listFiles, makeBlob, makeScratch } from './rig.ts';

test('once it cannot be written, every call fails and close still ends, whatever waits in memory', async () => {
  const scratch = makeScratch();
  const blob = makeBlob(1 << 20);
  await makeParts(scratch.path, blob.digest);
  const partial = await openPartial(scratch.path, blob, identifyHost());
  // As a full disk does it: an error while the download goes on and has given more already.
  expect(() => partial.append(Buffer.alloc((1 << 20) + 1))).toThrow('more bytes');
  const before = partial.failure;
  expect(before).toBeInstanceOf(Failure);
  expect(() => partial.append(blob.bytes)).toThrow(before as Failure);
  await expect(partial.commit()).rejects.toBe(before);
  await expect(partial.restart()).rejects.toBe(before);
  await partial.close();
  expect(listFiles(scratch.path)).toEqual([]);
  scratch.remove();
});

test('what waits in memory when it fails does not keep close from ending', async () => {
  const scratch = makeScratch();
  const blob = makeBlob(1 << 20);
  await makeParts(scratch.path, blob.digest);
  const partial = await openPartial(scratch.path, blob, identifyHost());
  // Too little to be written at once.
  await partial.append(blob.bytes.subarray(0, 1000));
  expect(() => partial.append(Buffer.alloc(1 << 20))).toThrow('more bytes');
  await partial.close();
  expect(listFiles(scratch.path)).toEqual([]);
  scratch.remove();
});
