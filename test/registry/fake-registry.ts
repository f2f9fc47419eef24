// SPDX-License-Identifier: Apache-2.0
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach } from 'vitest';

export interface FakeRegistry {
  readonly host: string;
  readonly requests: readonly { method: string; url: string; headers: IncomingMessage['headers'] }[];
}

export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string | Buffer;
}

const stops: (() => void)[] = [];

/** A server that answers as a test says, for what real registries don't do on demand; gone after the test. */
export async function fakeRegistry(answer: (request: IncomingMessage, host: string) => Answer): Promise<FakeRegistry> {
  const requests: { method: string; url: string; headers: IncomingMessage['headers'] }[] = [];
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    requests.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers });
    request.resume();
    const { status = 200, headers = {}, body = '' } = answer(request, host);
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    response.writeHead(status).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  stops.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { host, requests };
}

afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});
