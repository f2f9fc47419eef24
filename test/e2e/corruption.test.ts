// SPDX-License-Identifier: Apache-2.0
import { closeSync, copyFileSync, openSync, readSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { bundler, findSection, makeBundle, readTable } from '../support/bundle.ts';
import { e2e, hasFeatures } from '../support/features.ts';
import { type Ran, run } from '../support/run.ts';
import { freshUser, makeDir, ordinaryUser } from '../support/session.ts';

let original = '';
let copy = '';

beforeAll(() => {
  if (!hasFeatures('bundler', 'root', 'mksquashfs')) return;
  original = makeBundle('busybox');
  copy = path.join(makeDir(ordinaryUser(), 'corrupt'), 'x.run');
  copyFileSync(original, copy);
});

function readByte(at: number): number {
  const fd = openSync(original, 'r');
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, at);
  closeSync(fd);
  return byte[0] ?? 0;
}

/** A file server that is about to end may still execute the file: then it cannot be written yet. */
async function openForWriting(): Promise<number> {
  for (const end = Date.now() + 10_000; ; ) {
    try {
      return openSync(copy, 'r+');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ETXTBSY' || Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}

async function writeByte(at: number, value: number): Promise<void> {
  const fd = await openForWriting();
  writeSync(fd, Buffer.from([value]), 0, 1, at);
  closeSync(fd);
}

/** Runs with one bit flipped, and puts it back. */
async function withFlippedBit<T>(at: number, bit: number, act: () => Promise<T>): Promise<T> {
  await writeByte(at, readByte(at) ^ (1 << bit));
  try {
    return await act();
  } finally {
    await writeByte(at, readByte(at));
  }
}

function expectRefused(ran: Ran, what: RegExp): void {
  expect(ran.stdout).toBe('');
  expect(ran.stderr).toMatch(/^bundler: /);
  expect(ran.stderr).toMatch(what);
  expect(ran.status).toBe(125);
}

const start = (): Promise<Ran> => run([copy, 'echo', 'it ran']);
const verify = (): Promise<Ran> => run([bundler, 'verify', copy]);

describe('a bundle is refused before anything runs', () => {
  e2e('unharmed, it runs and verifies (so that the rest means something)', async () => {
    expect(await start()).toMatchObject({ status: 0, stdout: 'it ran\n' });
    expect((await verify()).status).toBe(0);
  });

  e2e('truncated anywhere after the launcher, with both sizes named', async () => {
    const { tableOffset, totalSize, sections } = readTable(original);
    const ends = sections.flatMap(({ offset, size }) => [offset, offset + 1, offset + size - 1]);
    const cuts = [...ends, tableOffset + 4096, tableOffset + 4097, totalSize - 1, Math.floor(totalSize / 2)].filter(
      (cut) => cut >= tableOffset + 4096 && cut < totalSize,
    );
    for (const cut of new Set(cuts)) {
      closeSync(await openForWriting());
      truncateSync(copy, cut);
      const ran = await start();
      expectRefused(ran, /truncated|incomplete|cut short/);
      expect(ran.stderr, `cut at ${cut}`).toMatch(/expected.*present/);
    }
    copyFileSync(original, copy);
  });

  e2e('truncated within the table or just before it', async () => {
    const { tableOffset } = readTable(original);
    for (const cut of [tableOffset, tableOffset + 1, tableOffset + 100, tableOffset + 4095]) {
      closeSync(await openForWriting());
      truncateSync(copy, cut);
      expectRefused(await start(), /truncated|incomplete|cut short|table/);
    }
    copyFileSync(original, copy);
  });

  e2e('truncated within the launcher, it does not run either', async () => {
    const launcher = findSection(original, 'launcher');
    for (const cut of [100, 4096, Math.floor(launcher.size / 2), launcher.size - 1]) {
      closeSync(await openForWriting());
      truncateSync(copy, cut);
      const ran = await run(['sh', '-c', '"$0" echo "it ran"', copy]);
      expect(ran.stdout).toBe('');
      expect(ran.status).not.toBe(0);
    }
    copyFileSync(original, copy);
  });

  e2e('with one byte appended, or many', async () => {
    for (const size of [1, 4096]) {
      closeSync(await openForWriting());
      writeFileSync(copy, Buffer.alloc(size), { flag: 'a' });
      expectRefused(await start(), /appended \(\d+ bytes expected, \d+ present\)/);
      expect(await verify()).toMatchObject({
        status: 1,
        stdout: expect.stringMatching(/^BAD .*(expected|follow|appended)/),
      });
      truncateSync(copy, statSync(original).size);
    }
  });

  e2e(
    'with any one bit of the table flipped',
    async () => {
      const { tableOffset, sections } = readTable(original);
      const last = 32 + 72 * sections.length;
      const places = [...Array.from({ length: last }, (_, i) => i), last + 10, 2000, 4063, 4064, 4080, 4095];
      for (const [i, at] of places.entries()) {
        // Every byte once; the bits take turns.
        await withFlippedBit(tableOffset + at, i % 8, async () =>
          expectRefused(await start(), /no section table after the launcher|the section table is damaged/),
        );
      }
    },
    120_000,
  );

  e2e('with any bit flipped in the padding between sections', async () => {
    const { sections, totalSize, tableOffset } = readTable(original);
    const ends = sections.map(({ offset, size }) => offset + size);
    const paddings = ends
      .map((end) => [end, Math.min(totalSize, Math.ceil(end / 4096) * 4096)] as const)
      .filter(([from, to]) => to > from);
    expect(paddings.length).toBeGreaterThan(1);
    for (const [from, to] of paddings) {
      for (const at of new Set([from, Math.floor((from + to) / 2), to - 1])) {
        await withFlippedBit(at, at % 8, async () =>
          expectRefused(await start(), /the padding after section \w+ is not zero/),
        );
      }
    }
    expect(tableOffset % 4096).toBe(0);
  });

  e2e(
    'with any one bit of the manifest flipped',
    async () => {
      const { offset, size } = findSection(original, 'manifest');
      for (let i = 0; i < size; i += Math.max(1, Math.floor(size / 150))) {
        await withFlippedBit(offset + i, i % 8, async () => expectRefused(await start(), /the manifest is damaged/));
      }
    },
    120_000,
  );

  e2e('with a flipped bit in the runtime section, when that is unpacked', async () => {
    const { offset, size } = findSection(original, 'runtime');
    for (const at of [0, 96, Math.floor(size / 3), size - 1]) {
      const user = freshUser();
      await withFlippedBit(offset + at, 3, async () => {
        expectRefused(await run([copy, 'echo', 'it ran'], { user }), /section runtime is damaged/);
      });
      expect(await run([copy, 'echo', 'well again'], { user })).toMatchObject({ status: 0, stdout: 'well again\n' });
    }
  });
});

describe('bundler verify finds', () => {
  for (const name of ['launcher', 'runtime', 'payload', 'hashtree', 'manifest'] as const) {
    e2e(`a flipped bit in the ${name}, and names it`, async () => {
      const { offset, size } = findSection(original, name);
      for (const at of [name === 'launcher' ? 5000 : 0, Math.floor(size / 2), size - 1]) {
        await withFlippedBit(offset + at, 5, async () => {
          const ran = await verify();
          expect(ran.status, ran.stdout + ran.stderr).toBe(1);
          // All sections are listed; the damaged one alone is called so.
          if (name === 'manifest') expect(ran.stdout).toMatch(/^BAD .*: the manifest is damaged/);
          else expect(ran.stdout.match(/^BAD (\w+)/gm)).toEqual([`BAD ${name}`]);
        });
      }
    });
  }

  e2e('the place of the first bad leaf of the payload', async () => {
    const { offset, size } = findSection(original, 'payload');
    const at = Math.min(size - 1, 3 * 65536 + 17);
    await withFlippedBit(offset + at, 0, async () => {
      const ran = await verify();
      const leaf = offset + Math.floor(at / 65536) * 65536;
      expect(ran.stdout + ran.stderr).toContain(String(leaf));
    });
  });
});
