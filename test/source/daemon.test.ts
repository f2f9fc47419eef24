// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { delimiter, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { explainUnreachable } from '../../src/source/daemon-request.ts';
import { hasFeatures, testNeeding } from '../support/features.ts';
import { openStorage, run, type Storage, servePodman } from '../support/image-tools.ts';
import { startRegistry } from '../support/registry.ts';
import { arm64, buildTwoImages, makeTemporary, openImage, optionsIn, summarize, writeTree } from './support.ts';

let dir = '';
let storage: Storage;
let socket = '';
let service: { stop(): Promise<void> } | undefined;
const served = testNeeding('buildah', 'podman');
beforeAll(async () => {
  dir = makeTemporary();
  if (!hasFeatures('buildah', 'podman')) return;
  storage = buildTwoImages(dir);
  socket = join(dir, 'podman.sock');
  service = await servePodman(storage, socket);
});
afterAll(async () => {
  await service?.stop();
  expect(readdirSync(dir).filter((name) => name.includes('spool'))).toEqual([]);
  rmSync(dir, { recursive: true, force: true });
});
const options = (env: Record<string, string>, more = {}) => optionsIn(dir, { env, ...more });

describe('a daemon', () => {
  served('gives an image by dockerd:// and by podman://', async () => {
    for (const [scheme, variable] of [
      ['dockerd', 'DOCKER_HOST'],
      ['podman', 'CONTAINER_HOST'],
    ] as const) {
      const seen: number[] = [];
      const onProgress = (what: string, bytes: number) => {
        expect(what).toBe('localhost/second:2');
        seen.push(bytes);
      };
      const text = `${scheme}://localhost/second:2`;
      const image = await openImage(text, options({ [variable]: `unix://${socket}` }, { onProgress }));
      const { config, diffIds, ...rest } = await summarize(image);
      expect(rest).toEqual({ name: 'second+2', reference: text, rightSizes: true });
      expect(config.config).toMatchObject({ Entrypoint: ['/bin/tool'], Cmd: ['x', 'y'] });
      expect(diffIds).toHaveLength(2);
      expect(diffIds).toEqual(config.rootfs.diff_ids);
      expect(seen.at(-1)).toBeGreaterThan(600_000);
    }
  });

  served('is found in the place where a user starts it', async () => {
    const runtime = join(dir, 'runtime');
    mkdirSync(join(runtime, 'podman'), { recursive: true });
    const own = await servePodman(storage, join(runtime, 'podman/podman.sock'));
    try {
      const image = await openImage('podman://first:1', options({ XDG_RUNTIME_DIR: runtime }));
      expect(image.layers).toHaveLength(1);
      await image.close();
    } finally {
      await own.stop();
    }
  });

  testNeeding(
    'buildah',
    'podman',
    'skopeo',
  )('pulls an image that it has not from a registry', async () => {
    const registry = await startRegistry();
    const fresh = openStorage(join(dir, 'fresh'));
    const place = join(dir, 'pulling.sock');
    // podman speaks plain HTTP where it is told to.
    const configuration = join(dir, 'registries.conf');
    writeFileSync(configuration, `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`);
    const own = await servePodman(fresh, place, { CONTAINERS_REGISTRIES_CONF: configuration });
    try {
      storage.podman('save', '-q', '-o', join(dir, 'pushed.tar'), 'localhost/second:2');
      await registry.push(`docker-archive:${dir}/pushed.tar`, 'some/image:7');
      const image = await openImage(
        `dockerd://${registry.host}/some/image:7`,
        options({ DOCKER_HOST: `unix://${place}` }),
      );
      const { config, diffIds, name } = await summarize(image);
      expect(name).toBe('some+image+7');
      expect(diffIds).toHaveLength(2);
      expect(diffIds).toEqual(config.rootfs.diff_ids);
      const missing = openImage(
        `podman://${registry.host}/some/image:8`,
        options({ CONTAINER_HOST: `unix://${place}` }),
      );
      await expect(missing).rejects.toThrow(/^podman cannot pull .*some\/image:8: .*manifest unknown/);
    } finally {
      await own.stop();
      await registry.stop();
    }
  });

  served('that has no image, and cannot pull it, says what it said', async () => {
    const text = 'dockerd://localhost:1/none/here:1';
    await expect(openImage(text, options({ DOCKER_HOST: `unix://${socket}` }))).rejects.toThrow(
      /^docker cannot pull localhost:1\/none\/here:1: .*(refused|pinging|initializing)/,
    );
  });

  served('whose image is for another platform is not what was asked for', async () => {
    await expect(
      openImage('podman://second:2', options({ CONTAINER_HOST: `unix://${socket}` }, arm64)),
    ).rejects.toThrow('podman://second:2 has no image for linux/arm64');
  });

  test('that is not there says how to start it', async () => {
    await expect(openImage('dockerd://x', options({ DOCKER_HOST: `unix://${dir}/none.sock` }))).rejects.toMatchObject({
      message: `cannot reach docker at ${dir}/none.sock, from DOCKER_HOST: no such file or directory`,
      hint: expect.stringContaining('sudo systemctl start docker'),
    });
    await expect(openImage('podman://x', options({ CONTAINER_HOST: `unix://${dir}/none.sock` }))).rejects.toMatchObject(
      {
        hint: expect.stringContaining('systemctl --user start podman.socket'),
      },
    );
    await expect(openImage('dockerd://x', options({ DOCKER_HOST: 'tcp://127.0.0.1:1' }))).rejects.toMatchObject({
      message: 'cannot reach docker at 127.0.0.1:1, from DOCKER_HOST: nobody listens there',
    });
  });

  test.each(['-x', 'x y', '', 'x?y', 'x\n', '../x'])('is not asked for what is no image: %j', async (name) => {
    await expect(openImage(`dockerd://${name}`, options({ DOCKER_HOST: 'tcp://127.0.0.1:1' }))).rejects.toThrow(
      /an image has letters|it names no image/,
    );
  });

  test('on another host is asked by its own program', async () => {
    const bin = join(dir, 'bin');
    writeTree(bin, {
      docker: `#!/bin/sh\necho "$@" >${dir}/argv\ncase $4 in good) cat ${dir}/small.tar;; *) echo no such image >&2; exit 1;; esac\n`,
    });
    chmodSync(join(bin, 'docker'), 0o755);
    writeFileSync(join(dir, 'small.tar'), smallArchive());
    const env = { DOCKER_HOST: 'ssh://me@there', PATH: `${bin}${delimiter}${process.env['PATH']}` };
    const image = await openImage('dockerd://good', options(env));
    expect(image.name).toBe('good');
    await image.close();
    expect(readFileSync(join(dir, 'argv'), 'utf8')).toBe('--host ssh://me@there save good\n');
    await expect(openImage('dockerd://bad', options(env))).rejects.toThrow(
      'docker does not give bad of ssh://me@there: no such image',
    );
    await expect(openImage('dockerd://good', options({ ...env, PATH: join(dir, 'none') }))).rejects.toThrow(
      'cannot reach docker at ssh://me@there',
    );
  });
});

/** The archive of an image without layers. */
function smallArchive(): Buffer {
  const config = JSON.stringify({ architecture: 'amd64', rootfs: { diff_ids: [] } });
  const manifest = JSON.stringify([{ Config: 'c.json', RepoTags: ['x:1'], Layers: [] }]);
  const member = (name: string, content: string): Buffer => {
    const header = Buffer.alloc(512);
    header.write(name);
    header.write(
      `0000644\0${'0000000\0'.repeat(2)}${content.length.toString(8).padStart(11, '0')}\0${'0'.repeat(11)}\0        0`,
      100,
    );
    header.write('ustar\x0000', 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return Buffer.concat([header, Buffer.from(content.padEnd(512, '\0'))]);
  };
  return Buffer.concat([member('c.json', config), member('manifest.json', manifest), Buffer.alloc(1024)]);
}

describe('a daemon that is a fake', () => {
  let server: Server | undefined;
  afterEach(() => server?.close());
  const listen = async (
    answer: (url: string, method: string) => { status: number; body: string | Buffer; cut?: boolean },
  ) => {
    const asked: string[] = [];
    server = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`);
      const { status, body, cut } = answer(request.url ?? '', request.method ?? '');
      if (cut) {
        response.writeHead(status, { 'content-length': body.length + 1000 });
        response.write(body, () => response.destroy());
      } else response.writeHead(status).end(body);
    });
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    return { asked, env: { DOCKER_HOST: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}` } };
  };

  test('pulls what it has not, for the platform asked for', async () => {
    let there = false;
    const { asked, env } = await listen((url, method) => {
      if (method === 'POST') {
        there = true;
        return {
          status: 200,
          body: '{"status":"Pulling"}\n{"status":"Downloading","progress":"[=>]"}\n{"status":"Done"}',
        };
      }
      if (url.endsWith('/json')) return { status: there ? 200 : 404, body: '{"message":"none"}' };
      return { status: 200, body: smallArchive() };
    });
    const told: string[] = [];
    const log = (text: string) => void told.push(text);
    const amd64 = { platform: { os: 'linux', architecture: 'amd64', variant: '' } };
    await (await openImage('dockerd://a/b', options(env, { log, ...amd64 }))).close();
    expect(asked).toEqual([
      'GET /images/a/b/json',
      'POST /images/create?fromImage=a%2Fb&tag=latest&platform=linux%2Famd64',
      'GET /images/a/b/get',
    ]);
    expect(told).toContain('docker: Pulling');
    expect(told).toContain('docker: Done');
    expect(told.join()).not.toContain('Downloading');
    there = false;
    await (await openImage('dockerd://host:5000/b:3', options(env))).close();
    expect(asked[4]).toBe('POST /images/create?fromImage=host%3A5000%2Fb&tag=3');
    there = false;
    const digest = `sha256:${createHash('sha256').digest('hex')}`;
    await (await openImage(`dockerd://b@${digest}`, options(env))).close();
    expect(asked[7]).toBe(`POST /images/create?fromImage=b&tag=${encodeURIComponent(digest)}`);
  });

  test('fails to pull in the middle', async () => {
    const { env } = await listen((_url, method) =>
      method === 'POST'
        ? { status: 200, body: '{"status":"x"}\r\n{"error":"manifest unknown"}\r\n' }
        : { status: 404, body: '' },
    );
    await expect(openImage('dockerd://a', options(env))).rejects.toThrow('docker cannot pull a: manifest unknown');
  });

  test('answers with an error', async () => {
    const { env } = await listen(() => ({ status: 500, body: '{"message":"the disk is full"}' }));
    await expect(openImage('dockerd://a', options(env))).rejects.toThrow('docker does not give a: the disk is full');
  });

  test('breaks off in the middle', async () => {
    const { env } = await listen((url) => ({ status: 200, body: smallArchive(), cut: url.endsWith('/get') }));
    await expect(openImage('dockerd://a', options(env))).rejects.toThrow('docker broke off while it sent a');
  });
});

describe('a daemon that may not be used', () => {
  const refusal = (kind: 'docker' | 'podman') =>
    explainUnreachable(
      kind,
      { kind: 'unix', path: '/x.sock', from: 'its usual place' },
      Object.assign(new Error(), { code: 'EACCES' }),
    );

  test('has a cure', () => {
    expect(refusal('docker')).toMatchObject({
      message: 'cannot reach docker at /x.sock, its usual place: permission denied',
      hint: expect.stringContaining('usermod -aG docker'),
    });
    expect(refusal('podman').hint).toBe('start your own: systemctl --user start podman.socket');
  });
});

describe('a daemon behind TLS', () => {
  testNeeding('openssl')('is known by its certificate, and knows us by ours', async () => {
    const certificates = join(dir, 'tls');
    mkdirSync(certificates);
    run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1',
      '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
      '-keyout', join(certificates, 'key.pem'), '-out', join(certificates, 'cert.pem')); // biome-ignore format: pairs
    const [key, cert] = ['key.pem', 'cert.pem'].map((name) => readFileSync(join(certificates, name)));
    const server = createTlsServer(
      { key, cert, ca: cert, requestCert: true, rejectUnauthorized: true },
      (request, response) => {
        response.end(request.url?.endsWith('/get') ? smallArchive() : '{}');
      },
    );
    await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
    const DOCKER_HOST = `tcp://localhost:${(server.address() as AddressInfo).port}`;
    const env = { DOCKER_HOST, DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: certificates };
    try {
      // Nobody vouches for the server.
      await expect(openImage('dockerd://a', options(env))).rejects.toThrow(
        /cannot reach docker at localhost:.*self-signed/,
      );
      writeFileSync(join(certificates, 'ca.pem'), cert ?? '');
      await (await openImage('dockerd://a', options(env))).close();
      // Nobody vouches for us.
      rmSync(join(certificates, 'cert.pem'));
      await expect(openImage('dockerd://a', options(env))).rejects.toThrow('cannot reach docker at localhost:');
    } finally {
      server.close();
    }
  });
});
