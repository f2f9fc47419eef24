// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { fdatasync, ftruncateSync } from 'node:fs';
import { FormatError } from '../format/format-error.ts';
import { type HashTree, sha256, treeSizeBytes } from '../format/hash-tree.ts';
import {
  encodeTable,
  layOutSections,
  placeSections,
  type SectionContent,
  type SectionTable,
} from '../format/sections.ts';
import { type Range, readChunks, writeExactly } from './copy.ts';
import { startPayloadCopy } from './copy-payload.ts';

/** A section that is copied from another bundle, with the digest it must have. */
export interface CopiedSection extends Range {
  /** An open descriptor. */
  readonly source: number;
  readonly rawSizeBytes: number;
  readonly digest: Buffer;
}

export interface BundleParts {
  readonly launcher: CopiedSection;
  readonly runtime: CopiedSection;
  readonly payload: { readonly source: number; readonly sizeBytes: number; readonly rawSizeBytes: number };
  /** The manifest's bytes, asked for when the payload's digest (32 bytes) is known. */
  describe(digest: Buffer): Promise<Buffer>;
}

/** Once that much was written, the disk is told to begin, so that the sync at the end is short. */
const flushEveryBytes = 8 << 20;

/**
 * Writes a bundle (docs/format.md) into an empty file: launcher, runtime, payload, manifest, hash tree, then the table.
 * advance is told of every piece written, in bytes. Throws FormatError when a copied section is damaged.
 */
export async function writeBundle(
  target: number,
  parts: BundleParts,
  advance: (bytes: number) => void,
): Promise<SectionTable> {
  const { launcher, runtime, payload } = parts;
  const places = placeSections([launcher.sizeBytes, runtime.sizeBytes, payload.sizeBytes]);
  const [launcherAt, runtimeAt, payloadAt] = places.offsets as [number, number, number];
  const flush = startFlushing(target);
  const write = (data: Buffer, offset: number): void => {
    writeExactly(target, data, offset);
    flush.wrote(data.length);
    advance(data.length);
  };

  const copy = startPayloadCopy(payload.source, target, payloadAt, payload.sizeBytes);
  let tree: HashTree;
  try {
    await copySection(launcher, 'launcher', launcherAt, write);
    await copySection(runtime, 'runtime', runtimeAt, write);
    tree = await copy.finish((bytes) => {
      flush.wrote(bytes);
      advance(bytes);
    });
  } catch (error) {
    await copy.stop();
    throw error;
  }
  const manifest = await parts.describe(tree.root);

  const table = layOutSections([
    { name: 'launcher', sizeBytes: launcher.sizeBytes, rawSizeBytes: launcher.rawSizeBytes, digest: launcher.digest },
    { name: 'runtime', sizeBytes: runtime.sizeBytes, rawSizeBytes: runtime.rawSizeBytes, digest: runtime.digest },
    { name: 'payload', sizeBytes: payload.sizeBytes, rawSizeBytes: payload.rawSizeBytes, digest: tree.root },
    wholeSection('manifest', manifest),
    wholeSection('hashtree', tree.levels),
  ]);
  write(manifest, table.sections[3]?.offset as number);
  write(tree.levels, table.sections[4]?.offset as number);
  write(encodeTable(table), table.tableOffset);
  // An empty last section at a page boundary leaves nothing that would give the file its full size.
  ftruncateSync(target, table.fileSizeBytes);
  await flush.end();
  return table;
}

/** Bytes that a bundle with this payload takes before its manifest is known: for the progress line. */
export function estimateSizeBytes(launcherBytes: number, runtimeBytes: number, payloadBytes: number): number {
  return launcherBytes + runtimeBytes + payloadBytes + treeSizeBytes(payloadBytes);
}

function wholeSection(name: string, data: Buffer): SectionContent {
  return { name, sizeBytes: data.length, rawSizeBytes: data.length, digest: sha256(data) };
}

type Write = (data: Buffer, offset: number) => void;

async function copySection(section: CopiedSection, name: string, targetAt: number, write: Write): Promise<void> {
  const digest = createHash('sha256');
  await readChunks(section.source, section, (chunk, offset) => {
    digest.update(chunk);
    write(chunk, targetAt + offset);
  });
  if (!digest.digest().equals(section.digest)) {
    throw new FormatError(
      `the ${name} section of this bundler is damaged: its SHA-256 does not fit`,
      'install bundler again',
    );
  }
}

/** Has the file's data written back now and then, by one fdatasync(2) at a time in another thread, while more is written. */
function startFlushing(target: number): { wrote(bytes: number): void; end(): Promise<void> } {
  let pendingBytes = 0;
  let running: Promise<void> | undefined;
  let failure: Error | undefined;
  return {
    wrote(bytes) {
      pendingBytes += bytes;
      if (pendingBytes < flushEveryBytes || running !== undefined) return;
      pendingBytes = 0;
      running = new Promise((resolve) => {
        fdatasync(target, (error) => {
          // The kernel tells of a failed write-back once for a descriptor: the sync at the end would not see it again.
          if (error) failure ??= error;
          running = undefined;
          resolve();
        });
      });
    },
    async end() {
      await running;
      if (failure !== undefined) throw failure;
    },
  };
}
