// SPDX-License-Identifier: Apache-2.0
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import { urlToHttpOptions } from 'node:url';
import { createAgents, type Route } from './agents.ts';
import { TransportFailure } from './errors.ts';
import { describeNetworkError } from './network-errors.ts';
import type { FullOptions } from './options.ts';

/** What is sent as a body: bytes, or a function that opens the stream anew for every try. */
export type RequestBody = Buffer | (() => Promise<Readable>);

export interface HttpRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: OutgoingHttpHeaders;
  readonly body?: RequestBody;
  /** The body is for this origin alone: a redirect to another one is not followed. */
  readonly hasSecretBody?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** The head of a response. The body must be read or thrown away (body.ts), else its connection is lost. */
export interface HttpResponse {
  readonly method: string;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: IncomingMessage;
  readonly url: URL;
  /** Turns an error of the body's stream into a TransportFailure. */
  readonly describe: (error: unknown) => unknown;
}

export interface Transport {
  /** One request, one response, no redirect. Throws TransportFailure; an abort throws the signal's reason. */
  send(request: HttpRequest): Promise<HttpResponse>;
  /** Cuts all connections; requests under way fail. */
  close(): void;
}

interface Limits {
  readonly connectMs: number;
  readonly transferMs: number;
  readonly stallMs: number;
}

/** HTTP over the connections of createAgents, with the limits of the options. */
export function createTransport(options: FullOptions): Transport {
  const agents = createAgents(options);
  const limits: Limits = {
    connectMs: options.connectTimeoutSeconds * 1000,
    transferMs: options.transferTimeoutSeconds * 1000,
    stallMs: options.stallTimeoutMs,
  };
  return {
    send: async (request) => {
      request.signal?.throwIfAborted();
      const route = await agents.find(request.url);
      try {
        return await exchange(request, route, limits);
      } catch (error) {
        request.signal?.throwIfAborted();
        // The server closed a kept connection just as it was used again: not its answer to this request.
        const again = error instanceof StaleConnection && typeof request.body !== 'function';
        if (again) return await exchange(request, route, limits);
        throw error;
      }
    },
    close: () => agents.close(),
  };
}

class StaleConnection extends TransportFailure {}

class NoResponse extends TransportFailure {
  constructor() {
    const hint = 'check that it is a registry, and what is between';
    super('NO_RESPONSE', 'the connection was closed without a response', { hint, retryable: true });
  }
}

async function exchange(request: HttpRequest, route: Route, limits: Limits): Promise<HttpResponse> {
  const { url, body, signal } = request;
  const stream = typeof body === 'function' ? await body() : null;
  // It may have come while the connection's certificates or the body were opened: no event tells of it any more.
  if (signal?.aborted) {
    stream?.destroy();
    throw signal.reason;
  }
  return new Promise((resolve, reject) => {
    const { auth: _, ...target } = urlToHttpOptions(url);
    const outgoing = route.request({
      ...target,
      method: request.method,
      headers: { 'user-agent': 'bundler', ...request.headers },
      agent: route.agent,
    });
    const describe = (error: unknown) => describeNetworkError(error, { url, proxy: route.proxy });
    let incoming: IncomingMessage | null = null;
    let sourceError: Error | null = null;
    const end = () => {
      clearTimeout(whole);
      signal?.removeEventListener('abort', abort);
    };
    const fail = (error: Error) => {
      endConnectTimer();
      stream?.destroy();
      if (incoming === null) end();
      const { code } = error as NodeJS.ErrnoException;
      const isStale = outgoing.reusedSocket && incoming === null && (code === 'ECONNRESET' || code === 'EPIPE');
      const told = error === sourceError ? error : describe(error);
      reject(isStale && told instanceof TransportFailure ? new StaleConnection(told.code, told.message, told) : told);
    };
    const stop = (error: Error) => {
      (incoming ?? outgoing).destroy(error);
      // A request that waits for its connection would tell of its end only when it got it.
      if (incoming === null) fail(error);
    };
    const abort = () => stop(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
    signal?.addEventListener('abort', abort, { once: true });
    const whole = startTimer(limits.transferMs, () => stop(tooLong(limits.transferMs)));
    const endConnectTimer = limitConnect(outgoing, url, route, limits.connectMs, () =>
      stop(unconnected(url, route, limits)),
    );

    // A server that has got a whole upload may need long to check and to store it.
    const idleMs = body === undefined ? limits.stallMs : 5 * limits.stallMs;
    outgoing.setTimeout(idleMs, () => {
      if (incoming === null) stop(stalled(idleMs));
    });
    outgoing.on('error', fail);
    // An answer that node:http takes for no response (101 Switching Protocols) ends without an error.
    outgoing.on('close', () => {
      if (incoming === null) fail(new NoResponse());
    });
    outgoing.on('response', (response) => {
      incoming = response;
      response.on('error', () => {}); // whoever reads the body hears of it as well
      response.on('close', end);
      // An answer before the end of the upload: what is left need not be sent.
      if (stream !== null && !stream.readableEnded) stream.destroy();
      resolve({
        method: request.method,
        status: response.statusCode ?? 0,
        headers: response.headers,
        body: response,
        url,
        describe,
      });
    });

    if (stream === null) {
      outgoing.end(body);
    } else {
      stream.on('error', (error) => {
        sourceError = error;
        outgoing.destroy(error);
      });
      stream.pipe(outgoing);
    }
  });
}

/** Calls `late` when a request gets no connection in time: name lookup, TCP, proxy and TLS together. Returns what ends the wait. */
function limitConnect(outgoing: ClientRequest, url: URL, { proxy }: Route, limitMs: number, late: () => void) {
  const timer = startTimer(limitMs, late);
  const end = () => clearTimeout(timer);
  outgoing.on('socket', (socket) => {
    // One that goes through a tunnel is handed over when its TLS is done.
    const isTunnel = proxy !== '' && url.protocol === 'https:';
    if (outgoing.reusedSocket || isTunnel) end();
    else socket.once(url.protocol === 'https:' ? 'secureConnect' : 'connect', end);
  });
  outgoing.on('response', end);
  return end;
}

function unconnected(url: URL, { proxy }: Route, { connectMs }: Limits): TransportFailure {
  const through = proxy === '' ? '' : ` through the proxy ${proxy}`;
  const reason = `no connection to ${url.host}${through} within ${connectMs / 1000} s`;
  const hint = 'check the network, HTTPS_PROXY and NO_PROXY, or raise ENROOT_CONNECT_TIMEOUT';
  return new TransportFailure('CONNECT_TIMEOUT', reason, { hint, retryable: true });
}

/** setTimeout takes no more (Node.js, Timers): a longer one would end at once. */
const maxTimerMs = 2 ** 31 - 1;

function startTimer(limitMs: number, action: () => void): NodeJS.Timeout | undefined {
  return limitMs > 0 ? setTimeout(action, Math.min(limitMs, maxTimerMs)) : undefined;
}

function tooLong(limitMs: number): TransportFailure {
  const hint = 'raise ENROOT_TRANSFER_TIMEOUT (0: no limit)';
  return new TransportFailure('TRANSFER_TIMEOUT', `not done within ${limitMs / 1000} s`, { hint, retryable: true });
}

/** Nothing arrived for too long. */
export function stalled(limitMs: number): TransportFailure {
  const hint = 'check the network; the transfer goes on from where it stopped when it is tried again';
  return new TransportFailure('STALLED', `nothing arrived for ${limitMs / 1000} s`, { hint, retryable: true });
}
