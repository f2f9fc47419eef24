// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import type { Keychain } from '../credentials/keychain.ts';
import { Failure } from '../failure.ts';
import { parseImageUri } from '../reference/image-uri.ts';
import type { RegistryReference } from '../reference/registry-reference.ts';
import type { RegistryClient } from '../registry/client.ts';
import type { BuildSettings } from '../settings/build-settings.ts';
import { systemDirectory } from '../settings/read-enroot-conf.ts';
import type { OnEvent } from '../source/events.ts';
import type { Image, Platform } from '../source/image.ts';
import type { RegistrySource } from '../source/registry.ts';

/** What all commands that get an image are told. */
export interface OpenRequest {
  readonly settings: BuildSettings;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** --arch; null without. */
  readonly platform: Platform | null;
  /** --user: whose password is asked for where none is found; '' without. */
  readonly user: string;
  /** --password-stdin: what stdin gave; null without. */
  readonly password: string | null;
  readonly onEvent: OnEvent;
}

/** Opens an image wherever it is: docker://, dockerd://, podman://, oci:, oci-archive:, docker-archive:, tar:, dir: or stdin. Throws Failure. */
export async function openImage(text: string, request: OpenRequest): Promise<Image> {
  const uri = parseImageUri(text);
  if (uri.kind === 'docker') {
    const { openRegistryImage } = await import('../source/registry.ts');
    return openRegistryImage(uri.reference, await openRegistrySource(uri.reference, request));
  }
  const { openLocalImage } = await import('../source/open.ts');
  const { platform, env, settings, onEvent } = request;
  return openLocalImage(
    uri,
    {
      platform,
      env,
      temporaryDirectory: settings.temporaryDirectory,
      onProgress: (_, bytes) => onEvent({ event: 'received', bytes }),
      log: (note) => onEvent({ event: 'note', text: note }),
    },
    process.stdin,
  );
}

/** A client for the registry of a reference, and the cache; the caller closes both. Throws Failure. */
export async function openRegistrySource(reference: RegistryReference, request: OpenRequest): Promise<RegistrySource> {
  const { settings, platform } = request;
  const { openCache } = await import('../cache/blob-cache.ts');
  const cache = await openCache(settings.cacheDirectory());
  const client = await openRegistryClient(reference, request);
  return { client, cache, platform, maxConnections: settings.maxConnections };
}

/** A client for the registry of a reference, with the user's credentials, mirrors, certificates and limits. The caller closes it. Throws Failure. */
export async function openRegistryClient(reference: RegistryReference, request: OpenRequest): Promise<RegistryClient> {
  const { settings, onEvent } = request;
  const { env } = settings;
  const [{ createRegistryClient }, { createKeychain }] = await Promise.all([
    import('../registry/client.ts'),
    import('../credentials/create-keychain.ts'),
  ]);
  const user = request.user || reference.user;
  const warn = (text: string): void => onEvent({ event: 'warning', text });
  const note = (text: string): void => onEvent({ event: 'note', text });
  const given = await askFor(user, reference.registry, request);
  const configDirectory = findConfigDirectory(settings);
  const keychain = tellLooked(
    createKeychain({
      env,
      home: settings.home,
      warn,
      configDirectory,
      registries: [reference.registry],
      ...(given === null ? {} : { given }),
    }),
    note,
  );
  return createRegistryClient({
    keychain,
    allowHttp: settings.allowHttp,
    connectTimeoutSeconds: settings.connectTimeoutSeconds,
    transferTimeoutSeconds: settings.transferTimeoutSeconds,
    retries: settings.transferRetries,
    mirrors: settings.mirrors,
    certificateDirectories: [configDirectory, systemDirectory(env), '/etc/containers', '/etc/docker']
      .filter((directory) => directory !== '')
      .map((directory) => join(directory, 'certs.d')),
    env,
    log: note,
    onRetry: warn,
  });
}

/** '' for who has no home and does not say where it is: then there is nothing in it to be read. */
function findConfigDirectory(settings: BuildSettings): string {
  try {
    return settings.configDirectory();
  } catch (error) {
    if (error instanceof Failure) return '';
    throw error;
  }
}

/** The secret of a user that the command line names with --user: from stdin, the environment, or asked for. A user in the URI only chooses among what is known. */
async function askFor(
  user: string,
  registry: string,
  request: OpenRequest,
): Promise<{ user: string; secret: string } | null> {
  if (request.password !== null) return { user, secret: request.password };
  if (request.user === '') return null;
  const secret = request.env['BUNDLER_PASSWORD'];
  if (secret) return { user, secret };
  const { askPassword } = await import('../credentials/ask-password.ts');
  return { user, secret: await askPassword(`Password of ${user} for ${registry}: `) };
}

/** Notes what a keychain looked at, and what it used, each once. */
function tellLooked(keychain: Keychain, note: (text: string) => void): Keychain {
  const told = new Set<string>();
  return {
    async find(registry, options) {
      try {
        return await keychain.find(registry, options);
      } finally {
        for (const line of keychain.looked.filter((each) => !told.has(each))) {
          told.add(line);
          note(`credentials: ${line}`);
        }
      }
    },
    get looked() {
      return keychain.looked;
    },
  };
}
