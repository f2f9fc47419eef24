// SPDX-License-Identifier: Apache-2.0
import { explain, Failure } from '../failure.ts';
import { startsAsElf } from '../format/elf.ts';
import { FormatError } from '../format/format-error.ts';
import type { BuildOptions, EmbeddedConfiguration, ImageConfig, Manifest } from '../format/manifest.ts';
import { findSection } from '../format/sections.ts';
import type { Fact } from '../format/wire.ts';
import { imageQuestion, interpretReading } from '../image/rootfs-facts.ts';
import { readSuperblock } from '../image/superblock.ts';
import { openSelf } from '../launcher/self.ts';
import type { Progress } from '../ui/reporter.ts';
import { version } from '../version.ts';
import { nameFile, type OpenFile, openFile } from './open.ts';
import { createOutput } from './output.ts';
import { estimateSizeBytes, writeBundle } from './write.ts';

export interface MakeRequest {
  /** Path of a squashfs image. */
  readonly image: string;
  /** What is told of its origin: a file's name, or where it was imported from. */
  readonly reference: string;
  readonly output: string;
  readonly force: boolean;
  readonly name: string;
  readonly description: string;
  readonly createdSeconds: number;
  readonly options: BuildOptions;
  /** What readConfiguration found. */
  readonly configuration: EmbeddedConfiguration | undefined;
}

export interface MadeBundle {
  readonly output: string;
  readonly sizeBytes: number;
  /** Root of the payload's hash tree, in hex. */
  readonly digest: string;
  readonly payloadOffset: number;
}

/**
 * Makes a bundle of a squashfs image. start is told how many bytes will be written and gives the progress to advance.
 * Throws Failure or FormatError; then nothing is left behind.
 */
export async function makeBundle(request: MakeRequest, start: (totalBytes: number) => Progress): Promise<MadeBundle> {
  const image = await openFile(request.image);
  const superblock = await namingFile(request.image, () => checkImage(image));
  const output = await createOutput(request.output, { force: request.force });
  const opened: OpenFile[] = [image];
  try {
    const self = await openSelf();
    opened.push(self.file);
    const progress = start(estimateSizeBytes(self.launcher.sizeBytes, self.runtime.sizeBytes, image.sizeBytes));
    const describe = async (digest: Buffer, answer: readonly Fact[]): Promise<Buffer> => {
      const { rootfs, unpackedBytes, record } = interpretReading(answer);
      const config = await readLaunchConfig(record);
      const manifest: Manifest = {
        manifestVersion: 1,
        name: request.name,
        description: request.description,
        provenance: {
          bundler: version,
          source: request.reference,
          createdSeconds: request.createdSeconds,
        },
        image: {
          compressor: superblock.compressor,
          blockSizeBytes: superblock.blockSizeBytes,
          inodes: superblock.inodes,
          usedBytes: superblock.usedBytes,
          sizeBytes: image.sizeBytes,
          digest: digest.toString('hex'),
          unpackedBytes,
        },
        rootfs,
        ...(config === undefined ? {} : { config }),
        options: request.options,
        ...(request.configuration === undefined ? {} : { configuration: request.configuration }),
      };
      return Buffer.from(JSON.stringify(manifest), 'utf8');
    };
    const table = await explain(`cannot write ${request.output}`, () =>
      namingFile(request.image, () =>
        writeBundle(
          output.descriptor,
          {
            launcher: { ...self.launcher, source: self.file.descriptor },
            runtime: { ...self.runtime, source: self.file.descriptor },
            payload: { source: image.descriptor, sizeBytes: image.sizeBytes, rawSizeBytes: superblock.usedBytes },
            question: imageQuestion,
            describe,
          },
          (bytes) => progress.advance(bytes),
        ),
      ),
    ).finally(() => progress.end());
    await output.commit();
    const payload = findSection(table, 'payload');
    return {
      output: request.output,
      sizeBytes: table.fileSizeBytes,
      digest: payload?.digest.toString('hex') ?? '',
      payloadOffset: payload?.offset ?? 0,
    };
  } finally {
    output.discard();
    for (const file of opened) file.close();
  }
}

/** The OCI configuration of an imported image; its validator is loaded only for one that has it. */
async function readLaunchConfig(record: string): Promise<ImageConfig | undefined> {
  if (record === '') return undefined;
  const { readImageRecord, toLaunchConfig } = await import('../image/image-record.ts');
  const origin = readImageRecord(record);
  return origin === null ? undefined : toLaunchConfig(origin.config);
}

function checkImage(image: OpenFile): ReturnType<typeof readSuperblock> {
  if (startsAsElf(image.readAt(0, 4))) {
    throw new Failure(`cannot make a bundle of ${image.path}: it is an executable, not a squashfs image`, {
      hint: `"bundler inspect ${image.path}" tells whether it is a bundle already`,
    });
  }
  return readSuperblock(image.readAt, image.sizeBytes);
}

async function namingFile<T>(path: string, action: () => T | Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw error instanceof FormatError ? nameFile(error, path) : error;
  }
}
