// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { explain, Failure } from '../failure.ts';
import { addAccessOptions, type SourceFlags } from '../importing/source-options.ts';
import { isImageUri } from '../reference/image-uri.ts';
import { readSourceDate } from '../settings/source-date.ts';
import { formatSize } from '../ui/format-size.ts';
import { createReporter, type Reporter } from '../ui/reporter.ts';

const maxScriptBytes = 1 << 20;

interface MakeOptions extends SourceFlags {
  output?: string;
  target?: string;
  description?: string;
  force?: boolean;
  name?: string;
  env?: string[];
  rc?: string;
  entrypoint?: string[];
  all?: boolean;
}

/** Defines `bundler make`. */
export function defineMake(program: Command): void {
  const command = program
    .command('make')
    .summary('make a bundle of an image')
    .description(
      'Makes one executable file that starts a container from a squashfs image, which is copied as it is, or from a container image, which is imported first.',
    )
    .argument('<image>', 'a squashfs image (.sqsh), or where an image is, see below')
    .option('-o, --output <file>', 'the file to write (default: NAME.run in the current directory)')
    .option('-t, --target <dir>', "where a run with --keep or --extract unpacks it, expanded there: '~/np'")
    .option('-d, --description <text>', 'what it is, shown by --info')
    .option('-a, --all', "embed the user's enroot configuration too, and the ENROOT_* variables")
    .option('-f, --force', 'replace the output file when it exists')
    .option('--name <name>', "the bundle's name (default: the image's file name without its ending)", parseName)
    .option('--env <K=V>', 'a variable of the container; may be given again', collectVariable)
    .option('--rc <file>', 'a script to run instead of the /etc/rc of the image')
    .option(
      '--entrypoint <command>',
      'the command put before the arguments: a word, or a JSON list of words',
      parseEntrypoint,
    )
    .option('-q, --quiet', 'print errors only')
    .option('--json', 'print what was made as JSON')
    .addHelpText(
      'after',
      "\nThe system's enroot configuration of this machine (/etc/enroot, or ENROOT_SYSCONF_PATH), if there is one, is embedded: docs/configuration.md." +
        '\nWith SOURCE_DATE_EPOCH set, the same image and options give the same bytes.\n\nExample:\n  bundler make np.sqsh && ./np.run --info',
    );
  addAccessOptions(command, '--arch <platform>').action(async (image: string, given: MakeOptions) => {
    const reporter = createReporter({ quiet: given.quiet === true });
    if (!isImageUri(image)) {
      const source = { image, name: nameOf(basename(image)), reference: basename(image), output: given.output };
      return await make(source, given, reporter);
    }
    const { withImportedImage } = await import('../importing/imported-image.ts');
    const directory = dirname(given.output ?? '.');
    const check = (name: string): Promise<void> =>
      checkBefore(given.output ?? `${given.name ?? nameOf(name)}.run`, given);
    await withImportedImage(image, given, directory, check, async ({ path, name, reference }) => {
      await make({ image: path, name: nameOf(name), reference, output: given.output }, given, reporter);
    });
  });
}

interface MakeSource {
  /** Path of a squashfs image. */
  readonly image: string;
  readonly name: string;
  /** Where it is from, for --info. */
  readonly reference: string;
  readonly output: string | undefined;
}

/** Refuses what would be refused after an import that takes its time. */
async function checkBefore(output: string, given: MakeOptions): Promise<void> {
  const { checkTarget } = await import('../bundle/output.ts');
  checkTarget(output, given.force === true);
  if (given.rc !== undefined) await readScript(given.rc);
}

async function make(source: MakeSource, given: MakeOptions, reporter: Reporter): Promise<void> {
  const name = given.name ?? source.name;
  const rc = given.rc === undefined ? null : await readScript(given.rc);
  const { makeBundle } = await import('../bundle/make.ts');
  const { readConfiguration } = await import('../bundle/configuration.ts');
  const made = await makeBundle(
    {
      image: source.image,
      reference: source.reference,
      output: source.output ?? `${name}.run`,
      force: given.force === true,
      name,
      description: given.description ?? '',
      createdSeconds: readSourceDate(process.env.SOURCE_DATE_EPOCH) ?? Math.floor(Date.now() / 1000),
      options: { target: given.target ?? '', env: given.env ?? [], rc, entrypoint: given.entrypoint ?? null },
      configuration: await readConfiguration(given.all === true, process.env),
    },
    (totalBytes) => (given.json === true ? reporter.silence() : reporter.progress('writing', totalBytes)),
  );
  if (given.json === true) reporter.json(made);
  else reporter.result(`${made.output} (${formatSize(made.sizeBytes)})`);
}

function nameOf(image: string): string {
  const name = image.replace(/\.(sqsh|squashfs|sqfs|sfs|squash|img)$/, '');
  return isName(name) ? name : 'bundle';
}

/** A name becomes a file's and a directory's name. */
function isName(name: string): boolean {
  return (
    name !== '' && name !== '.' && name !== '..' && !/[/\x00-\x1f\x7f]/.test(name) && Buffer.byteLength(name) <= 200
  );
}

function parseName(name: string): string {
  if (!isName(name)) throw new InvalidArgumentError('a name has no slash and no control characters');
  return name;
}

function collectVariable(variable: string, before: string[] = []): string[] {
  if (!/^[A-Za-z_][A-Za-z0-9_]*=/.test(variable)) {
    throw new InvalidArgumentError('a variable is NAME=VALUE, its name of letters, digits and _');
  }
  return [...before, variable];
}

function parseEntrypoint(text: string): string[] {
  if (!text.startsWith('[')) return text === '' ? [] : [text];
  let words: unknown;
  try {
    words = JSON.parse(text);
  } catch {
    words = undefined;
  }
  if (!Array.isArray(words) || !words.every((word) => typeof word === 'string' && !word.includes('\0'))) {
    throw new InvalidArgumentError('a list is written ["word", "word"]');
  }
  return words;
}

async function readScript(path: string): Promise<string> {
  const bytes = await explain(`cannot read the script ${path}`, () => readFileSync(path));
  if (bytes.length > maxScriptBytes) throw new Failure(`cannot use the script ${path}: it is larger than 1 MiB`);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new Failure(`cannot use the script ${path}: it is not text in UTF-8`, { cause: error });
  }
}
