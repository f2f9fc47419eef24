// SPDX-License-Identifier: Apache-2.0
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Opened, OpenFile } from '../bundle/open.ts';
import { explain, Failure } from '../failure.ts';
import { quoteForShell } from '../format/bytes.ts';
import type { EmbeddedConfiguration } from '../format/manifest.ts';
import { findSection } from '../format/sections.ts';
import { formatSize } from '../ui/format-size.ts';
import { createReporter } from '../ui/reporter.ts';

/** Defines `bundler inspect`. */
export function defineInspect(program: Command): void {
  program
    .command('inspect')
    .summary('show what is in a bundle or an image')
    .description(
      'Shows the sections, the manifest, sizes and the digest of a bundle, or what a plain squashfs image is.',
    )
    .argument('<file>', 'a bundle (.run) or a squashfs image (.sqsh)')
    .option('--json', 'print it as JSON, with the whole manifest')
    .option('--gpu-plan', 'show which GPUs of this host, and what of their drivers, a start of the bundle would use')
    .action(async (path: string, options: { json?: boolean; gpuPlan?: boolean }) => {
      const reporter = createReporter();
      const { openBundle } = await import('../bundle/open.ts');
      const opened = await openBundle(path);
      if (options.gpuPlan === true) {
        process.exitCode = await planGpus(opened, options.json === true);
        return;
      }
      const facts = opened.kind === 'bundle' ? describeBundle(opened) : await describeImage(opened);
      opened.file.close();
      if (options.json === true) reporter.json({ file: path, sizeBytes: opened.file.sizeBytes, ...facts.data });
      else reporter.result(facts.text);
    });
}

/** The planner of a start tells: the launcher starts it. */
async function planGpus(opened: Opened, json: boolean): Promise<number> {
  const { path } = opened.file;
  opened.file.close();
  if (opened.kind !== 'bundle' || findSection(opened.table, 'payload') === undefined) {
    throw new Failure(`cannot plan GPUs for ${path}: only a bundle can be started`, {
      hint: `make one: bundler make ${quoteForShell(path)}`,
    });
  }
  const { startBundle } = await import('../launcher/start-bundle.ts');
  return startBundle(resolve(path), ['--gpu-plan', ...(json ? ['--json'] : [])]);
}

interface Description {
  readonly data: Record<string, unknown>;
  readonly text: string;
}

function describeBundle(opened: Opened & { kind: 'bundle' }): Description {
  const { file, table, manifest } = opened;
  const payload = findSection(table, 'payload');
  const kind = payload === undefined ? 'tool' : 'bundle';
  const sections = table.sections.map((section) => ({ ...section, digest: section.digest.toString('hex') }));
  const digest = payload?.digest.toString('hex');
  const data = { kind, ...(payload && { digest, payloadOffset: payload.offset }), sections, manifest };
  const { provenance, image, options, configuration } = manifest;
  const rows: [string, string][] = [
    ['name', manifest.name],
    ['description', manifest.description],
    ['kind', kind],
    ['made', describeProvenance(provenance)],
    ['size', formatSize(file.sizeBytes)],
  ];
  if (payload !== undefined && digest !== undefined) {
    rows.push([
      'payload',
      `${formatSize(payload.sizeBytes)}, to be listed with: unsquashfs -l -o ${payload.offset} ${quoteForShell(file.path)}`,
    ]);
    if (image) rows.push(['image', describeSquashfs(image)]);
    rows.push(['digest', digest]);
  }
  if (options.target !== '') rows.push(['target', options.target]);
  if (options.env.length > 0) rows.push(['env', options.env.join(' ')]);
  if (options.rc !== null) rows.push(['rc', `a script of ${Buffer.byteLength(options.rc)} bytes`]);
  if (options.entrypoint !== null) rows.push(['entrypoint', JSON.stringify(options.entrypoint)]);
  if (configuration !== undefined) rows.push(['enroot', describeConfiguration(configuration)]);
  const lines = sections.map(
    ({ name, offset, sizeBytes, digest: sectionDigest }) =>
      `${name.padEnd(16)} ${String(offset).padStart(14)} ${String(sizeBytes).padStart(14)}  ${sectionDigest}`,
  );
  const head = `${'section'.padEnd(16)} ${'offset'.padStart(14)} ${'bytes'.padStart(14)}  SHA-256 (payload: root of the hash tree)`;
  return { data, text: [formatRows(rows), '', head, ...lines].join('\n') };
}

/** The names of what is embedded; values may be secrets. */
function describeConfiguration({ settings, files }: EmbeddedConfiguration): string {
  const names = files.map(({ path, builtin }) => (builtin === '' ? path : `${path} (served by bundler)`));
  return [...Object.keys(settings), ...names].join(' ');
}

async function describeImage(opened: Opened & { kind: 'image' }): Promise<Description> {
  const { file, superblock } = opened;
  const digest = await explain(`cannot read ${file.path}`, () => digestFile(file));
  return {
    data: { kind: 'image', digest, image: superblock },
    text: formatRows([
      ['kind', 'squashfs image'],
      ['made', formatTime(superblock.modifiedSeconds)],
      ['size', formatSize(file.sizeBytes)],
      ['image', describeSquashfs(superblock)],
      ['digest', digest],
    ]),
  };
}

/** The digest that a bundle of this image would have. */
async function digestFile(file: OpenFile): Promise<string> {
  const { readChunks } = await import('../bundle/copy.ts');
  const { startTree } = await import('../format/hash-tree.ts');
  const hasher = startTree();
  await readChunks(file.descriptor, { offset: 0, sizeBytes: file.sizeBytes }, (chunk) => hasher.update(chunk));
  return hasher.finish().root.toString('hex');
}

function describeSquashfs(image: {
  compressor: string;
  blockSizeBytes: number;
  inodes: number;
  usedBytes: number;
}): string {
  return `squashfs, ${image.compressor}, blocks of ${image.blockSizeBytes >> 10} KiB, ${image.inodes} inodes, ${formatSize(image.usedBytes)}`;
}

/** The tool itself is made of no image and, so that its bytes are the same each time, at no time. */
function describeProvenance(made: { createdSeconds: number; bundler: string; source: string }): string {
  const time = made.createdSeconds === 0 ? '' : `${formatTime(made.createdSeconds)} `;
  return `${time}by bundler ${made.bundler}${made.source === '' ? '' : ` from ${made.source}`}`;
}

function formatTime(seconds: number): string {
  const time = new Date(seconds * 1000);
  return Number.isNaN(time.getTime()) ? `${seconds} s after 1970` : time.toISOString().replace('.000Z', 'Z');
}

function formatRows(rows: readonly [string, string][]): string {
  return rows
    .filter(([, value]) => value !== '')
    .map(([label, value]) => `${`${label}:`.padEnd(13)}${escapeControls(value)}`)
    .join('\n');
}

/** A manifest may come from anybody; it must not drive the terminal. */
function escapeControls(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, (character) =>
    JSON.stringify(character)
      .slice(1, -1)
      .replace(/^\x7f$/, '\\u007f'),
  );
}
