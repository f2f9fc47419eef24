// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../format/bytes.ts';
import type { Fact } from '../format/wire.ts';
import { firstDescriptor, startRole } from './role.ts';
import { clampTime, RolePacker } from './role-packer.ts';

export interface PackOptions {
  /** gzip, lzma, xz, lz4 or zstd. */
  readonly compressor: string;
  /** null: the compressor's default, which is mksquashfs' as well. */
  readonly level: number | null;
  readonly lz4Hc?: boolean;
  /** A power of two from 4096 to 1 MiB. */
  readonly blockSizeBytes: number;
  /** What is stored as it is (mksquashfs -noD, -noI, -noF, -noX). */
  readonly uncompressed: {
    readonly data?: boolean;
    readonly inodes?: boolean;
    readonly fragments?: boolean;
    readonly xattrs?: boolean;
  };
  readonly noFragments?: boolean;
  readonly noDuplicates?: boolean;
  /** The image's time, seconds since 1970. */
  readonly createdSeconds: number;
  /** Threads that compress. The image is the same for any number. */
  readonly threads: number;
}

export interface InodeAttributes {
  /** Permissions with setuid, setgid and sticky: 0 to 07777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Any whole number; squashfs stores 0 to 2^32-1 and what is outside becomes the nearest of these. */
  readonly mtimeSeconds: number;
  /** How many names it has; of a directory 2 and one for each directory in it. */
  readonly nlink: number;
  /** A set that defineXattrs gave, or -1. */
  readonly xattrs: number;
}

export interface DirectoryEntry {
  readonly name: Bytes;
  readonly number: number;
}

/**
 * Writes a squashfs image: contents first, then inodes (numbered from 1 without a gap, each defined once, a directory after what is in it),
 * then finish. Calls only queue; what was wrong with one is what `drained` or `finish` rejects with.
 */
export interface Packer {
  /** Stores a file's whole content and gives its number. The buffer must not be changed afterwards. */
  storeFile(content: Buffer): number;
  /** Begins a content of that size, to be given by writeData and writeHole, and gives its number. */
  beginFile(sizeBytes: number): number;
  /** The chunk must not be changed afterwards: it may be written later. */
  writeData(chunk: Buffer): void;
  /** Zeros, which cost nothing. */
  writeHole(sizeBytes: number): void;
  endFile(): void;
  /**
   * The number of a set of attributes, the same for equal sets; -1 for none. Names that squashfs cannot store (canStoreXattr) are left out.
   */
  defineXattrs(set: ReadonlyMap<Bytes, Buffer>): number;
  /** content: a number that no other inode has, or null for an empty file. */
  defineFile(number: number, attributes: InodeAttributes, content: number | null): void;
  defineSymlink(number: number, attributes: InodeAttributes, target: Bytes): void;
  defineDevice(number: number, attributes: InodeAttributes, kind: 'char' | 'block', major: number, minor: number): void;
  defineFifo(number: number, attributes: InodeAttributes): void;
  /** Entries sorted by bytes; parent: its number, of the root the count of all inodes plus one. */
  defineDirectory(
    number: number,
    attributes: InodeAttributes,
    parent: number,
    entries: readonly DirectoryEntry[],
  ): void;
  /** Rejects with the role's own Failure when it fails, also while nothing is written; never resolves. Need not be looked at. */
  readonly failed: Promise<never>;
  /** Resolves when little waits to be written; to be awaited now and then by whoever writes much. Rejects with the role's own Failure. */
  drained(): Promise<void>;
  /** Completes the image, whose size is padded to 4096 bytes. Rejects with the role's own Failure. */
  finish(inodes: number, root: number): Promise<{ sizeBytes: number; bytesUsed: number }>;
  /** Gives up: ends the role and waits for it. What is in the target is of no use. */
  abort(): Promise<void>;
}

/** Starts the launcher's role pack, which writes an image into an open file (read-write, from its start). Failures to write it call it `name`. */
export function startPacker(target: number, options: PackOptions, name = 'the image'): Packer {
  return new RolePacker(startRole(describeOptions(options), { descriptors: [target] }), name);
}

function describeOptions(options: PackOptions): Fact[] {
  const { uncompressed } = options;
  const flags = {
    noD: uncompressed.data,
    noI: uncompressed.inodes,
    noF: uncompressed.fragments,
    noX: uncompressed.xattrs,
    'no-fragments': options.noFragments,
    'no-duplicates': options.noDuplicates,
    'lz4-hc': options.lz4Hc,
  };
  return [
    ['role', 'pack'],
    ['target', String(firstDescriptor)],
    ['compressor', options.compressor],
    ['level', options.level === null ? '' : String(options.level)],
    ['block', String(options.blockSizeBytes)],
    ['time', String(clampTime(options.createdSeconds))],
    ['threads', String(options.threads)],
    ...Object.entries(flags)
      .filter(([, wanted]) => wanted === true)
      .map(([flag]): Fact => ['flag', flag]),
  ];
}
