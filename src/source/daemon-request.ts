// SPDX-License-Identifier: Apache-2.0
import { type IncomingMessage, type RequestOptions, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { describeSystemError, Failure } from '../failure.ts';
import type { DaemonAddress, DaemonKind } from './daemon-address.ts';

export interface DaemonRequest {
  readonly method: 'GET' | 'POST';
  /** With its query, encoded. */
  readonly path: string;
  readonly signal?: AbortSignal | undefined;
}

/** Sends a request to a daemon's API and gives its answer, whatever its status. Throws Failure when the daemon cannot be reached. */
export function askDaemon(
  kind: DaemonKind,
  address: Exclude<DaemonAddress, { kind: 'ssh' }>,
  { method, path, signal }: DaemonRequest,
): Promise<IncomingMessage> {
  const where: RequestOptions =
    address.kind === 'unix'
      ? { socketPath: address.path, host: 'localhost' }
      : { host: address.host, port: address.port };
  const tls = address.kind === 'tcp' ? address.tls : null;
  const files =
    tls === null
      ? {}
      : { ...(tls.ca && { ca: tls.ca }), ...(tls.certificate && { cert: tls.certificate, key: tls.key }) };
  const send = tls === null ? requestHttp : requestHttps;
  return new Promise((resolve, reject) => {
    const request = send({ ...where, ...files, method, path, agent: false, ...(signal && { signal }) }, resolve);
    request.on('error', (error: NodeJS.ErrnoException) => {
      reject(error.name === 'AbortError' ? error : explainUnreachable(kind, address, error));
    });
    request.end();
  });
}

/** Why a daemon was not reached, and the cure. */
export function explainUnreachable(kind: DaemonKind, address: DaemonAddress, error: NodeJS.ErrnoException): Failure {
  const where =
    address.kind === 'unix' ? address.path : address.kind === 'tcp' ? `${address.host}:${address.port}` : address.url;
  return new Failure(`cannot reach ${kind} at ${where}, ${describeOrigin(address)}: ${reasonOf(error)}`, {
    hint: cureOf(kind, address, error.code ?? ''),
    cause: error,
  });
}

function describeOrigin({ from }: DaemonAddress): string {
  return from === 'its usual place' ? from : `from ${from}`;
}

function reasonOf(error: NodeJS.ErrnoException): string {
  if (error.code === 'ECONNREFUSED') return 'nobody listens there';
  return describeSystemError(error);
}

function cureOf(kind: DaemonKind, address: DaemonAddress, code: string): string {
  if (address.kind !== 'unix') {
    const variable = kind === 'docker' ? 'DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH' : 'CONTAINER_HOST';
    return `see that it runs and that ${variable} are right`;
  }
  const copy = kind === 'docker' ? 'docker save' : 'podman save';
  if (code === 'EACCES' || code === 'EPERM') {
    return kind === 'docker'
      ? 'become a member of the group docker (sudo usermod -aG docker $USER, then log in again)'
      : 'start your own: systemctl --user start podman.socket';
  }
  const start = kind === 'docker' ? 'sudo systemctl start docker' : 'systemctl --user start podman.socket';
  return `start it (${start}), or use docker-archive:FILE with a file of ${copy}`;
}

/** The message of an answer that says no: `{"message": ..}` of Docker's API, `{"cause": ..}` beside it of podman's. */
export async function readComplaint(answer: IncomingMessage): Promise<string> {
  const text = (await readBeginning(answer)).toString().trim();
  try {
    const { message, cause } = JSON.parse(text) as { message?: unknown; cause?: unknown };
    if (typeof message === 'string' && message !== '') return message;
    if (typeof cause === 'string' && cause !== '') return cause;
  } catch {
    // Proxies and old daemons answer in plain text.
  }
  return text === '' ? `status ${answer.statusCode}` : text.slice(0, 500);
}

/** Lines of a pull and complaints are no longer. */
export const maxLineBytes = 1 << 20;

/** What is beyond is not waited for. */
async function readBeginning(answer: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of answer) {
    chunks.push(chunk as Buffer);
    sizeBytes += (chunk as Buffer).length;
    if (sizeBytes >= maxLineBytes) break;
  }
  return Buffer.concat(chunks);
}
