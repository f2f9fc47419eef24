// SPDX-License-Identifier: Apache-2.0
import { lstatSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import type { Opened } from '../bundle/open.ts';
import { explain, Failure } from '../failure.ts';
import { fromText } from '../format/bytes.ts';
import { findSection } from '../format/sections.ts';
import { createReporter, type Reporter } from '../ui/reporter.ts';

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
      const { runRole } = await import('../launcher/role.ts');
      const target = resolve(
        options.output ?? basename(path).replace(/\.(run|sqsh|squashfs|sqfs|sfs|squash|img)$/, ''),
      );
      refuseExisting(target);
      const opened = await openBundle(path);
      const { offset, sizeBytes } = await findPayload(opened, reporter);
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

async function findPayload(opened: Opened, reporter: Reporter): Promise<{ offset: number; sizeBytes: number }> {
  const { path } = opened.file;
  if (opened.kind === 'image') return { offset: 0, sizeBytes: opened.file.sizeBytes };
  const payload = findSection(opened.table, 'payload');
  if (payload === undefined) {
    throw new Failure(`cannot extract ${path}: it has no payload`, { hint: 'give a bundle made with "bundler make"' });
  }
  const { verifyPayloadOf } = await import('../bundle/verify.ts');
  const progress = reporter.progress('verifying', payload.sizeBytes);
  const verdict = await explain(`cannot read ${path}`, () =>
    verifyPayloadOf(opened.file.descriptor, opened.table, (bytes) => progress.advance(bytes)),
  ).finally(() => progress.end());
  if (verdict?.ok !== true) {
    throw new Failure(`cannot extract ${path}: its payload is damaged: ${verdict?.problem}`, {
      hint: 'download or copy the file again',
    });
  }
  return payload;
}
