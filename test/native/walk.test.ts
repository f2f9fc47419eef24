// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { createHash, type Hash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  lchownSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { makeImage as makeFixture } from '../../fixtures/make.ts';
import { type Bytes, fromText } from '../../src/format/bytes.ts';
import { type WalkedEntry, type WalkedSource, walkTree } from '../../src/launcher/walk.ts';
import { run } from '../support/run.ts';
import { sanitize } from '../support/sanitize.ts';
import { ordinaryUser } from '../support/session.ts';
import { imageOf, listTree, listUnsquashed, makeTree, needing, scratch, variants } from './image-rig.ts';
import { useLauncher } from './pack-rig.ts';

let tree = '';

beforeAll(() => {
  useLauncher();
  tree = makeTree();
});

const typeBits = { file: 0o100000, dir: 0o40000, symlink: 0o120000, char: 0o20000, block: 0o60000, fifo: 0o10000 };

/** A byte string as dump-tree.py shows it. */
function show(bytes: Bytes): string {
  return bytes.replace(/[^!-[\]-~]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** The lines that dump-tree.py writes of the same tree; of a further name what its first one has. */
async function listWalked(source: WalkedSource): Promise<{ lines: string[]; skipped: number; order: Bytes[] }> {
  const found: { entry: WalkedEntry; digest: Hash; size: number; ended: number }[] = [];
  const { skippedSockets } = await walkTree(source, {
    entry: (entry) => void found.push({ entry, digest: createHash('sha256'), size: 0, ended: 0 }),
    data(chunk) {
      const last = found[found.length - 1];
      last?.digest.update(chunk);
      if (last) last.size += chunk.length;
    },
    end() {
      const last = found[found.length - 1];
      if (last) last.ended += 1;
    },
  });
  const first = new Map<Bytes, (typeof found)[number] & { hex: string }>();
  const lines = found.map((item) => {
    if (item.entry.kind !== 'hardlink') {
      expect(item.size).toBe(item.entry.sizeBytes);
      expect(item.ended).toBe(item.size > 0 ? 1 : 0);
      first.set(item.entry.path, { ...item, hex: item.digest.digest('hex') });
    }
    const target = first.get(item.entry.kind === 'hardlink' ? item.entry.link : item.entry.path);
    if (!target) throw new Error(`${item.entry.path} leads to no earlier name`);
    expect(item.entry.inode).toBe(target.entry.inode);
    return describeEntry(item.entry, target.entry, target.hex);
  });
  return { lines: [...lines, ''], skipped: skippedSockets, order: found.map(({ entry }) => entry.path) };
}

function describeEntry(named: WalkedEntry, entry: WalkedEntry, digest: string): string {
  const { kind } = entry;
  if (kind === 'hardlink') throw new Error('a further name of a further name');
  const name = named.path === '' ? '' : `/${show(named.path)}`;
  let line = `${name} ${(typeBits[kind] | named.mode).toString(8)} ${named.uid}:${named.gid} ${named.mtimeSeconds}`;
  if (kind === 'dir') line += ' dir';
  else line += ` links=${named.nlink}`;
  if (kind === 'symlink') line += ` -> ${show(entry.link)}`;
  if (kind === 'file') line += ` size=${entry.sizeBytes} ${digest}`;
  if (kind === 'char' || kind === 'block') line += ` ${named.major}:${named.minor}`;
  const xattrs = [...named.xattrs].map(([key, value]) => {
    const hex = createHash('sha256').update(value).digest('hex').slice(0, 8);
    return ` ${show(`${key}=${value.length}:${hex}`)}`;
  });
  return line + xattrs.sort().join('');
}

async function walkImage(file: string, offset = 0): Promise<Awaited<ReturnType<typeof listWalked>>> {
  const descriptor = openSync(file, 'r');
  try {
    return await listWalked({ descriptor, offset, sizeBytes: statSync(file).size - offset });
  } finally {
    closeSync(descriptor);
  }
}

const withoutSockets = (lines: string[]): string[] => lines.filter((line) => !line.startsWith('/special/socket '));
/** Walks visit a name with / in its path where its directory is; byte order of whole paths is another one. */
const sorted = (lines: string[]): string[] => [...lines].sort();

describe('a walk of a directory', () => {
  needing('tells all that is in it', async () => {
    const { lines, skipped } = await listWalked({ directory: tree });
    expect(sorted(lines)).toEqual(sorted(withoutSockets(listTree(tree))));
    expect(skipped).toBe(1);
  });

  needing('tells parents first and names in the order of bytes', async () => {
    const dir = scratch('order');
    for (const name of ['b', 'a', 'a-b', 'a.b', 'aa', '\u00e9', 'Z']) mkdirSync(path.join(dir, name));
    writeFileSync(path.join(dir, 'a/x'), '');
    const { order } = await listWalked({ directory: dir });
    expect(order).toEqual(['', 'Z', 'a', 'a/x', 'a-b', 'a.b', 'aa', 'b', fromText('\u00e9')]);
  });

  needing('follows no symlink', async () => {
    const dir = scratch('links');
    symlinkSync('/etc', path.join(dir, 'etc'));
    expect((await listWalked({ directory: dir })).order).toEqual(['', 'etc']);
  });

  needing('keeps out of what is mounted below it', async () => {
    const dir = scratch('mounts');
    for (const name of ['tmpfs', 'bound', 'own']) mkdirSync(path.join(dir, name));
    writeFileSync(path.join(dir, 'own/file'), 'x');
    for (const args of [
      ['-t', 'tmpfs', 'none'],
      ['--bind', path.join(dir, 'own')],
    ] as const)
      execFileSync('mount', [...args, path.join(dir, args[0] === '-t' ? 'tmpfs' : 'bound')]);
    try {
      writeFileSync(path.join(dir, 'tmpfs/inside'), 'x');
      expect((await listWalked({ directory: dir })).order).toEqual(['', 'bound', 'own', 'own/file', 'tmpfs']);
    } finally {
      for (const name of ['tmpfs', 'bound']) execFileSync('umount', [path.join(dir, name)]);
    }
  });

  needing('names what an ordinary user may not read', async () => {
    const user = ordinaryUser();
    const dir = scratch('unreadable', user);
    writeFileSync(path.join(dir, 'secret'), 'x');
    chmodSync(path.join(dir, 'secret'), 0o600);
    const request = `import { walkTree } from ${JSON.stringify(path.resolve('src/launcher/walk.ts'))};
      await walkTree({ directory: ${JSON.stringify(dir)} }, { entry() {}, data() {} }).catch((e) => console.log(e.message + '|' + e.hint));`;
    const env = { BUNDLER_SELF: process.env['BUNDLER_SELF'] ?? '' };
    const ran = await run([process.execPath, '--input-type=module', '-e', request], { user, env });
    expect(ran.stdout).toBe(
      `open /secret: Permission denied|read ${dir} as root, or as a user who may read everything in it\n`,
    );
  });

  needing('tells the owners that there are, also when a mode forbids the user who reads to look', async () => {
    const user = ordinaryUser();
    const dir = scratch('owners', user);
    for (const [name, uid, gid] of [
      ['a', user.uid, user.uid],
      ['closed', user.uid, user.uid],
      ['e', 0, 0],
      ['f', user.uid, 54_321],
    ] as const) {
      writeFileSync(path.join(dir, name), name);
      chownSync(path.join(dir, name), uid, gid);
    }
    symlinkSync('e', path.join(dir, 'g'));
    lchownSync(path.join(dir, 'g'), 12_345, 54_321);
    chmodSync(path.join(dir, 'closed'), 0);
    // Capabilities of another user namespace: revision 3, cap_net_raw, with 100000 as root (linux/capability.h).
    const capability = `0x${['03000001', '00002000', '00000000', '00000000', '00000000', '000186a0'].map((word) => Buffer.from(word, 'hex').reverse().toString('hex')).join('')}`;
    execFileSync('setfattr', ['-n', 'security.capability', '-v', capability, path.join(dir, 'f')]);
    const request = `import { walkTree } from ${JSON.stringify(path.resolve('src/launcher/walk.ts'))};
      const entry = ({ path, uid, gid, link, xattrs }) =>
        console.log(path, uid, gid, link + (xattrs.get('security.capability')?.toString('hex') ?? ''));
      await walkTree({ directory: ${JSON.stringify(dir)} }, { entry, data() {} });`;
    const env = { BUNDLER_SELF: process.env['BUNDLER_SELF'] ?? '' };
    const ran = await run([process.execPath, '--input-type=module', '-e', request], { user, env });
    const own = `${user.uid} ${user.uid}`;
    expect(ran.stdout + ran.stderr).toBe(
      ` ${own} \na ${own} \nclosed ${own} \ne 0 0 \nf ${user.uid} 54321 ${capability.slice(2)}\ng 12345 54321 e\n`,
    );
  });

  needing('says when it is not there, or no directory', async () => {
    const walk = (directory: string): Promise<unknown> => walkTree({ directory }, { entry() {}, data() {} });
    await expect(walk('/nonexistent')).rejects.toThrow('open the directory /nonexistent: No such file or directory');
    await expect(walk('/etc/passwd')).rejects.toThrow('open the directory /etc/passwd: Not a directory');
  });

  needing('waits for its visitor, and ends when that fails', async () => {
    const dir = scratch('large');
    writeFileSync(path.join(dir, 'large'), Buffer.alloc(20_000_000));
    let pieces = 0;
    let waits = 0;
    const visitor = {
      entry(): void {},
      data(): void {
        pieces += 1;
        if (pieces === 10) throw new Error('enough');
      },
      async drained(): Promise<void> {
        const before = pieces;
        await new Promise((resolve) => setImmediate(resolve));
        expect(pieces).toBe(before);
        waits += 1;
      },
    };
    await expect(walkTree({ directory: dir }, visitor)).rejects.toThrow('enough');
    expect(waits).toBeGreaterThan(0);
  });
});

describe('a walk of an image', () => {
  // The reader has tests of its own with every compressor.
  const few = ['zstd', 'gzip with strategies, 4 KiB blocks', 'lz4hc, 1 MiB blocks', 'nothing compressed'];
  for (const [way, flags] of variants.filter(([name]) => few.includes(name))) {
    needing(`tells what unsquashfs unpacks: ${way}`, async () => {
      const image = imageOf(tree, flags);
      const { lines, skipped } = await walkImage(image);
      const expected = withoutSockets(listUnsquashed(image));
      expect(sorted(lines)).toEqual(sorted(expected));
      expect(skipped).toBe(1);
    });
  }

  needing('inside another file tells the same', async () => {
    const image = imageOf(tree);
    const file = path.join(scratch('inside'), 'file');
    writeFileSync(file, Buffer.concat([Buffer.alloc(12_345, 'x'), readFileSync(image)]));
    expect(await walkImage(file, 12_345)).toEqual(await walkImage(image));
  });

  needing('tells parents first and names in the order of bytes', async () => {
    const image = imageOf(tree);
    expect((await walkImage(image)).order).toEqual((await listWalked({ directory: tree })).order);
  });

  needing('with names that are none, or two alike, is refused', async () => {
    for (const name of ['name-slash', 'name-dot', 'name-dot-dot'] as const)
      await expect(walkImage(makeFixture(name))).rejects.toThrow('the image is damaged: a name is no name in /d');
    for (const name of ['name-twice', 'name-twice-apart'] as const)
      await expect(walkImage(makeFixture(name))).rejects.toThrow(
        'the image is damaged: the names are not in order in /d',
      );
  });

  needing('that is none is refused', async () => {
    await expect(walkImage('/etc/passwd')).rejects.toThrow('not a squashfs image');
  });

  for (const way of ['gzip', 'xz', 'zstd', 'zstd -noI -noX', 'lzo -noI -noD -noF']) {
    needing(
      `with damage anywhere is told or refused, without a crash or a hang: ${way}`,
      async () => {
        const dir = scratch('damaged');
        const few = path.join(dir, 'few');
        mkdirSync(few);
        const parts = ['attrs', 'links', 'special', 'names', 'sizes/131073', 'sizes/4097'];
        execFileSync('cp', ['-a', ...parts.map((part) => path.join(tree, part)), few]);
        const sound = readFileSync(imageOf(few, `-comp ${way} -b 4K`));
        let seed = 4711;
        const random = (below: number): number => {
          seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
          return Math.floor((seed / 2 ** 32) * below);
        };
        let refused = 0;
        const file = path.join(dir, 'damaged');
        for (let round = 0; round < (sanitize ? 40 : 100); round += 1) {
          const bytes = Buffer.from(sound);
          for (let i = 0; i < 1 + (round % 4); i += 1) bytes[random(bytes.length)] = random(256);
          writeFileSync(file, round % 10 === 9 ? bytes.subarray(0, random(bytes.length)) : bytes);
          const message = await walkTree(
            { descriptor: openedOnce(file), offset: 0, sizeBytes: statSync(file).size },
            { entry() {}, data() {} },
          ).then(
            () => '',
            (error: Error) => error.message,
          );
          expect(message).not.toMatch(/ended by|with status|incomplete/);
          refused += message === '' ? 0 : 1;
        }
        expect(refused).toBeGreaterThan(0);
      },
      120_000,
    );
  }
});

let opened = -1;
/** The file's descriptor; the one before is closed. */
function openedOnce(file: string): number {
  if (opened >= 0) closeSync(opened);
  opened = openSync(file, 'r');
  return opened;
}
