// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { addSourceOptions, type SourceFlags, withImage } from '../importing/source-options.ts';

interface LoadFlags extends SourceFlags {
  name?: string;
  force?: boolean;
}

/** Defines `bundler load`. */
export function defineLoad(program: Command): void {
  const command = program
    .command('load')
    .summary('unpack a container image as a container')
    .description(
      'Unpacks a container image as the root filesystem of a container in ENROOT_DATA_PATH (default: enroot in XDG_DATA_HOME, else in ~/.local/share). ' +
        'For root the owners are kept; for everybody else all files are their own.',
    )
    .argument('<image>', 'where the image is, see below')
    .option('-n, --name <name>', 'the name of the container (default: NAME+TAG)', parseName)
    .option('-f, --force', 'replace the container when it exists');
  addSourceOptions(command).action(async (text: string, flags: LoadFlags) => {
    await withImage(text, flags, async ({ image, settings, view, reporter }) => {
      const { loadImage } = await import('../importing/load-image.ts');
      const { choosePacking } = await import('../importing/pack-settings.ts');
      const target = join(settings.dataDirectory(), flags.name ?? image.name);
      await loadImage(image, {
        target,
        force: flags.force === true || settings.forceOverride,
        quiet: flags.quiet === true || flags.json === true,
        packing: choosePacking(settings, view.show),
        sourceDateSeconds: settings.sourceDateSeconds,
        onEvent: view.show,
      });
      view.end();
      if (flags.json === true)
        view.finish({ container: target, reference: image.reference, manifestDigest: image.manifestDigest });
      else reporter.result(target);
    });
  });
}

/** A container's name is a directory's. */
function parseName(name: string): string {
  if (name === '' || name.startsWith('.') || /[/\x00-\x1f\x7f]/.test(name)) {
    throw new InvalidArgumentError('a name has no slash, no control characters, and no dot in front');
  }
  return name;
}
