// SPDX-License-Identifier: Apache-2.0
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Authority, type CertificateFiles, makeAuthority } from '../support/certificates.ts';
import { type ForwardProxy, startForwardProxy } from '../support/forward-proxy.ts';
import { digestOf, type Layout, randomLayer, writeLayout } from '../support/random-layout.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { sessionDir } from '../support/session.ts';
import { clientOf, closeClients, errorOf, MemoryPartial, never, refOf } from './support.ts';

let directory: string;
let authority: Authority;
let registry: TestRegistry;
let plain: TestRegistry;
let proxy: ForwardProxy;
let layout: Layout;
const servers: Server[] = [];

beforeAll(async () => {
  directory = mkdtempSync(path.join(sessionDir(), 'tls-'));
  authority = makeAuthority(directory, 'test-authority');
  const tls = authority.issue('registry', ['IP:127.0.0.1', 'DNS:registry.test', 'DNS:localhost']);
  layout = writeLayout(path.join(directory, 'layout'), 'one', [randomLayer(200_000)]);
  [registry, plain, proxy] = await Promise.all([startRegistry({ tls }), startRegistry(), startForwardProxy()]);
  await Promise.all([registry, plain].map((each) => each.push(layout.source, 'team/app:1.0')));
});

afterEach(closeClients);

afterAll(async () => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  await Promise.all([registry?.stop(), plain?.stop(), proxy?.stop()]);
});

const portOf = (host: string) => host.slice(host.indexOf(':'));

/** A certs.d with files for a host. */
function certsDirectory(host: string, files: Readonly<Record<string, string>>): string {
  const parent = mkdtempSync(path.join(directory, 'certs.d-'));
  mkdirSync(path.join(parent, host));
  for (const [name, source] of Object.entries(files)) copyFileSync(source, path.join(parent, host, name));
  return parent;
}

/** An https server that says yes to everything, or what it is told. */
async function serve(
  files: CertificateFiles,
  options = {},
  answer: (request: IncomingMessage, response: ServerResponse) => void = (_, response) => response.end('{}'),
): Promise<string> {
  const key = readFileSync(files.key);
  const cert = readFileSync(files.certificate);
  const server = createServer({ key, cert, ...options }, answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function pull(client: ReturnType<typeof clientOf>, host: string): Promise<void> {
  const ref = refOf(host, 'team/app', '1.0');
  await client.fetchManifest(ref);
  for (const layer of layout.layers) {
    const partial = new MemoryPartial();
    await client.downloadBlob(ref, layer, partial, never);
    expect(digestOf(partial.bytes)).toBe(layer.digest);
  }
}

describe('a registry with a certificate of its own', () => {
  test('is trusted by an authority in certs.d', async () => {
    const certificateDirectories = ['/nonexistent', certsDirectory(registry.host, { 'ca.crt': authority.certificate })];
    await pull(clientOf({ certificateDirectories }), registry.host);
  });

  test('is trusted by SSL_CERT_FILE', async () => {
    await pull(clientOf({ env: { SSL_CERT_FILE: authority.certificate } }), registry.host);
  });

  test('is trusted by SSL_CERT_DIR', async () => {
    const parent = certsDirectory('all', { 'any.pem': authority.certificate });
    await pull(clientOf({ env: { SSL_CERT_DIR: path.join(parent, 'all') } }), registry.host);
  });

  test('is else refused with what cures it', async () => {
    const error = await errorOf(clientOf().fetchManifest(refOf(registry.host, 'team/app', '1.0')));
    expect(error.message).toContain(
      `the certificate of ${registry.host} is signed by an authority that is not known here`,
    );
    expect(error.hint).toContain(`certs.d/${registry.host}/ca.crt`);
  });

  test('is not trusted by the authority of another host', async () => {
    const certificateDirectories = [certsDirectory('other.test', { 'ca.crt': authority.certificate })];
    await expect(
      clientOf({ certificateDirectories }).fetchManifest(refOf(registry.host, 'team/app', '1.0')),
    ).rejects.toThrow(/not known here/);
  });
});

describe('a certificate that does not hold', () => {
  const trusting = (more = {}) => clientOf({ env: { SSL_CERT_FILE: authority.certificate }, ...more });

  test('because it has expired says so', async () => {
    const host = await serve(authority.issue('expired', ['IP:127.0.0.1'], -1));
    const error = await errorOf(trusting().ping(host));
    expect(error.message).toContain(`the certificate of ${host} has expired`);
    expect(error.hint).toContain('clock');
  });

  test('because it is for another host says for which', async () => {
    const host = await serve(authority.issue('wrong', ['DNS:right.example']));
    const error = await errorOf(trusting().ping(host));
    expect(error.message).toContain(`the certificate of ${host} is for another host: right.example`);
  });

  test('of the client is sent from certs.d, and its lack is named', async () => {
    const server = authority.issue('wants-client', ['IP:127.0.0.1']);
    const ca = readFileSync(authority.certificate);
    const host = await serve(server, { requestCert: true, rejectUnauthorized: true, ca });
    const client = authority.issue('client', ['DNS:client']);
    const files = { 'me.cert': client.certificate, 'me.key': client.key };
    await trusting({ certificateDirectories: [certsDirectory(host, files)] }).ping(host);
    const error = await errorOf(trusting().ping(host));
    expect(error.hint).toContain(`certs.d/${host}/client.cert`);
  });

  test('of the client without its key is named', async () => {
    const certificateDirectories = [certsDirectory(registry.host, { 'me.cert': authority.certificate })];
    const error = await errorOf(clientOf({ certificateDirectories }).ping(registry.host));
    expect(error.message).toMatch(/me\.cert: me\.key is not beside it$/);
  });
});

describe('an upload to a registry behind a TLS proxy that it does not know', () => {
  const upload = {
    digest: digestOf(Buffer.from('x')),
    sizeBytes: 1,
    open: () => Promise.resolve(Readable.from([Buffer.from('x')])),
  };
  const client = () => clientOf({ env: { SSL_CERT_FILE: authority.certificate, HTTPS_PROXY: proxy.url } });

  /** A registry whose Location is http. */
  const behind = (location: (host: string) => string) =>
    serve(authority.issue('behind', ['DNS:registry.test']), {}, (request, response) => {
      request.resume();
      if (request.method !== 'POST') response.writeHead(201).end();
      else response.writeHead(202, { location: location(request.headers.host ?? '') }).end();
    });

  test('goes on by https with the very host', async () => {
    const host = `registry.test${portOf(await behind((there) => `http://${there}/v2/a/blobs/uploads/1?_state=x`))}`;
    expect(await client().uploadBlob(refOf(host, 'a', ''), upload)).toMatchObject({ digest: upload.digest });
  });

  test('is refused when another host is named', async () => {
    const host = `registry.test${portOf(await behind(() => 'http://other.test/v2/a/blobs/uploads/1?_state=x'))}`;
    const error = await errorOf(client().uploadBlob(refOf(host, 'a', ''), upload));
    expect(error.message).toContain('a redirect to plain HTTP, http://other.test/v2/a/blobs/uploads/1?***');
  });
});

describe('which of http and https a host speaks', () => {
  test('is found out for this machine, once', async () => {
    await pull(clientOf(), plain.host);
    await pull(clientOf({ env: { SSL_CERT_FILE: authority.certificate } }), registry.host);
  });

  test('is https alone for other hosts: plain HTTP is never tried', async () => {
    const env = { HTTPS_PROXY: proxy.url, HTTP_PROXY: proxy.url };
    const before = proxy.requests.length;
    const host = `registry.test${portOf(plain.host)}`;
    const error = await errorOf(clientOf({ env }).fetchManifest(refOf(host, 'team/app', '1.0')));
    expect(error.message).toContain(`${host} does not speak TLS`);
    expect(error.hint).toContain('ENROOT_ALLOW_HTTP');
    expect(proxy.requests.slice(before)).toEqual([`CONNECT ${host}`]);
  });

  test('may be http where that is allowed', async () => {
    const env = { HTTPS_PROXY: proxy.url, HTTP_PROXY: proxy.url };
    await pull(clientOf({ env, allowHttp: true }), `registry.test${portOf(plain.host)}`);
  });

  test('is https also where http is allowed, if the host speaks it', async () => {
    const env = { HTTPS_PROXY: proxy.url, HTTP_PROXY: proxy.url, SSL_CERT_FILE: authority.certificate };
    await pull(clientOf({ env, allowHttp: true }), `registry.test${portOf(registry.host)}`);
  });
});

describe('the proxy of a site', () => {
  test('leads to https registries by one tunnel, with its password', async () => {
    const env = { HTTPS_PROXY: proxy.url, SSL_CERT_FILE: authority.certificate };
    const before = proxy.requests.length;
    const host = `registry.test${portOf(registry.host)}`;
    await pull(clientOf({ env }), host);
    expect(proxy.requests.slice(before)).toEqual([`CONNECT ${host}`]);
  });

  test('is named when it does not do it, without its password', async () => {
    const env = { HTTPS_PROXY: proxy.url.replace('proxy-secret', 'wrong-secret') };
    const client = clientOf({ env });
    const error = await errorOf(client.fetchManifest(refOf('registry.test:5000', 'team/app', '1.0')));
    expect(error.message).toContain(
      `no tunnel to registry.test:5000 through the proxy ${proxy.url.replace('site:proxy-secret@', '')}: it answered 407`,
    );
    expect([error.message, error.hint, ...client.log].join('\n')).not.toContain('wrong-secret');
  });

  test('leads to a certificate that is not known, and this is what is named', async () => {
    const host = `registry.test${portOf(registry.host)}`;
    const error = await errorOf(clientOf({ env: { HTTPS_PROXY: proxy.url } }).ping(host));
    expect(error.message).toContain(`the certificate of ${host} is signed by an authority that is not known here`);
  });

  test('that is not there is named', async () => {
    const error = await errorOf(
      clientOf({ env: { HTTPS_PROXY: 'http://127.0.0.1:1' }, retries: 0 }).ping('registry.test'),
    );
    expect(error.message).toContain('connection to registry.test through the proxy http://127.0.0.1:1 refused');
    expect(error.hint).toContain('NO_PROXY');
  });
});

describe('a host that cannot be reached', () => {
  test('because its name is unknown is named', async () => {
    const error = await errorOf(clientOf({ retries: 0 }).fetchManifest(refOf('no-such-host.invalid', 'a', 'b')));
    expect(error.message).toContain('the host name no-such-host.invalid cannot be resolved');
  });

  test('because nothing listens is named', async () => {
    const error = await errorOf(clientOf({ retries: 1 }).fetchManifest(refOf('127.0.0.1:1', 'a', 'b')));
    expect(error.message).toContain('connection to 127.0.0.1:1 refused');
  });
});
