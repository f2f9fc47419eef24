// SPDX-License-Identifier: Apache-2.0
// An HTTP proxy in front of a registry that does what registries and networks do on bad days.
//
//   const proxy = await startFaultProxy(registry.url);
//   proxy.inject(cutEveryTenth());     // rules (fault-rules.ts) are asked in turn about every request; the first that answers decides
//   ... pull from proxy.host ...
//   proxy.sentBytes(digest), proxy.requests, proxy.elsewhere.requests
//   proxy.reset(); await proxy.stop();
import { randomUUID } from 'node:crypto';
import {
  Agent,
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Fault, Rule, SeenRequest } from './fault-rules.ts';

export * from './fault-rules.ts';

export interface FaultProxy {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  readonly requests: readonly SeenRequest[];
  /** Where redirects lead: another origin; it needs no credentials, and records what it was shown. */
  readonly elsewhere: {
    readonly host: string;
    readonly requests: readonly { headers: IncomingHttpHeaders; url: string }[];
  };
  inject(...rules: Rule[]): void;
  /** Bytes of a blob's body that were sent, over all requests, both origins. */
  sentBytes(digest: string): number;
  /** Forgets rules and requests. */
  reset(): void;
  stop(): Promise<void>;
}

export async function startFaultProxy(upstream: string): Promise<FaultProxy> {
  const agent = new Agent({ keepAlive: true });
  const rules: Rule[] = [];
  const requests: SeenRequest[] = [];
  const elsewhereRequests: { headers: IncomingHttpHeaders; url: string }[] = [];
  const redirected = new Map<string, { headers: IncomingHttpHeaders; path: string; seen: SeenRequest }>();
  const sizes = new Map<string, number>();
  const elsewhere = await listen((request, response) => {
    elsewhereRequests.push({ headers: request.headers, url: request.url ?? '' });
    const found = redirected.get((request.url ?? '').split('?', 1)[0] ?? '');
    if (found === undefined) {
      response.writeHead(404).end();
      return;
    }
    const range = request.headers.range === undefined ? {} : { range: request.headers.range };
    const headers = { ...found.headers, ...range };
    forward({ ...found, headers, method: request.method ?? 'GET', body: null, response, fault: null });
  });

  interface Job {
    readonly method: string;
    readonly path: string;
    readonly headers: IncomingHttpHeaders;
    readonly body: IncomingMessage | null;
    readonly response: ServerResponse;
    readonly fault: Fault | null;
    readonly seen: SeenRequest;
  }

  function forward(job: Job): void {
    const { method, path, response, fault, seen } = job;
    const headers = { ...job.headers };
    if (fault?.kind === 'no-range') delete headers.range;
    const outgoing = httpRequest(new URL(path, upstream), { method, headers, agent }, (incoming) => {
      if (seen.status === 0) seen.status = incoming.statusCode ?? 0;
      const size = Number(incoming.headers['content-length'] ?? 0);
      if (seen.kind === 'blob' && incoming.statusCode === 200) sizes.set(seen.digest, size);
      const isGood = incoming.statusCode === 200 || incoming.statusCode === 206;
      if (isGood && fault?.kind === 'redirect') {
        incoming.destroy();
        redirect(job, fault.status ?? 307);
      } else {
        relay(incoming, response, isGood ? fault : null, seen).catch(() => response.destroy());
      }
    });
    outgoing.on('error', () => response.socket?.destroy());
    response.on('close', () => outgoing.destroy());
    if (job.body === null) outgoing.end();
    else job.body.pipe(outgoing);
  }

  function redirect({ response, headers, path, seen }: Job, status: number): void {
    const key = `/signed/${randomUUID()}`;
    redirected.set(key, { headers, path, seen });
    seen.status = status;
    response.writeHead(status, { location: `http://${hostOf(elsewhere)}${key}?X-Signature=signed-url-secret` }).end();
  }

  const server = await listen((request, response) => {
    const seen = see(request, requests);
    requests.push(seen);
    const sizeOf = (digest: string) => sizes.get(digest) ?? 0;
    const fault = rules.reduce<Fault | null>((found, rule) => found ?? rule(seen, sizeOf), null);
    if (fault?.kind === 'answer') {
      seen.status = fault.status;
      request.resume();
      response.writeHead(fault.status, { 'content-type': 'application/json', ...fault.headers }).end(fault.body ?? '');
    } else if (fault?.kind === 'cut' && fault.atByte === 'before') {
      request.socket.destroy();
    } else {
      forward({ method: seen.method, path: seen.path, headers: request.headers, body: request, response, fault, seen });
    }
  });

  return {
    host: hostOf(server),
    requests,
    elsewhere: { host: hostOf(elsewhere), requests: elsewhereRequests },
    inject: (...more) => void rules.push(...more),
    sentBytes: (digest) =>
      requests
        .filter((request) => request.kind === 'blob' && request.digest === digest && request.status < 300)
        .concat(
          [...redirected.values()]
            .map(({ seen }) => seen)
            .filter((seen) => seen.digest === digest && seen.status >= 300),
        )
        .reduce((sum, { sentBytes }) => sum + sentBytes, 0),
    reset: () => {
      rules.length = 0;
      requests.length = 0;
      elsewhereRequests.length = 0;
      redirected.clear();
    },
    stop: async () => {
      agent.destroy();
      for (const each of [server, elsewhere]) {
        each.closeAllConnections();
        await new Promise((resolve) => each.close(resolve));
      }
    },
  };
}

async function listen(handle: (request: IncomingMessage, response: ServerResponse) => void): Promise<Server> {
  const server = createServer(handle);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

function hostOf(server: Server): string {
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function see(request: IncomingMessage, earlier: readonly SeenRequest[]): SeenRequest {
  const method = request.method ?? '';
  const path = request.url ?? '';
  const [, part, name = ''] = /^\/v2\/.*\/(manifests|blobs)\/([^?]*)/.exec(path) ?? [];
  const kinds = { manifests: 'manifest', blobs: name.startsWith('uploads/') ? 'upload' : 'blob' } as const;
  const kind = /^\/v2\/(\?|$)/.test(path) ? 'ping' : (kinds[part as 'manifests' | 'blobs'] ?? 'other');
  const tryNumber =
    earlier.filter((other) => other.method === method && other.path === path && other.status !== 401).length + 1;
  const digest = /^sha\d+:/.test(name) ? name : '';
  return { method, path, headers: request.headers, kind, digest, tryNumber, status: 0, sentBytes: 0 };
}

/** Sends an answer on, with a fault in its body. */
async function relay(
  incoming: IncomingMessage,
  response: ServerResponse,
  fault: Fault | null,
  seen: SeenRequest,
): Promise<void> {
  const start = Number(/^bytes (\d+)-/.exec(incoming.headers['content-range'] ?? '')?.[1] ?? 0);
  const headers = { ...incoming.headers };
  const length = Number(headers['content-length'] ?? 0);
  if (fault?.kind === 'short') headers['content-length'] = String(Math.max(0, Math.min(length, fault.atByte - start)));
  if (fault?.kind === 'long') headers['content-length'] = String(length + fault.extraBytes);
  response.writeHead(incoming.statusCode ?? 502, headers);
  response.flushHeaders();
  const end = endOf(fault);
  let offset = start;
  for await (const data of incoming) {
    let chunk = data as Buffer;
    if (end !== null && offset + chunk.length > end) chunk = chunk.subarray(0, Math.max(0, end - offset));
    if (fault?.kind === 'corrupt' && fault.atByte >= offset && fault.atByte < offset + chunk.length) {
      chunk = Buffer.from(chunk);
      chunk[fault.atByte - offset] = (chunk[fault.atByte - offset] ?? 0) ^ 0xff;
    }
    await write(response, chunk, seen, fault?.kind === 'slow' ? fault.bytesPerSecond : null);
    offset += chunk.length;
    if (response.destroyed) return;
    if (end !== null && offset >= end) break;
  }
  if (fault?.kind === 'stall') return;
  if (fault?.kind === 'cut') {
    response.socket?.destroy();
    return;
  }
  if (fault?.kind === 'long') await write(response, Buffer.alloc(fault.extraBytes), seen, null);
  response.end();
}

function endOf(fault: Fault | null): number | null {
  if (fault?.kind === 'cut') return fault.atByte === 'before' ? 0 : fault.atByte;
  return fault?.kind === 'short' || fault?.kind === 'stall' ? fault.atByte : null;
}

/** Returns when the kernel has taken it. */
async function write(
  response: ServerResponse,
  chunk: Buffer,
  seen: SeenRequest,
  bytesPerSecond: number | null,
): Promise<void> {
  const pieceBytes = bytesPerSecond === null ? chunk.length : 16 * 1024;
  for (let at = 0; at < chunk.length && !response.destroyed; at += pieceBytes) {
    const piece = chunk.subarray(at, at + pieceBytes);
    await new Promise<void>((resolve) => {
      response.once('close', resolve);
      response.write(piece, () => {
        response.off('close', resolve);
        resolve();
      });
    });
    seen.sentBytes += piece.length;
    if (bytesPerSecond !== null) await new Promise((r) => setTimeout(r, (piece.length / bytesPerSecond) * 1000));
  }
}
