// SPDX-License-Identifier: Apache-2.0
import { rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { afterEach, expect, test } from 'vitest';
import { makeTemporary, openImage, optionsIn } from './support.ts';

const dir = makeTemporary();
let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
  rmSync(dir, { recursive: true, force: true });
});

/** A daemon whose answers never end. */
async function listen(statusOf: (request: IncomingMessage) => number): Promise<{ DOCKER_HOST: string }> {
  const forever = function* () {
    for (;;) yield Buffer.alloc(64 << 10, 'x');
  };
  server = createServer((request, response) => {
    response.writeHead(statusOf(request));
    Readable.from(forever()).pipe(response);
    response.on('error', () => {});
  });
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  return { DOCKER_HOST: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

test.each<[what: string, statusOf: (request: IncomingMessage) => number, says: string]>([
  ['complaint', () => 500, 'docker does not give a:1: xxx'],
  ['line of a pull', ({ method }) => (method === 'POST' ? 200 : 404), 'what it says has no end'],
  ['description of an image', ({ url = '' }) => (url.endsWith('/json') ? 200 : 500), 'docker does not give a:1: xxx'],
])('a %s without end is not read to its end', async (_, statusOf, says) => {
  const env = await listen(statusOf);
  await expect(openImage('dockerd://a:1', optionsIn(dir, { env }))).rejects.toThrow(says);
});
