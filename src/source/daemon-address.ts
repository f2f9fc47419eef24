// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeSystemError, Failure } from '../failure.ts';

export type DaemonKind = 'docker' | 'podman';
type Environment = Readonly<Record<string, string | undefined>>;

/** Where a daemon listens. */
export type DaemonAddress =
  | { readonly kind: 'unix'; readonly path: string; readonly from: string }
  | {
      readonly kind: 'tcp';
      readonly host: string;
      readonly port: number;
      readonly tls: TlsFiles | null;
      readonly from: string;
    }
  | { readonly kind: 'ssh'; readonly url: string; readonly from: string };

/** Contents in PEM; '' where there is none. */
export interface TlsFiles {
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
}

/**
 * Where the daemon's programs would look for it: DOCKER_HOST, the docker context, or CONTAINER_HOST; else the usual sockets, of which the first
 * that exists counts, and the first of all when none does. Throws Failure when what is configured cannot be understood.
 */
export function findDaemon(kind: DaemonKind, env: Environment): DaemonAddress {
  const variable = kind === 'docker' ? 'DOCKER_HOST' : 'CONTAINER_HOST';
  const configured = env[variable];
  if (configured) return parseAddress(configured, variable, env);
  const context = kind === 'docker' ? readContext(env) : null;
  if (context !== null) return context;
  const sockets = usualSockets(kind, env);
  const path = sockets.find((socket) => existsSync(socket)) ?? sockets.at(-1) ?? '';
  return { kind: 'unix', path, from: 'its usual place' };
}

/** Rootless ones first: whoever has started one wants it. */
function usualSockets(kind: DaemonKind, env: Environment): string[] {
  const runtime = env['XDG_RUNTIME_DIR'] ?? (process.getuid?.() === 0 ? '' : `/run/user/${process.getuid?.()}`);
  const home = env['HOME'] ?? '';
  if (kind === 'podman') return [...(runtime ? [`${runtime}/podman/podman.sock`] : []), '/run/podman/podman.sock'];
  return [
    ...(runtime ? [`${runtime}/docker.sock`] : []),
    ...(home ? [`${home}/.docker/run/docker.sock`, `${home}/.docker/desktop/docker.sock`] : []),
    '/var/run/docker.sock',
  ];
}

function parseAddress(text: string, from: string, env: Environment, tls?: TlsFiles): DaemonAddress {
  const [, scheme = '', rest = ''] = /^([a-z]+):\/\/(.*)$/.exec(text) ?? [];
  if (scheme === 'unix' && rest.startsWith('/')) return { kind: 'unix', path: rest, from };
  if (scheme === 'ssh' && rest !== '') return { kind: 'ssh', url: text, from };
  if (scheme === 'tcp' || scheme === 'http' || scheme === 'https') {
    const files =
      tls ?? (env['DOCKER_TLS_VERIFY'] || scheme === 'https' ? readTlsFiles(certificateDirectory(env)) : null);
    const url = URL.canParse(`http://${rest}`) ? new URL(`http://${rest}`) : null;
    if (url !== null && url.hostname !== '') {
      const port = /:80(\/|$)/.test(rest) ? 80 : Number(url.port) || (files === null ? 2375 : 2376);
      return { kind: 'tcp', host: url.hostname.replace(/^\[|\]$/g, ''), port, tls: files, from };
    }
  }
  throw new Failure(`cannot understand the address "${text}" of ${from}`, {
    hint: 'write it as unix:///run/docker.sock, tcp://HOST:PORT or ssh://USER@HOST',
  });
}

function certificateDirectory(env: Environment): string {
  return env['DOCKER_CERT_PATH'] || join(env['DOCKER_CONFIG'] || join(env['HOME'] ?? '', '.docker'));
}

/** A missing file is no error: a server may ask for no certificate, and its own may be known to the system. */
function readTlsFiles(directory: string): TlsFiles {
  const read = (name: string): string => {
    try {
      return readFileSync(join(directory, name), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
      throw new Failure(`cannot read ${join(directory, name)}: ${describeSystemError(error)}`, { cause: error });
    }
  };
  return { ca: read('ca.pem'), certificate: read('cert.pem'), key: read('key.pem') };
}

/** The address of the context that DOCKER_CONTEXT or docker's config.json names; null for the default one or none. */
function readContext(env: Environment): DaemonAddress | null {
  const directory = env['DOCKER_CONFIG'] || join(env['HOME'] ?? '', '.docker');
  const name = env['DOCKER_CONTEXT'] || readField(join(directory, 'config.json'), (file) => file['currentContext']);
  if (name === '' || name === 'default') return null;
  const id = createHash('sha256').update(name).digest('hex');
  const host = readField(join(directory, 'contexts/meta', id, 'meta.json'), (file) => {
    const endpoints = file['Endpoints'] as { docker?: { Host?: unknown } } | undefined;
    return endpoints?.docker?.Host;
  });
  if (host === '') {
    if (!env['DOCKER_CONTEXT']) return null;
    throw new Failure(`there is no docker context "${name}"`, { hint: 'see docker context ls, and DOCKER_CONTEXT' });
  }
  const files = join(directory, 'contexts/tls', id, 'docker');
  const tls = existsSync(files) ? readTlsFiles(files) : undefined;
  return parseAddress(host, `the docker context ${name}`, env, tls);
}

/** A string of a JSON file; '' when the file or the string is not there. */
function readField(path: string, pick: (file: Record<string, unknown>) => unknown): string {
  try {
    const value = pick(JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>);
    return typeof value === 'string' ? value : '';
  } catch {
    return '';
  }
}
