// SPDX-License-Identifier: Apache-2.0
import { type Command, InvalidArgumentError } from 'commander';
import type { CacheContents } from '../cache/list.ts';
import type { Pruned } from '../cache/prune.ts';
import { Failure } from '../failure.ts';
import { formatSize } from '../ui/format-size.ts';
import { createReporter } from '../ui/reporter.ts';

interface PruneFlags {
  olderThan?: number;
  maxSize?: number;
  all?: boolean;
  dryRun?: boolean;
  json?: boolean;
  quiet?: boolean;
}

/** Defines `bundler cache list` and `bundler cache prune`. */
export function defineCache(program: Command): void {
  const cache = program
    .command('cache')
    .summary('show or remove downloaded layers')
    .description(
      'Downloaded layers, configurations and manifests are kept in the directory ENROOT_CACHE_PATH (default: enroot in XDG_CACHE_HOME, else in ~/.cache), ' +
        'where all imports of all hosts that use the same directory find them. Files of enroot in it are left alone.',
    )
    .helpCommand(false);
  cache
    .command('list')
    .summary('show what is in the cache')
    .description('Shows what is in the cache, the least recently used first, and downloads that are not complete.')
    .option('--json', 'print it as JSON')
    .action(async (flags: { json?: boolean }) => {
      const reporter = createReporter();
      const { listCache } = await import('../cache/list.ts');
      const contents = await listCache(await findCacheDirectory());
      if (flags.json === true) reporter.json(contents);
      else reporter.result(formatContents(contents));
    });
  cache
    .command('prune')
    .summary('remove what is not needed any more')
    .description(
      'Removes what the options say, and in any case downloads that nobody goes on with. It may run beside imports: what these have got stays readable for them.',
    )
    .option('--older-than <time>', 'remove what was not used for so long: 12h, 7d, 4w', parseTime)
    .option(
      '--max-size <size>',
      'remove what was not used for the longest time, until the rest fits: 500M, 10G',
      parseSize,
    )
    .option('--all', 'remove everything')
    .option('--dry-run', 'remove nothing, show what would be removed')
    .option('--json', 'print what was removed as JSON')
    .option('-q, --quiet', 'print errors only')
    .action(async (flags: PruneFlags) => {
      const reporter = createReporter({ quiet: flags.quiet === true });
      const { pruneCache } = await import('../cache/prune.ts');
      const pruned = await pruneCache(await findCacheDirectory(), {
        ...(flags.olderThan !== undefined && { olderThanSeconds: flags.olderThan }),
        ...(flags.maxSize !== undefined && { maxBytes: flags.maxSize }),
        all: flags.all === true,
        dryRun: flags.dryRun === true,
      });
      if (flags.json === true) reporter.json(pruned);
      else reporter.result(formatPruned(pruned, flags.dryRun === true));
      if (pruned.failed.length > 0) {
        throw new Failure(`cannot remove ${pruned.failed.join('; ')}`, {
          hint: 'have it pruned by whom the cache belongs to',
        });
      }
    });
}

async function findCacheDirectory(): Promise<string> {
  const { readBuildSettings } = await import('../settings/build-settings.ts');
  return (await readBuildSettings(process.env)).cacheDirectory();
}

function formatContents({ directory, blobs, partials }: CacheContents): string {
  const lines = blobs.map(({ digest, sizeBytes, lastUseSeconds }) => {
    const time = new Date(lastUseSeconds * 1000).toISOString().slice(0, 16).replace('T', ' ');
    return `${digest}  ${formatSize(sizeBytes).padStart(9)}  ${time} UTC`;
  });
  for (const { digest, sizeBytes, live } of partials) {
    lines.push(`${digest}  ${formatSize(sizeBytes).padStart(9)}  ${live ? 'being downloaded' : 'not complete'}`);
  }
  const totalBytes = [...blobs, ...partials].reduce((total, { sizeBytes }) => total + sizeBytes, 0);
  return [...lines, `${formatSize(totalBytes)} in ${directory}`].join('\n');
}

function formatPruned({ removed, removedBytes, keptBytes }: Pruned, dryRun: boolean): string {
  const lines = removed
    .filter(({ kind }) => kind !== 'lease')
    .map(
      ({ kind, digest, sizeBytes }) =>
        `${digest}  ${formatSize(sizeBytes)}${kind === 'partial' ? ', not complete' : ''}`,
    );
  const verb = dryRun ? 'would be removed' : 'removed';
  return [...lines, `${formatSize(removedBytes)} ${verb}, ${formatSize(keptBytes)} kept`].join('\n');
}

const secondsOf: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

function parseTime(text: string): number {
  const match = /^(\d{1,9})([smhdw])$/.exec(text);
  if (match === null) throw new InvalidArgumentError('a time is a number and s, m, h, d or w: 7d');
  return Number(match[1]) * (secondsOf[match[2] as string] as number);
}

function parseSize(text: string): number {
  const match = /^(\d{1,12}(?:\.\d{1,3})?)([KMGT]?)(?:i?B)?$/i.exec(text);
  if (match === null) throw new InvalidArgumentError('a size is a number of bytes, or one with K, M, G or T: 10G');
  const power = ['', 'K', 'M', 'G', 'T'].indexOf((match[2] as string).toUpperCase());
  return Math.floor(Number(match[1]) * 1024 ** power);
}
