// SPDX-License-Identifier: Apache-2.0
// The proxy of a site: requests with whole URLs, and CONNECT. Every host name leads to this machine, so that tests can use names that exist nowhere.
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';

export interface ForwardProxy {
  /** `http://user:password@127.0.0.1:PORT`. */
  readonly url: string;
  /** `CONNECT host:port` and `GET http://host/...`, in order. */
  readonly requests: readonly string[];
  stop(): Promise<void>;
}

/** Starts a proxy that wants a user and a password. */
export async function startForwardProxy(): Promise<ForwardProxy> {
  const requests: string[] = [];
  const sockets = new Set<Duplex>();
  const expected = `Basic ${Buffer.from('site:proxy-secret').toString('base64')}`;
  const isAllowed = (request: IncomingMessage) => request.headers['proxy-authorization'] === expected;

  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    if (!isAllowed(request)) {
      response.writeHead(407).end();
      return;
    }
    const { port, pathname, search } = new URL(request.url ?? '');
    const { 'proxy-authorization': _, ...headers } = request.headers;
    const target = { host: '127.0.0.1', port, path: pathname + search, method: request.method, headers };
    const outgoing = httpRequest(target, (incoming) => {
      response.writeHead(incoming.statusCode ?? 502, incoming.headers);
      incoming.pipe(response);
    });
    outgoing.on('error', () => response.destroy());
    request.pipe(outgoing);
  });
  server.on('connect', (request: IncomingMessage, client: Socket) => {
    requests.push(`CONNECT ${request.url}`);
    if (!isAllowed(request)) {
      client.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
      return;
    }
    const target = connect(Number(request.url?.split(':').at(-1)), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      target.pipe(client).pipe(target);
    });
    for (const socket of [target, client]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        target.destroy();
        client.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://site:proxy-secret@127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
