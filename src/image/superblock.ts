// SPDX-License-Identifier: Apache-2.0
import { FormatError, TruncatedError } from '../format/format-error.ts';
import type { ReadAt } from '../format/read-at.ts';

/** The facts of a squashfs superblock (squashfs 4.0; the kernel's fs/squashfs/squashfs_fs.h). */
export interface Superblock {
  readonly compressor: string;
  readonly blockSizeBytes: number;
  readonly inodes: number;
  /** Size of the file system; the file may be longer (mksquashfs pads to 4 KiB). */
  readonly usedBytes: number;
  readonly modifiedSeconds: number;
}

const superblockSizeBytes = 96;
const magic = 0x73717368;
const compressors = ['', 'gzip', 'lzma', 'lzo', 'xz', 'lz4', 'zstd'];

/** True when the first bytes are those of a squashfs image. */
export function startsAsSquashfs(head: Uint8Array): boolean {
  return head.length >= 4 && Buffer.from(head.buffer, head.byteOffset, 4).readUInt32LE() === magic;
}

/** Reads and checks the superblock of an image of sizeBytes. Throws FormatError, TruncatedError when the image is cut off. */
export function readSuperblock(readAt: ReadAt, sizeBytes: number): Superblock {
  const block = readAt(0, superblockSizeBytes);
  if (!startsAsSquashfs(block)) throw new FormatError('not a squashfs image');
  if (block.length < superblockSizeBytes) throw new TruncatedError('truncated: the image ends inside its superblock');
  const [major, minor] = [block.readUInt16LE(28), block.readUInt16LE(30)];
  if (major !== 4 || minor !== 0) throw new FormatError(`squashfs version ${major}.${minor}; only 4.0 can be used`);
  const blockSizeBytes = block.readUInt32LE(12);
  if (blockSizeBytes !== 2 ** block.readUInt16LE(22) || blockSizeBytes < 4096 || blockSizeBytes > 1 << 20) {
    throw new FormatError(`damaged squashfs image: a block size of ${blockSizeBytes} bytes`);
  }
  const compressor = compressors[block.readUInt16LE(20)] ?? '';
  if (compressor === '')
    throw new FormatError(`damaged squashfs image: compressor ${block.readUInt16LE(20)} is unknown`);
  const usedBytes = readSize(block, 40);
  if (usedBytes > sizeBytes) {
    throw new TruncatedError(`truncated: the image needs ${usedBytes} bytes, the file has ${sizeBytes}`);
  }
  const inodes = block.readUInt32LE(4);
  const tables: [string, number][] = [
    ['inode', 64],
    ['directory', 72],
    ['id', 48],
  ];
  for (const [name, at] of tables) {
    const start = readSize(block, at);
    if (start < superblockSizeBytes || start > usedBytes) {
      throw new FormatError(`damaged squashfs image: its ${name} table is at ${start} of ${usedBytes} bytes`);
    }
  }
  if (inodes === 0) throw new FormatError('damaged squashfs image: it has no inodes');
  return { compressor, blockSizeBytes, inodes, usedBytes, modifiedSeconds: block.readUInt32LE(8) };
}

function readSize(block: Buffer, at: number): number {
  const value = block.readBigUInt64LE(at);
  if (value > 1n << 51n) throw new FormatError(`damaged squashfs image: an offset or size of ${value} bytes`);
  return Number(value);
}
