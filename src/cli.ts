// SPDX-License-Identifier: Apache-2.0
import { Command, type CommanderError } from 'commander';
import { defineCache } from './commands/cache.ts';
import { defineDigest } from './commands/digest.ts';
import { defineDoctor } from './commands/doctor.ts';
import { defineExport } from './commands/export.ts';
import { defineExtract } from './commands/extract.ts';
import { defineImport } from './commands/import.ts';
import { defineInspect } from './commands/inspect.ts';
import { defineLoad } from './commands/load.ts';
import { defineMake } from './commands/make.ts';
import { defineRun } from './commands/run.ts';
import { defineVerify } from './commands/verify.ts';
import { UsageFailure } from './failure.ts';
import { version } from './version.ts';

const commands = [
  defineMake,
  defineImport,
  defineLoad,
  defineExport,
  defineInspect,
  defineVerify,
  defineExtract,
  defineRun,
  defineDigest,
  defineCache,
  defineDoctor,
];

/** The command line of bundler. print gets the text of --help and --version. */
export function createProgram(print: (text: string) => void): Command {
  const program = new Command('bundler')
    .description('Turns a container image into one executable file that runs anywhere.')
    .version(version, '--version', 'show the version')
    .usage('COMMAND [OPTION]... [ARGUMENT]...')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show the help of a command')
    .showSuggestionAfterError(true)
    .enablePositionalOptions()
    .configureOutput({ writeOut: print, writeErr: () => {}, getOutHelpWidth: () => process.stdout.columns ?? 100 });
  for (const define of commands) define(program);
  for (const command of listCommands(program)) command.exitOverride((error) => throwUsage(error, command));
  return program;
}

function listCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(listCommands)];
}

/** `bundler cache list`: a command with those above it. */
function nameWithParents(command: Command): string {
  return command.parent === null ? command.name() : `${nameWithParents(command.parent)} ${command.name()}`;
}

/** Commander's ends that are no errors (help, version) pass; the others become one line and the usage. */
function throwUsage(error: CommanderError, command: Command): never {
  if (error.exitCode === 0) throw error;
  // Commander's way to say that a command is missing is its whole help.
  if (error.code === 'commander.help')
    throw new UsageFailure('a command is missing', `${nameWithParents(command)} ${command.usage()}`);
  const message = error.message
    .replace(/^error: /, '')
    .replace(/\.?\s*\n/g, ' ')
    // Commander would repeat the whole argument, which may hold a secret: the name before the = is enough.
    .replace(/^option '(?:-\w, )?(--\S+)[^']*' argument '([^'=]*)[\s\S]*' is invalid\. /, '$1 $2: ')
    .trim();
  const name = command.parent === null ? '' : `${nameWithParents(command).slice('bundler '.length)}: `;
  throw new UsageFailure(`${name}${message}`, `${nameWithParents(command)} ${command.usage()}`);
}
