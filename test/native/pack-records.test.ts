// SPDX-License-Identifier: Apache-2.0
import { closeSync, openSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import type { Fact } from '../../src/format/wire.ts';
import { startPacker } from '../../src/launcher/pack.ts';
import { collectFacts, firstDescriptor, startRole } from '../../src/launcher/role.ts';
import { needing, scratch } from './image-rig.ts';
import { common, useLauncher, withTarget } from './pack-rig.ts';

let file = '';
beforeAll(() => {
  useLauncher();
  file = path.join(scratch('records'), 'image.sqsh');
});

const u8 = (...values: number[]): Buffer => Buffer.from(values);
function integers(bytes: number, ...values: number[]): Buffer {
  const buffer = Buffer.alloc(bytes * values.length);
  values.forEach((value, at) => {
    buffer.writeUIntLE(value, at * bytes, Math.min(bytes, 6));
  });
  return buffer;
}
const u16 = (...values: number[]): Buffer => integers(2, ...values);
const u32 = (...values: number[]): Buffer => integers(4, ...values);
const u64 = (...values: number[]): Buffer => integers(8, ...values);

function record(operation: number, ...fields: Buffer[]): Buffer {
  const body = Buffer.concat([u8(operation), ...fields]);
  return Buffer.concat([u32(body.length), body]);
}

const none = 0xffff_ffff;
const head = (number: number, type: number, { mode = 0o644, nlink = 1, xattrs = none, uid = 0 } = {}): Buffer =>
  Buffer.concat([u32(number), u8(type), u16(mode), u32(uid, 0, 0, nlink, xattrs)]);
const text = (value: string): Buffer => Buffer.from(value, 'latin1');
const begin = (size: number): Buffer => record(1, u64(size));
const data = (value: string): Buffer => record(2, text(value));
const end = record(3);
const hole = (size: number): Buffer => record(4, u64(size));
const whole = (value: string): Buffer => record(5, text(value));
const attribute = (name: string, value: string): Buffer =>
  Buffer.concat([u16(name.length), u32(value.length), text(name), text(value)]);
const xattrs = (...pairs: [string, string][]): Buffer =>
  record(6, u32(pairs.length), ...pairs.map(([name, value]) => attribute(name, value)));
const empty = (number: number): Buffer => record(7, head(number, 1), u32(none));
const list = (number: number, parent: number, entries: readonly [number, string][]): Buffer =>
  record(
    8,
    head(number, 2, { nlink: 2 }),
    u32(parent, entries.length),
    Buffer.concat(entries.flatMap(([child, name]) => [u32(child), u16(name.length), text(name)])),
  );
const dir = (number: number, parent: number, ...entries: [number, string][]): Buffer => list(number, parent, entries);
const finish = (count: number, root: number): Buffer => record(9, u32(count, root));

const usual: Fact[] = [
  ['role', 'pack'],
  ['target', String(firstDescriptor)],
  ['compressor', 'zstd'],
  ['level', '3'],
  ['block', '4096'],
  ['time', '0'],
  ['threads', '2'],
];

/** Sends records to the role; its message, or '' when it made an image. */
async function send(records: readonly Buffer[], facts: readonly Fact[] = []): Promise<string> {
  const changed = new Set(facts.map(([key]) => key));
  return withTarget(file, async (target) => {
    const all = [...usual.filter(([key]) => !changed.has(key)), ...facts];
    const role = startRole(all, { descriptors: [target] });
    const complete = collectFacts(role);
    role.input.end(Buffer.concat(records));
    try {
      await role.ended;
      complete();
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  });
}

const sound = [
  begin(5),
  data('he'),
  data('llo'),
  end,
  record(7, head(1, 1), u32(0)),
  dir(2, 3, [1, 'a']),
  finish(2, 2),
];

const wrong: Record<string, [Buffer[], string]> = {
  'an unknown operation': [[record(77)], 'pack record 1: an unknown operation 77'],
  'an empty record': [[u32(0)], 'pack record 1: it is too short'],
  'fields that are missing': [[record(1, u32(5))], 'it is too short: 8 bytes are wanted, 4 are left'],
  'fields too many': [[record(1, u64(5), u8(0))], 'it is 1 bytes too long'],
  'two contents at once': [[begin(5), begin(5)], 'begins before the one before it has ended'],
  'a whole content inside another': [[begin(5), whole('x')], 'begins before the one before it has ended'],
  'data outside a content': [[data('x')], 'data outside a content'],
  'a hole outside a content': [[hole(1)], 'data outside a content'],
  'an end without a beginning': [[end], 'has not begun'],
  'too much data': [[begin(5), data('123456')], '1 bytes more than the size'],
  'too large a hole': [[begin(5), data('1'), hole(2 ** 40)], 'bytes more than the size'],
  'too little data': [[begin(5), data('1234'), end], 'ends 1 bytes before its size'],
  'a file that is absurdly large': [[begin(2 ** 47)], 'more than 134217728 blocks'],
  'no attributes in a set': [[xattrs()], 'a set of 0 attributes'],
  'more attributes than there are': [[record(6, u32(2), attribute('user.a', '1'))], 'it is too short'],
  'an attribute of another kind': [[xattrs(['system.posix_acl_access', 'x'])], 'cannot store the attribute "system.p'],
  'an attribute without a name': [[xattrs(['user.', 'x'])], 'cannot store the attribute "user."'],
  'an attribute with a NUL in its name': [[xattrs(['user.a\0b', 'x'])], 'cannot store the attribute'],
  'too long a name of an attribute': [[xattrs([`user.${'x'.repeat(300)}`, ''])], 'a name of 305'],
  'too long a value of an attribute': [[xattrs(['user.a', 'x'.repeat(65_537)])], 'a value of 65537 bytes'],
  'an inode number of 0': [[empty(0)], 'an inode number of 0'],
  'an inode number beyond all bounds': [[empty(none)], 'an inode number of 4294967295'],
  'an unknown type': [[record(7, head(1, 8))], 'of an unknown type 8'],
  'a directory as an inode': [[record(7, head(1, 2))], 'for which there is a record of its own'],
  'a file as a directory': [[record(8, head(1, 1), u32(2, 0))], 'listed, but no directory'],
  'a mode with a type in it': [[record(7, head(1, 1, { mode: 0o100644 }), u32(none))], 'has a mode of 100644'],
  'no links': [[record(7, head(1, 1, { nlink: 0 }), u32(none))], '0 links'],
  'attributes that are not defined': [[record(7, head(1, 1, { xattrs: 0 }), u32(none))], 'set 0 of attributes, of 0'],
  'a content that is not there': [[record(7, head(1, 1), u32(0))], 'has content 0, of 0'],
  'a content of two inodes': [
    [whole('x'), record(7, head(1, 1), u32(0)), record(7, head(2, 1), u32(0))],
    'content 0 belongs to two inodes',
  ],
  'an inode defined twice': [[empty(1), empty(1)], 'inode 1 is defined twice'],
  'a content after an inode': [[empty(1), whole('x')], 'a content after the tree has begun'],
  'an inode within a content': [[begin(5), empty(1)], 'before the last content has ended'],
  'a symlink to nothing': [[record(7, head(1, 3))], 'a target of 0 bytes'],
  'too long a symlink': [[record(7, head(1, 3), text('x'.repeat(4096)))], 'a target of 4096 bytes'],
  'a symlink with a NUL': [[record(7, head(1, 3), text('a\0b'))], 'a NUL in its target'],
  'a device beyond what Linux has': [[record(7, head(1, 4), u32(4096, 0))], 'device 4096:0'],
  'a name that is empty': [[empty(1), dir(2, 3, [1, ''])], 'a name of 0 bytes'],
  'a name that is too long': [[empty(1), dir(2, 3, [1, 'x'.repeat(256)])], 'a name of 256 bytes'],
  'a name with a slash': [[empty(1), dir(2, 3, [1, 'a/b'])], 'has an entry "a/b"'],
  'a name with a NUL': [[empty(1), dir(2, 3, [1, 'a\0b'])], 'directory 2 has an entry "a'],
  'the name ..': [[empty(1), dir(2, 3, [1, '..'])], 'has an entry ".."'],
  'names out of order': [[empty(1), dir(2, 3, [1, 'b'], [1, 'a'])], '"a" not in the order of bytes, or twice'],
  'names twice': [[empty(1), dir(2, 3, [1, 'b'], [1, 'b'])], '"b" not in the order of bytes, or twice'],
  'a name with an escape sequence': [[empty(1), dir(2, 3, [1, '\x1b[2J/'])], 'has an entry "?[2J/"'],
  'a name with a control code of two bytes': [[empty(1), dir(2, 3, [1, '\xc2\x9b2J/'])], 'has an entry "??2J/"'],
  'an entry that is not defined': [[dir(2, 3, [1, 'b'])], 'names inode 1, which is not defined before it'],
  'fewer inodes than announced': [[empty(1), dir(2, 4, [1, 'b']), finish(3, 2)], '3 inodes are announced, 2 are'],
  'a number left out': [[empty(1), dir(3, 3, [1, 'b']), finish(2, 3)], 'inode 2 is not defined'],
  'a root that is no directory': [[empty(1), dir(2, 3, [1, 'b']), finish(2, 1)], 'the root, inode 1, is no directory'],
  'a root beyond the end': [[empty(1), dir(2, 3, [1, 'b']), finish(2, 3)], 'the root, inode 3, is no directory'],
  'a root with another parent': [[empty(1), dir(2, 2, [1, 'b']), finish(2, 2)], 'directory 2 has the parent 2'],
  'a parent that is a file': [[empty(1), dir(2, 1), dir(3, 4, [1, 'a'], [2, 'b']), finish(3, 3)], 'has the parent 1'],
  'no end': [sound.slice(0, -1), 'end before the image is complete'],
  'nothing at all': [[], 'end before the image is complete'],
};

describe('records to pack', () => {
  needing('that are sound make an image', async () => {
    expect(await send(sound)).toBe('');
  });

  for (const [what, [records, message]] of Object.entries(wrong)) {
    needing(`with ${what} are refused with the reason`, async () => {
      expect(await send(records)).toContain(message);
    });
  }

  needing('that are cut anywhere are refused', async () => {
    const bytes = Buffer.concat(sound);
    const cuts = Array.from({ length: bytes.length }, (_, at) => at).filter((at) => at % 5 === 3);
    const messages = await Promise.all(cuts.map((at) => withCut(bytes.subarray(0, at))));
    for (const message of messages)
      expect(message).toMatch(/^the records to pack end .*: whoever sends them has stopped$/);
  });

  needing('with more than 65535 owners are refused clearly', async () => {
    const records: Buffer[] = [];
    for (let at = 1; at <= 65_600; at += 1) records.push(record(7, head(at, 1, { uid: at }), u32(none)));
    expect(await send(records)).toContain('more than 65535 different user and group ids');
    const fewer = records.slice(0, 65_534);
    const root = fewer.length + 1;
    const entries = fewer.map((_, at): [number, string] => [at + 1, String(at).padStart(5, '0')]);
    expect(await send([...fewer, list(root, root + 1, entries), finish(root, root)])).toBe('');
  });

  needing('of random bytes never do harm', async () => {
    let seed = 12345;
    const random = (): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return seed >>> 16;
    };
    for (let round = 0; round < 40; round += 1) {
      const bytes = Buffer.concat([xattrs(['user.a', 'b'], ['user.c', 'd']), ...sound]);
      for (let i = 0; i < 1 + (round % 3); i += 1) bytes[random() % bytes.length] = random() & 0xff;
      expect(await send([bytes])).not.toMatch(/ended by|status/);
    }
  });
});

async function withCut(bytes: Buffer): Promise<string> {
  return withTarget('/dev/null', async (target) => {
    const role = startRole(usual, { descriptors: [target] });
    collectFacts(role);
    role.input.end(bytes);
    return role.ended.then(
      () => '',
      (error: Error) => error.message,
    );
  });
}

const facts: Record<string, [Fact, string]> = {
  'an unknown compressor': [['compressor', 'zip'], 'compress with zip: it is not known'],
  'lzo, which can only be read': [['compressor', 'lzo'], 'compress with lzo: only reading'],
  'a level that there is not': [['level', '99'], 'compress with zstd at level 99: there is no such level'],
  'a level for lz4': [['compressor', 'lz4'], 'compress with lz4: it has no such option'],
  'an option of another compressor': [['flag', 'lz4-hc'], 'compress with zstd: it has no such option'],
  'a block size that is no power of two': [['block', '5000'], 'blocks of 5000 bytes'],
  'a block size that is too large': [['block', '2097152'], 'blocks of 2097152 bytes'],
  'no threads': [['threads', '0'], 'threads are needed'],
  'too many threads': [['threads', '65'], 'role pack: threads'],
  'an unknown flag': [['flag', 'noZ'], 'role pack: flag noZ'],
  'a time beyond 32 bits': [['time', '4294967296'], 'role pack: time'],
  'no target': [['target', 'x'], 'role pack: target'],
};

describe('options to pack', () => {
  for (const [what, [fact, message]] of Object.entries(facts)) {
    needing(`with ${what} are refused with the reason`, async () => {
      expect(await send(sound, [fact])).toContain(message);
    });
  }
});

describe('a packer', () => {
  const plain = { mode: 0o644, uid: 0, gid: 0, mtimeSeconds: 0, nlink: 1, xattrs: -1 };

  needing('says why it failed to whoever waits for it or finishes', async () => {
    await withTarget(file, async (target) => {
      const packer = startPacker(target, common);
      packer.beginFile(1);
      packer.writeData(Buffer.alloc(300_000));
      await expect(
        (async () => {
          for (;;) {
            packer.writeData(Buffer.alloc(300_000));
            await packer.drained();
          }
        })(),
      ).rejects.toThrow('pack record 2: 299999 bytes more than the size of the content');
      await expect(packer.finish(1, 1)).rejects.toThrow('pack record 2');
    });
  });

  needing('says that the disk is full', async () => {
    const target = openSync('/dev/full', 'r+');
    const packer = startPacker(target, { ...common, uncompressed: { data: true } });
    const content = packer.storeFile(Buffer.alloc(1 << 20, 'x'));
    packer.defineFile(1, plain, content);
    packer.defineDirectory(2, { ...plain, nlink: 2 }, 3, [{ name: 'a', number: 1 }]);
    await expect(packer.finish(2, 2)).rejects.toThrow('cannot write the image: no space left on device');
    closeSync(target);
  });

  needing('ends when it is told to give up', async () => {
    await withTarget(file, async (target) => {
      const packer = startPacker(target, common);
      packer.beginFile(1 << 30);
      packer.writeData(Buffer.alloc(3_000_000, 'x'));
      await packer.abort();
      await expect(packer.drained()).rejects.toThrow('the launcher was ended by SIGTERM');
    });
  });
});
