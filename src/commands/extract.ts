// SPDX-License-Identifier: Apache-2.0
import { lstatSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import { Failure } from '../failure.ts';
import { fromText } from '../format/bytes.ts';
import { createReporter } from '../ui/reporter.ts';

interface ExtractOptions {
  output?: string;
  quiet?: boolean;
}

/** Defines `bundler extract`. */
export function defineExtract(program: Command): void {
  program
    .command('extract')
    .summary('unpack the root file system of a bundle or an image')
    .description(
      'Unpacks the root file system into a new directory. The payload of a bundle is compared with its digest first. ' +
        "Root keeps the image's owners; for everybody else all files are their own.",
    )
    .argument('<file>', 'a bundle (.run) or a squashfs image (.sqsh)')
    .option('-o, --output <dir>', "the directory to make (default: the file's name without its ending)")
    .option('-q, --quiet', 'print errors only')
    .action(async (path: string, options: ExtractOptions) => {
      const reporter = createReporter({ quiet: options.quiet === true });
      const { openBundle } = await import('../bundle/open.ts');
      const { findVerifiedPayload } = await import('../bundle/verified-payload.ts');
      const { runRole } = await import('../launcher/role.ts');
      const target = resolve(
        options.output ?? basename(path).replace(/\.(run|sqsh|squashfs|sqfs|sfs|squash|img)$/, ''),
      );
      refuseExisting(target);
      const opened = await openBundle(path);
      const { offset, sizeBytes } = await findVerifiedPayload(opened, 'extract', (totalBytes) =>
        reporter.progress('verifying', totalBytes),
      );
      opened.file.close();
      await runRole(
        [
          ['role', 'extract'],
          ['file', fromText(resolve(path))],
          ['offset', String(offset)],
          ['size', String(sizeBytes)],
          ['target', fromText(target)],
          ['quiet', options.quiet === true ? '1' : '0'],
        ],
        { show: true },
      );
      reporter.result(target);
    });
}

function refuseExisting(target: string): void {
  if (lstatSync(target, { throwIfNoEntry: false }) === undefined) return;
  throw new Failure(`cannot extract to ${target}: it exists`, { hint: 'name a new directory with --output' });
}
