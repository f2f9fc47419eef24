// SPDX-License-Identifier: Apache-2.0
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ExportSource } from '../exporting/open-export.ts';
import type { LayerCompression } from '../exporting/store-layer.ts';
import { Failure } from '../failure.ts';
import type { Session, SourceFlags } from '../importing/source-options.ts';
import { startSession } from '../importing/source-options.ts';
import { formatSize } from '../ui/format-size.ts';

interface ExportFlags extends SourceFlags {
  output?: string;
  force?: boolean;
  format: string;
  compression: LayerCompression;
  tag?: string;
}

interface Exported {
  readonly output: string;
  readonly sizeBytes: number;
  readonly manifestDigest?: string;
  readonly sentBytes?: number;
}

const endings: Readonly<Record<string, string>> = {
  sqsh: '.sqsh',
  oci: '.oci',
  'oci-archive': '.oci.tar',
  'docker-archive': '.tar',
};

/** Defines `bundler export`. */
export function defineExport(program: Command): void {
  program
    .command('export')
    .summary('write a container or an image in another form')
    .description(
      'Writes a container, a squashfs image or the image in a bundle: as a squashfs image (as enroot does), as an image for container engines, or to a registry. ' +
        'The configuration of the image that it was imported from is kept; its files become one layer. The same files give the same digests.',
    )
    .argument('<name>', 'a container in ENROOT_DATA_PATH, a .sqsh or a .run')
    .option(
      '-o, --output <file>',
      'the file or directory to write (default: NAME.sqsh, NAME.oci, NAME.oci.tar or NAME.tar)',
    )
    .option('-f, --force', 'replace the output file when it exists')
    .option(
      '--format <format>',
      'sqsh, oci, oci-archive, docker-archive, or docker://[REGISTRY/]IMAGE[:TAG] to push',
      parseFormat,
      'sqsh',
    )
    .addOption(new Option('--compression <kind>', 'of the layer').choices(['gzip', 'zstd', 'none']).default('gzip'))
    .option('--tag <name>', 'what the image is called in an archive or layout (default: NAME:latest)')
    .option(
      '--user <name>',
      'log in to the registry as this user; asks for the password, or takes it from BUNDLER_PASSWORD',
    )
    .option('--password-stdin', 'read the password from stdin')
    .option('--verbose', 'tell which registries, credentials and retries are used')
    .option('-q, --quiet', 'print errors only')
    .option('--json', 'print what was written as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  bundler export --format docker://registry.example/team/np:1 np.sqsh\n  bundler export --format oci-archive -o np.tar np.run',
    )
    .action(async (name: string, flags: ExportFlags) => {
      const session = await startSession({ ...flags, json: false, quiet: flags.quiet === true || flags.json === true });
      const { openExport } = await import('../exporting/open-export.ts');
      const source = await openExport(name, session.settings.dataDirectory, (totalBytes) =>
        flags.json === true ? session.reporter.silence() : session.reporter.progress('verifying', totalBytes),
      );
      try {
        const exported = await write(source, flags, session);
        session.view.end();
        if (flags.json === true) session.reporter.json(exported);
        else session.reporter.result(describe(exported));
      } finally {
        session.view.end();
        source.close();
      }
    });
}

function parseFormat(format: string): string {
  if (Object.hasOwn(endings, format) || format.startsWith('docker://')) return format;
  throw new InvalidArgumentError('formats are sqsh, oci, oci-archive, docker-archive and docker://IMAGE');
}

function describe({ output, sizeBytes, manifestDigest, sentBytes }: Exported): string {
  const sent =
    sentBytes === undefined ? '' : `, ${sentBytes === 0 ? 'the registry had it' : `${formatSize(sentBytes)} sent`}`;
  const digest = manifestDigest === undefined || manifestDigest === '' ? '' : ` ${manifestDigest}`;
  return `${output} (${formatSize(sizeBytes)}${sent})${digest}`;
}

async function write(source: ExportSource, flags: ExportFlags, session: Session): Promise<Exported> {
  const { format } = flags;
  const force = flags.force === true || session.settings.forceOverride;
  const output = flags.output ?? `${source.name}${endings[format] ?? ''}`;
  if (flags.tag !== undefined && (format === 'sqsh' || !Object.hasOwn(endings, format))) {
    const why = format === 'sqsh' ? 'a squashfs image has no name' : 'it is part of the name that is pushed to';
    throw new Failure(`cannot use --tag ${flags.tag}: ${why}`, { hint: 'leave it out' });
  }
  if (format === 'sqsh') return await writeSquashfs(source, output, force, session);
  const { checkImageName, nameImage } = await import('../exporting/image-name.ts');
  if (flags.tag !== undefined) checkImageName(flags.tag, format);
  const request = await makeRequest(source, flags.tag ?? nameImage(source.name), flags, session);
  if (format === 'oci') return await (await import('../exporting/export-layout.ts')).exportLayout(output, request);
  const { exportDockerArchive, exportOciArchive } = await import('../exporting/export-archive.ts');
  if (format === 'oci-archive') return await exportOciArchive(output, request, force);
  if (format === 'docker-archive') return await exportDockerArchive(output, request, force);
  return await push(format, request, flags, session);
}

async function writeSquashfs(
  source: ExportSource,
  output: string,
  force: boolean,
  { settings, view }: Session,
): Promise<Exported> {
  if (source.kind !== 'container') {
    const { copyPayload } = await import('../exporting/copy-payload.ts');
    return { output, ...(await copyPayload(source, output, force)) };
  }
  const { exportSquashfs } = await import('../exporting/export-squashfs.ts');
  const { choosePacking } = await import('../importing/pack-settings.ts');
  const { sourceDateSeconds } = settings;
  const createdSeconds = sourceDateSeconds ?? Math.floor(Date.now() / 1000);
  return {
    output,
    ...(await exportSquashfs(source, {
      output,
      force,
      packing: choosePacking(settings, view.show),
      createdSeconds,
      sourceDateSeconds,
    })),
  };
}

async function makeRequest(source: ExportSource, reference: string, flags: ExportFlags, { settings, view }: Session) {
  const { describeExport } = await import('../exporting/open-export.ts');
  const { selectEntries } = await import('../exporting/select-entries.ts');
  const { openTreeTar } = await import('../exporting/tree-tar.ts');
  return {
    layers: [{ open: async () => openTreeTar(source.walked, (visitor) => selectEntries(visitor, source.selection)) }],
    makeConfig: (diffIds: readonly string[]) => describeExport(source, diffIds, settings.sourceDateSeconds),
    reference,
    compression: flags.compression,
    onProgress: (bytes: number) => view.show({ event: 'compressed', bytes }),
  };
}

async function push(
  format: string,
  request: Awaited<ReturnType<typeof makeRequest>>,
  flags: ExportFlags,
  session: Session,
): Promise<Exported> {
  const { parseRegistryReference } = await import('../reference/parse-reference.ts');
  const { openRegistryClient } = await import('../importing/open-image.ts');
  const { pushImage } = await import('../exporting/push-image.ts');
  const target = parseRegistryReference(format);
  if (target.digest !== '')
    throw new Failure(`cannot push to ${format}: a digest follows from what is pushed`, { hint: 'give a tag' });
  if (flags.output !== undefined) throw new Failure('cannot push with --output: it goes to the registry');
  const client = await openRegistryClient(target, session.request);
  try {
    const { temporaryDirectory } = session.settings;
    const onSent = (bytes: number, sizeBytes: number): void => session.view.show({ event: 'sent', bytes, sizeBytes });
    return await pushImage({ ...request, client, target, temporaryDirectory, onSent });
  } finally {
    client.close();
  }
}
