// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, statSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { startPacker } from '../../src/launcher/pack.ts';
import { type WalkedEntry, walkTree } from '../../src/launcher/walk.ts';
import { compileNative } from './compile.ts';
import { needing, scratch } from './image-rig.ts';
import {
  common,
  directory,
  finishFlat,
  kernelMounts,
  plain,
  useLauncher,
  withMounted,
  withTarget,
} from './pack-rig.ts';

let dir = '';

beforeAll(() => {
  useLauncher();
  compileNative('dump-image');
  dir = scratch('packed');
});

let count = 0;
const newFile = (): string => path.join(dir, `image-${++count}.sqsh`);

/** What our own reader, under test elsewhere, finds in an image. */
function listDumped(file: string): string[] {
  return execFileSync(compileNative('dump-image'), [file], {
    encoding: 'latin1',
    maxBuffer: 1 << 26,
    stdio: ['ignore', 'pipe', 'ignore'],
  }).split('\n');
}

describe('a tree', () => {
  kernelMounts('with a hundred thousand names in one directory is read by the kernel', async () => {
    const names = Array.from({ length: 100_000 }, (_, i) => `${String(i).padStart(6, '0')}${'-n'.repeat(i % 120)}`);
    const file = newFile();
    await withTarget(file, async (target) => {
      const packer = startPacker(target, common);
      await finishFlat(packer, names, []);
    });
    await withMounted(file, (root) => {
      const found = execFileSync('find', [root, '-type', 'f', '-printf', '%P %i\n'], {
        encoding: 'latin1',
        maxBuffer: 1 << 26,
      });
      expect(found.trim().split('\n').sort()).toEqual(names.map((name, at) => `${name} ${at + 1}`));
      // By the index, not by reading all.
      for (const at of [0, 1, 255, 256, 4711, 50_000, 99_998, 99_999])
        expect(statSync(path.join(root, names[at] ?? '')).ino).toBe(at + 1);
    });
  });

  needing('with names of 255 bytes and attributes of 64 KiB with NULs keeps them', async () => {
    const name = 'n'.repeat(255);
    const value = Buffer.from(Array.from({ length: 65_536 }, (_, i) => i % 251));
    const file = newFile();
    await withTarget(file, async (target) => {
      const packer = startPacker(target, common);
      const xattrs = packer.defineXattrs(
        new Map([
          ['user.large', value],
          ['system.posix_acl_access', value],
        ]),
      );
      expect(packer.defineXattrs(new Map([['user.large', value]]))).toBe(xattrs);
      expect(packer.defineXattrs(new Map([['system.only', value]]))).toBe(-1);
      packer.defineFile(1, { ...plain, xattrs }, null);
      packer.defineDirectory(2, { ...directory, xattrs }, 3, [{ name, number: 1 }]);
      await packer.finish(2, 2);
    });
    const digest = createHash('sha256').update(value).digest('hex').slice(0, 8);
    const attribute = `user.large=65536:${digest}`;
    const [root, entry] = listDumped(file);
    expect(root).toContain(attribute);
    expect(entry).toContain(`/${name} `);
    expect(entry).toContain(attribute);
  });

  needing('with 64 MiB of attributes on one file tells them; with more a walk refuses it', async () => {
    const value = Buffer.alloc(65_536, 'x');
    const walk = async (count: number): Promise<WalkedEntry[]> => {
      const file = newFile();
      await withTarget(file, async (target) => {
        const packer = startPacker(target, common);
        const xattrs = packer.defineXattrs(
          new Map(Array.from({ length: count }, (_, at) => [`user.${String(at).padStart(5, '0')}`, value])),
        );
        packer.defineFile(1, { ...plain, xattrs }, null);
        packer.defineDirectory(2, directory, 3, [{ name: 'a', number: 1 }]);
        await packer.finish(2, 2);
      });
      const descriptor = openSync(file, 'r');
      const found: WalkedEntry[] = [];
      const source = { descriptor, offset: 0, sizeBytes: statSync(file).size };
      await walkTree(source, { entry: (entry) => void found.push(entry), data() {} }).finally(() =>
        closeSync(descriptor),
      );
      return found;
    };
    const [, entry] = await walk(1000);
    expect(entry?.xattrs.size).toBe(1000);
    for (const told of entry?.xattrs.values() ?? []) expect(told.equals(value)).toBe(true);
    await expect(walk(1100)).rejects.toThrow('there is no room for more than 64 MiB of attributes of /a');
  });

  for (const sets of [1, 511, 512, 513, 1024, 1536]) {
    needing(`with ${sets} sets of attributes keeps each`, async () => {
      const file = newFile();
      await withTarget(file, async (target) => {
        const packer = startPacker(target, common);
        for (let at = 1; at <= sets; at += 1) {
          const xattrs = packer.defineXattrs(new Map([['user.number', Buffer.from(`number ${at}`)]]));
          packer.defineFile(at, { ...plain, xattrs }, null);
        }
        const entries = Array.from({ length: sets }, (_, at) => ({
          name: String(at + 1).padStart(5, '0'),
          number: at + 1,
        }));
        packer.defineDirectory(sets + 1, directory, sets + 2, entries);
        await packer.finish(sets + 1, sets + 1);
      });
      listDumped(file)
        .slice(1, -1)
        .forEach((line, at) => {
          const digest = createHash('sha256')
            .update(`number ${at + 1}`)
            .digest('hex')
            .slice(0, 8);
          expect(line).toContain(digest);
        });
    });
  }

  needing('keeps ids, times and modes at their limits', async () => {
    const file = newFile();
    await withTarget(file, async (target) => {
      const packer = startPacker(target, common);
      packer.defineFile(1, { ...plain, mode: 0o7777, uid: 4_294_967_294, gid: 3_000_000_000, mtimeSeconds: -5 }, null);
      packer.defineDevice(2, { ...plain, mtimeSeconds: 2 ** 40 }, 'block', 4095, 1_048_575);
      packer.defineDirectory(3, directory, 4, [
        { name: 'a', number: 1 },
        { name: 'b', number: 2 },
      ]);
      await packer.finish(3, 3);
    });
    const lines = listDumped(file);
    expect(lines[1]).toMatch(/^\/a 107777 4294967294:3000000000 0 /);
    expect(lines[2]).toMatch(/^\/b 60644 0:0 4294967295 links=1 4095:1048575/);
  });
});
