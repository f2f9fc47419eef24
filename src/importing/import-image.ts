// SPDX-License-Identifier: Apache-2.0
import { setFlagsFromString } from 'node:v8';
import { createOutput } from '../bundle/output.ts';
import { explain } from '../failure.ts';
import { fromText } from '../format/bytes.ts';
import { type Packer, startPacker } from '../launcher/pack.ts';
import { emitTree } from '../layer/emit-tree.ts';
import { type AddedEntry, mergeLayers } from '../layer/merge-layers.ts';
import { parseImageConfig } from '../source/config.ts';
import type { OnEvent } from '../source/events.ts';
import type { Image } from '../source/image.ts';
import { canMountVolume, makeContents } from './contents.ts';
import type { PackSettings } from './pack-settings.ts';

export interface WriteRequest {
  readonly packing: PackSettings;
  /** SOURCE_DATE_EPOCH: the image's own time, and no file in it is newer. Without it the image's time is that of its configuration. */
  readonly sourceDateSeconds: number | null;
  readonly onEvent: OnEvent;
}

export interface ImportRequest extends WriteRequest {
  readonly output: string;
  readonly force: boolean;
}

export interface WrittenImage {
  readonly sizeBytes: number;
  readonly inodes: number;
}

export interface ImportedImage extends WrittenImage {
  readonly output: string;
  readonly reference: string;
  readonly manifestDigest: string;
}

/**
 * Writes an image's merged layers and enroot's files as a squashfs image, which appears when it is whole. The caller closes the image. Throws Failure; then
 * nothing is left behind but the cache.
 */
export async function importImage(image: Image, request: ImportRequest): Promise<ImportedImage> {
  const output = await createOutput(request.output, { force: request.force, mode: 0o644 });
  try {
    request.onEvent({ event: 'writing', output: request.output });
    const written = await explain(`cannot write ${request.output}`, () =>
      writeImage(image, output.descriptor, request, request.output),
    );
    await output.commit();
    return { output: request.output, reference: image.reference, manifestDigest: image.manifestDigest, ...written };
  } finally {
    output.discard();
  }
}

/** The same into an open file, which must be empty and which messages call `name`: one pass, no unpacked copy, no privileges. The same image gives the same bytes. Throws Failure. */
export async function writeImage(
  image: Image,
  descriptor: number,
  request: WriteRequest,
  name: string,
): Promise<WrittenImage> {
  tuneCollector();
  const { onEvent } = request;
  const config =
    image.config === null ? null : parseImageConfig(image.config, `the configuration of ${image.reference}`);
  const createdSeconds = request.sourceDateSeconds ?? readTime(config?.created ?? '');
  const added: AddedEntry[] =
    config === null || image.config === null
      ? []
      : makeContents({ ...image, config, configBytes: image.config }, createdSeconds);
  const workdir = config?.config.WorkingDir ?? '';
  warnOfEnvironment(config?.config.Env ?? [], onEvent);
  warnOfVolumes(Object.keys(config?.config.Volumes ?? {}), onEvent);
  const packer = startPacker(descriptor, { ...request.packing.options, createdSeconds }, name);
  try {
    // What fails while another layer is read, or while all wait for the network, ends the import at once.
    const fetching = image.fetch?.(onEvent) ?? Promise.resolve();
    const merge = mergeLayers(
      {
        layers: image.layers,
        added,
        directories: workdir === '' ? [] : [fromText(workdir)],
        mtimeSeconds: createdSeconds,
        onLayer: (index, state) =>
          onEvent({ event: 'layer', index, state: state === 'begin' ? 'reading' : 'done', presentBytes: null }),
      },
      packer,
    );
    const tree = await Promise.race([merge, fetching.then(() => merge), packer.failed]);
    return await finish(tree, packer, request, createdSeconds);
  } catch (error) {
    await image.close();
    await packer.abort();
    throw error;
  }
}

/** /etc/environment has a line for each variable: one whose value has several is in image.json only, from where bundles and export have it. */
function warnOfEnvironment(env: readonly string[], onEvent: OnEvent): void {
  const names = env.filter((variable) => variable.includes('\n')).map((variable) => variable.split('=', 1)[0]);
  if (names.length === 0) return;
  onEvent({
    event: 'warning',
    text: `left out of /etc/environment, as its value has several lines: ${names.join(', ')}`,
  });
}

/** Such a volume is in image.json only. */
function warnOfVolumes(paths: readonly string[], onEvent: OnEvent): void {
  const left = paths.filter((path) => !canMountVolume(path));
  if (left.length === 0) return;
  const shown = left.map((path) => JSON.stringify(path)).join(', ');
  onEvent({ event: 'warning', text: `left out of /etc/fstab, as a path with a variable in it could be any: ${shown}` });
}

/**
 * Fits V8's garbage collector to an import. The entries of a large image all live on, for which it makes the young generation larger and larger: 90 MB more for 150,000
 * files, and no gain of time. And zlib's and the files' buffers, of which there are hundreds of megabytes that live for a moment, make it mark a small heap again and again, for a
 * seventh of all CPU time, unless they count together with the heap and are marked in one go.
 */
function tuneCollector(): void {
  for (const flag of [
    '--semi-space-growth-factor=1',
    '--external-memory-accounted-in-global-limit',
    '--no-incremental-marking',
  ]) {
    setFlagsFromString(flag);
  }
}

async function finish(
  tree: Awaited<ReturnType<typeof mergeLayers>>,
  packer: Packer,
  request: WriteRequest,
  createdSeconds: number,
): Promise<WrittenImage> {
  const { sourceDateSeconds, packing } = request;
  const { inodes, root, droppedXattrs } = await emitTree(tree, packer, {
    latestSeconds: sourceDateSeconds === null ? null : createdSeconds,
    noXattrs: packing.noXattrs,
    allRoot: packing.allRoot,
  });
  if (droppedXattrs > 0) {
    request.onEvent({
      event: 'warning',
      text: `${droppedXattrs} extended attributes were left out: squashfs stores only user., trusted. and security. ones`,
    });
  }
  const { sizeBytes } = await packer.finish(inodes, root);
  return { sizeBytes, inodes };
}

/** An RFC 3339 time in seconds since 1970; 0 where there is none, as a squashfs image must have one. */
function readTime(text: string): number {
  const seconds = Math.floor(Date.parse(text) / 1000);
  return Number.isNaN(seconds) || seconds < 0 || seconds > 0xffffffff ? 0 : seconds;
}
