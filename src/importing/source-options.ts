// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { Failure } from '../failure.ts';
import type { BuildSettings } from '../settings/build-settings.ts';
import type { Image } from '../source/image.ts';
import { createReporter, type Reporter } from '../ui/reporter.ts';
import { chooseStyle, createTransferView, type TransferView } from '../ui/transfer-view.ts';
import type { OpenRequest } from './open-image.ts';

/** Options of every command that gets an image from somewhere. */
export interface SourceFlags {
  arch?: string;
  user?: string;
  passwordStdin?: boolean;
  quiet?: boolean;
  json?: boolean;
  verbose?: boolean;
}

/** What an image is opened with, and where its progress is shown. */
export interface Session {
  readonly request: OpenRequest;
  readonly settings: BuildSettings;
  readonly view: TransferView;
  readonly reporter: Reporter;
}

const maxPasswordBytes = 64 << 10;

const sourceHelp = `
An image is one of
  docker://[USER@][REGISTRY#]IMAGE[:TAG][@DIGEST]   of a registry, also docker://REGISTRY/IMAGE[:TAG]
  dockerd://IMAGE[:TAG]  podman://IMAGE[:TAG]       of a daemon, through its socket (DOCKER_HOST, CONTAINER_HOST)
  oci:DIR[:REF]  oci-archive:FILE[:REF]             an OCI layout, as a directory or as one file
  docker-archive:FILE[:REF]                         what "docker save" writes
  tar:FILE  -                                       a root filesystem or one of these archives; - is stdin
  dir:PATH                                          a root filesystem in a directory

Credentials: --user, enroot's .credentials, docker's config.json with its helpers, podman's auth.json, BUNDLER_REGISTRY_USER and BUNDLER_REGISTRY_PASSWORD.`;

/** Adds the options that say which image, who asks for it, and what is printed. */
export function addSourceOptions(command: Command): Command {
  return addAccessOptions(command, '-a, --arch <platform>')
    .option('-q, --quiet', 'print errors only')
    .option('--json', 'print events and the result as JSON, a line each');
}

/** Those of them that a command has which can do without an image from elsewhere. */
export function addAccessOptions(command: Command, arch: string): Command {
  return command
    .option(arch, 'of an image for several: amd64, arm64, linux/arm/v7 (default: that of this machine)')
    .option(
      '--user <name>',
      'log in to the registry as this user; asks for the password, or takes it from BUNDLER_PASSWORD',
    )
    .option('--password-stdin', 'read the password from stdin')
    .option('--verbose', 'tell which registries, credentials and retries are used')
    .addHelpText('after', sourceHelp);
}

/** Reads settings and flags for a command that opens images. Throws Failure. */
export async function startSession(flags: SourceFlags): Promise<Session> {
  const reporter = createReporter({ quiet: flags.quiet === true });
  const view = createTransferView(chooseStyle(flags), { verbose: flags.verbose === true });
  const { readBuildSettings } = await import('../settings/build-settings.ts');
  const { parsePlatform } = await import('../source/platform.ts');
  const settings = await readBuildSettings(process.env);
  const request: OpenRequest = {
    settings,
    env: process.env,
    platform: flags.arch === undefined ? null : parsePlatform(flags.arch),
    user: flags.user ?? '',
    password: flags.passwordStdin === true ? await readPassword() : null,
    onEvent: view.show,
  };
  return { request, settings, view, reporter };
}

/** Opens an image, tells of it, hands it to an action, and lets go of it whatever happens. Throws Failure. */
export async function withImage(
  text: string,
  flags: SourceFlags,
  action: (session: Session & { image: Image }) => Promise<void>,
): Promise<void> {
  const session = await startSession(flags);
  let image: Image | undefined;
  try {
    const { openImage } = await import('./open-image.ts');
    image = await openImage(text, session.request);
    const { reference, manifestDigest, layers } = image;
    session.view.show({
      event: 'image',
      reference,
      manifestDigest,
      layers: layers.map(({ digest, sizeBytes }) => ({ digest, sizeBytes })),
    });
    await action({ ...session, image });
  } finally {
    session.view.end();
    await image?.close();
  }
}

async function readPassword(): Promise<string> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of process.stdin) {
    chunks.push(chunk as Buffer);
    sizeBytes += (chunk as Buffer).length;
    if (sizeBytes > maxPasswordBytes) throw new Failure('cannot use the password on stdin: it is larger than 64 KiB');
  }
  const password = Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '');
  if (password === '') throw new Failure('cannot use the password on stdin: it is empty');
  return password;
}
