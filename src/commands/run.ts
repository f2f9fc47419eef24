// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { Failure } from '../failure.ts';

/**
 * Defines `bundler run`. The launcher starts bundles itself, before any of this is loaded; only the help and the wrong uses
 * arrive here.
 */
export function defineRun(program: Command): void {
  program
    .command('run')
    .summary('start a bundle that cannot be executed by itself')
    .description(
      'Starts a bundle as if it had been executed: for a file without its x bit, or on a file system mounted noexec. ' +
        'Options and arguments after the file are those of the bundle (FILE --help lists them).',
    )
    .argument('<file>', 'the bundle')
    .argument('[arguments...]', 'options of the bundle, then the command and its arguments')
    .helpOption('-h, --help', 'show this help; to see the options of the bundle: bundler run FILE --help')
    .allowUnknownOption()
    .passThroughOptions()
    .action((file: string) => {
      throw new Failure(`cannot run ${file}: only the launcher of a built bundler starts bundles`, {
        hint: 'build it with "npm run build" and use dist/bundler run',
      });
    });
}
