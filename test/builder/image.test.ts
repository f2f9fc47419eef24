// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { FormatError } from '../../src/format/format-error.ts';
import { readAtBuffer } from '../../src/format/read-at.ts';
import type { Fact } from '../../src/format/wire.ts';
import { interpretReading } from '../../src/image/rootfs-facts.ts';
import { readSuperblock } from '../../src/image/superblock.ts';

/** A superblock as mksquashfs writes it, for an image of 8000 bytes. */
function makeSuperblock(change: (block: Buffer) => void = () => {}): Buffer {
  const block = Buffer.alloc(8192);
  block.write('hsqs');
  block.writeUInt32LE(12, 4);
  block.writeUInt32LE(1_600_000_000, 8);
  block.writeUInt32LE(131072, 12);
  block.writeUInt16LE(6, 20);
  block.writeUInt16LE(17, 22);
  block.writeUInt16LE(4, 28);
  block.writeBigUInt64LE(8000n, 40);
  for (const [i, at] of [48, 64, 72].entries()) block.writeBigUInt64LE(BigInt(5000 + i * 100), at);
  change(block);
  return block;
}

describe('a superblock', () => {
  test('tells what the image is', () => {
    expect(readSuperblock(readAtBuffer(makeSuperblock()), 8192)).toEqual({
      compressor: 'zstd',
      blockSizeBytes: 131072,
      inodes: 12,
      usedBytes: 8000,
      modifiedSeconds: 1_600_000_000,
    });
  });

  test.each<[string, (block: Buffer) => void, RegExp]>([
    ['something else', (b) => void b.write('sqsh'), /not a squashfs image/],
    ['an old version', (b) => void b.writeUInt16LE(3, 28), /version 3\.0/],
    ['an impossible block size', (b) => void b.writeUInt32LE(131073, 12), /block size/],
    ['a block size that contradicts itself', (b) => void b.writeUInt16LE(18, 22), /block size/],
    ['an unknown compressor', (b) => void b.writeUInt16LE(9, 20), /compressor 9/],
    ['no compressor', (b) => void b.writeUInt16LE(0, 20), /compressor 0/],
    ['a file that is too short', (b) => void b.writeBigUInt64LE(8193n, 40), /truncated: the image needs 8193 bytes/],
    ['a table outside', (b) => void b.writeBigUInt64LE(8001n, 64), /inode table/],
    ['a size beyond all files', (b) => void b.writeBigUInt64LE(1n << 63n, 40), /offset or size/],
    ['no inodes', (b) => void b.writeUInt32LE(0, 4), /no inodes/],
  ])('is refused for %s', (_title, change, message) => {
    const bytes = makeSuperblock(change);
    expect(() => readSuperblock(readAtBuffer(bytes), bytes.length)).toThrow(FormatError);
    expect(() => readSuperblock(readAtBuffer(bytes), bytes.length)).toThrow(message);
  });

  test('is refused when it is cut off', () => {
    for (const size of [0, 3, 4, 50, 95]) {
      expect(() => readSuperblock(readAtBuffer(makeSuperblock().subarray(0, size)), size)).toThrow(FormatError);
    }
  });
});

describe('the answer about an image', () => {
  const read = (...facts: Fact[]) => interpretReading([['image', 'xz 65536 9 1234 0'], ...facts]);

  test('gives the small files as text', () => {
    const reading = read(
      ['content./etc/passwd', 'root:x:0:0:r\xc3\xb6\xc3\xb6t:/root:/bin/sh\n'],
      ['content./etc/rc', '#!/bin/sh\n# enroot-provenance: v1\nexec "$@"\n'],
      ['type./etc/rc', 'file 0755 40'],
      ['type./bin/sh', 'file 0755 120000'],
    );
    expect(reading).toMatchObject({ compressor: 'xz', blockSizeBytes: 65536, inodes: 9, usedBytes: 1234 });
    expect(reading.rootfs).toMatchObject({
      passwd: 'root:x:0:0:rööt:/root:/bin/sh\n',
      rc: true,
      rcProvenance: '# enroot-provenance: v1',
      shell: true,
      debian: false,
      group: '',
    });
  });

  test('tells the homes there are and what a new one begins with', () => {
    const { homes, skeleton } = read(
      ['name./home', 'ann'],
      ['name./home', 'b\xc3\xb6b'],
      ['type./etc/skel/.config', 'dir 0700'],
      ['type./etc/skel/.config/x', 'file 0600 2'],
      ['content./etc/skel/.config/x', 'x\n'],
      ['type./etc/skel/big', 'file 0644 70000'],
      ['type./etc/skel/pipe', 'other 0644'],
      ['type./etc/skel/gone', 'link /nowhere'],
    ).rootfs;
    expect(homes).toEqual(['ann', 'böb']);
    expect(skeleton).toEqual([
      { path: '.config', mode: 0o700, content: null },
      { path: '.config/x', mode: 0o600, content: 'x\n' },
    ]);
  });

  test('knows a shell only where it is a file that can be executed', () => {
    expect(read(['type./bin/sh', 'link dash']).rootfs.shell).toBe(false);
    expect(read(['type./bin/sh', 'file 0644 5']).rootfs.shell).toBe(false);
    expect(read(['type./bin/sh', 'dir 0755']).rootfs.shell).toBe(false);
    expect(read().rootfs.shell).toBe(false);
  });

  test('falls back to /usr/lib/os-release, as os-release(5) says', () => {
    expect(read(['content./usr/lib/os-release', 'ID=x\n']).rootfs.osRelease).toBe('ID=x\n');
    expect(
      read(['content./usr/lib/os-release', 'ID=x\n'], ['content./etc/os-release', 'ID=y\n']).rootfs.osRelease,
    ).toBe('ID=y\n');
  });
});
