// SPDX-License-Identifier: Apache-2.0
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { addSourceOptions, type SourceFlags, withImage } from '../importing/source-options.ts';
import { formatSize } from '../ui/format-size.ts';

interface ImportFlags extends SourceFlags {
  output?: string;
  force?: boolean;
}

/** Defines `bundler import`. */
export function defineImport(program: Command): void {
  const command = program
    .command('import')
    .summary('make a squashfs image of a container image')
    .description(
      'Makes a squashfs image (.sqsh) of a container image, in one pass and without privileges. Its ENTRYPOINT, CMD, WORKDIR, ENV and volumes become the files ' +
        'that enroot starts a container by; owners, attributes and devices are kept.',
    )
    .argument('<image>', 'where the image is, see below')
    .option('-o, --output <file>', 'the file to write (default: NAME+TAG.sqsh in the current directory)')
    .option('-f, --force', 'replace the output file when it exists');
  addSourceOptions(command).action(async (text: string, flags: ImportFlags) => {
    await withImage(text, flags, async ({ image, settings, view, reporter }) => {
      const { importImage } = await import('../importing/import-image.ts');
      const { choosePacking } = await import('../importing/pack-settings.ts');
      const output = flags.output ?? `${image.name}.sqsh`;
      const imported = await importImage(image, {
        output,
        force: flags.force === true || settings.forceOverride,
        packing: choosePacking(settings, view.show),
        sourceDateSeconds: settings.sourceDateSeconds,
        onEvent: view.show,
      });
      view.end();
      if (flags.json === true) view.finish({ ...imported, output: resolve(output) });
      else reporter.result(`${output} (${formatSize(imported.sizeBytes)})`);
    });
  });
}
