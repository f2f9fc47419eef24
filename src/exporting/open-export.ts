// SPDX-License-Identifier: Apache-2.0
import { statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { openBundle } from '../bundle/open.ts';
import { findVerifiedPayload } from '../bundle/verified-payload.ts';
import { Failure } from '../failure.ts';
import type { Bytes } from '../format/bytes.ts';
import { readImageRecord } from '../image/image-record.ts';
import { imageRecordPath } from '../image/rootfs-facts.ts';
import { readSuperblock } from '../image/superblock.ts';
import type { WalkedSource } from '../launcher/walk.ts';
import { hostPlatform } from '../source/platform.ts';
import type { Progress } from '../ui/reporter.ts';
import { makeImageConfig } from './config.ts';
import { isOfContainerOnly, type Selection } from './select-entries.ts';

/** What is exported: a container's directory, an image, or the image in a bundle. */
export interface ExportSource {
  readonly kind: 'container' | 'image' | 'bundle';
  /** Of the container, or of the file without its ending. */
  readonly name: string;
  readonly walked: WalkedSource;
  readonly selection: Selection;
  /** When it was made; null where nothing tells. */
  readonly createdSeconds: number | null;
  close(): void;
}

const recordPath = imageRecordPath.slice(1);
const environmentPath = 'etc/environment';

/**
 * Finds what a name means: a container in the data directory, as enroot has it, else a .sqsh or .run file. Throws Failure.
 * @param dataDirectory ENROOT_DATA_PATH, asked for only where it matters
 * @param start told how many bytes are verified first
 */
export async function openExport(
  name: string,
  dataDirectory: () => string,
  start: (totalBytes: number) => Progress,
): Promise<ExportSource> {
  const captured = new Map<Bytes, Buffer | null>([
    [recordPath, null],
    [environmentPath, null],
  ]);
  if (name === '') throw new Failure('cannot export: the name is empty');
  const isFile = statSync(name, { throwIfNoEntry: false })?.isFile() === true;
  const directory = findContainer(name, dataDirectory, isFile);
  if (directory !== null) {
    const selection = { leavesOut: isOfContainerOnly, allRoot: process.geteuid?.() !== 0, captured };
    const walked = { directory };
    return { kind: 'container', name, walked, selection, createdSeconds: null, close: () => {} };
  }
  if (isDirectory(name)) {
    throw new Failure(`cannot export ${name}: it is a directory, and no name of a container in ${dataDirectory()}`, {
      hint: `name a container, a .sqsh or a .run; ENROOT_DATA_PATH is where containers are`,
    });
  }
  if (!isFile) {
    throw new Failure(
      `cannot export ${name}: there is no container of that name in ${dataDirectory()}, and no such file`,
      {
        hint: 'name a container, a .sqsh or a .run',
      },
    );
  }
  const opened = await openBundle(name);
  const { descriptor, readAt } = opened.file;
  const payload = await findVerifiedPayload(opened, 'export', start);
  const { modifiedSeconds } = readSuperblock(
    (offset, size) => readAt(payload.offset + offset, size),
    payload.sizeBytes,
  );
  return {
    kind: opened.kind,
    name: basename(name).replace(/\.(run|sqsh|squashfs|sqfs|sfs|squash|img)$/, ''),
    walked: { descriptor, offset: payload.offset, sizeBytes: payload.sizeBytes },
    selection: { leavesOut: () => false, allRoot: false, captured },
    createdSeconds: modifiedSeconds,
    close: () => opened.file.close(),
  };
}

/** The directory of a container of that name; null when there is none. Where there is no place for containers, a file needs none. */
function findContainer(name: string, dataDirectory: () => string, isFile: boolean): string | null {
  if (name.includes('/')) return null;
  try {
    const directory = join(dataDirectory(), name);
    return isDirectory(directory) ? directory : null;
  } catch (error) {
    if (isFile && error instanceof Failure) return null;
    throw error;
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** The image configuration of what was walked: that of the image it was imported from, else what its files say. Call it when the walk has ended. */
export function describeExport(
  source: ExportSource,
  diffIds: readonly string[],
  sourceDateSeconds: number | null,
): Buffer {
  const { captured } = source.selection;
  const original = readImageRecord(captured.get(recordPath)?.toString('utf8') ?? '')?.config ?? null;
  const originalSeconds = original === null ? Number.NaN : Math.floor(Date.parse(original.created) / 1000);
  const known = Number.isNaN(originalSeconds) ? null : originalSeconds;
  const createdSeconds = sourceDateSeconds ?? source.createdSeconds ?? known ?? Math.floor(Date.now() / 1000);
  const environment = captured.get(environmentPath)?.toString('utf8') ?? '';
  return makeImageConfig(original, { platform: hostPlatform(), environment }, diffIds, createdSeconds);
}
