// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { cutEveryTenth, expireTokens, onTries } from '../support/fault-rules.ts';
import { digestOf, type Layout, type LayoutBlob, randomLayer, writeLayout } from '../support/random-layout.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { sessionDir } from '../support/session.ts';
import { startTokenServer, type TokenServer } from '../support/token-server.ts';
import { clientOf, closeClients, errorOf, keychainOf, MemoryPartial, never, passwordOf, refOf } from './support.ts';

let layout: Layout;
let tokens: TokenServer;
let registry: TestRegistry;
let proxy: FaultProxy;
let blob: LayoutBlob;

beforeAll(async () => {
  const directory = mkdtempSync(path.join(sessionDir(), 'layout-'));
  layout = writeLayout(directory, 'one', [1_000_000, 50_000, 50_001, 50_002, 50_003].map(randomLayer));
  blob = layout.layers[0] as LayoutBlob;
  tokens = await startTokenServer();
  registry = await startRegistry({ auth: tokens });
  await registry.push(layout.source, 'team/app:1.0');
  proxy = await startFaultProxy(registry.url);
});

afterEach(() => {
  closeClients();
  proxy.reset();
});

afterAll(async () => {
  await proxy?.stop();
  await Promise.all([registry?.stop(), tokens?.stop()]);
});

const ref = () => refOf(proxy.host, 'team/app', '1.0');
const withPassword = () => ({ keychain: keychainOf({ [proxy.host]: passwordOf(tokens.user, tokens.password) }) });
const challenge = () => `Bearer realm="${tokens.realm}",service="${tokens.service}"`;
const blobRequests = () => proxy.requests.filter(({ kind, status }) => kind === 'blob' && status !== 401);

/** Downloads a blob through the proxy, and sees that it is right. */
async function download(client = clientOf(), partial = new MemoryPartial(), what = blob): Promise<MemoryPartial> {
  await client.downloadBlob(ref(), what, partial, never);
  expect(digestOf(partial.bytes)).toBe(what.digest);
  return partial;
}

describe('a connection that is cut', () => {
  test('at every tenth of the blob costs no byte twice', async () => {
    await download(); // the proxy learns the size
    proxy.reset();
    proxy.inject(cutEveryTenth());
    const partial = await download(clientOf({ retries: 1 }));
    expect(blobRequests().map(({ status }) => status)).toEqual([200, ...Array(9).fill(206)]);
    expect(proxy.sentBytes(blob.digest)).toBe(blob.sizeBytes);
    expect(partial.restarts).toBe(0);
  });

  test('before the answer is tried again', async () => {
    proxy.inject(
      onTries(2, { kind: 'cut', atByte: 'before' }),
      onTries(1, { kind: 'cut', atByte: 'before' }, 'manifest'),
    );
    const client = clientOf();
    await client.fetchManifest(ref());
    await download(client);
    expect(proxy.sentBytes(blob.digest)).toBe(blob.sizeBytes);
  });

  test('again and again without a further byte is given up after the retries', async () => {
    proxy.inject(onTries(99, { kind: 'cut', atByte: 1000 }));
    const error = await errorOf(clientOf({ retries: 2 }).downloadBlob(ref(), blob, new MemoryPartial(), never));
    expect(error.message).toContain(
      `blob ${blob.digest} of team/app at ${proxy.host}: connection to ${proxy.host} was cut`,
    );
    // The first got bytes and so does not count: it, two more, and the challenge.
    expect(blobRequests()).toHaveLength(1 + 2);
  });

  test('is the end without retries, also after progress', async () => {
    proxy.inject(onTries(99, { kind: 'cut', atByte: 1000 }));
    const partial = new MemoryPartial();
    await expect(clientOf({ retries: 0 }).downloadBlob(ref(), blob, partial, never)).rejects.toThrow(/was cut/);
    expect(partial.sizeBytes).toBe(1000);
  });

  test('leaves what the next client goes on from', async () => {
    const partial = await download(clientOf(), new MemoryPartial(blob.bytes.subarray(0, 123_456)));
    expect(partial.restarts).toBe(0);
    expect(blobRequests().map(({ headers }) => headers.range)).toEqual(['bytes=123456-']);
    expect(proxy.sentBytes(blob.digest)).toBe(blob.sizeBytes - 123_456);
  });
});

describe('a body that is not the blob', () => {
  test('but shorter is asked for the rest', async () => {
    proxy.inject(onTries(1, { kind: 'short', atByte: 400_000 }));
    const client = clientOf();
    await download(client);
    expect(client.log.join('\n')).toContain(`only 400000 of ${blob.sizeBytes} bytes came`);
    expect(proxy.sentBytes(blob.digest)).toBe(blob.sizeBytes);
  });

  test('but longer is cut off, and nothing of it is kept', async () => {
    proxy.inject(onTries(99, { kind: 'long', extraBytes: 5 }));
    const partial = new MemoryPartial();
    const error = await errorOf(clientOf().downloadBlob(ref(), blob, partial, never));
    expect(error.message).toContain(`it is longer than the ${blob.sizeBytes} bytes of its descriptor`);
    expect(partial.sizeBytes).toBe(0);
    expect(blobRequests()).toHaveLength(1);
  });

  test('is handed on as it came: the cache compares digests', async () => {
    proxy.inject(onTries(1, { kind: 'corrupt', atByte: 77 }));
    const partial = new MemoryPartial();
    await clientOf().downloadBlob(ref(), blob, partial, never);
    expect(partial.sizeBytes).toBe(blob.sizeBytes);
    expect(digestOf(partial.bytes)).not.toBe(blob.digest);
  });
});

describe('a server that ignores ranges', () => {
  test('has what is there read past, not stored twice', async () => {
    proxy.inject(onTries(1, { kind: 'cut', atByte: 600_000 }), onTries(99, { kind: 'no-range' }));
    const partial = await download();
    expect(partial.restarts).toBe(0);
    expect(blobRequests().map(({ status }) => status)).toEqual([200, 200]);
  });

  test('with 416 is asked without a range', async () => {
    proxy.inject((request) => (request.headers.range === undefined ? null : { kind: 'answer', status: 416 }));
    await download(clientOf(), new MemoryPartial(blob.bytes.subarray(0, 10)));
    expect(blobRequests().map(({ status }) => status)).toEqual([416, 200]);
  });

  test('by sending another part than was asked for is asked without a range', async () => {
    const headers = { 'content-range': `bytes 500-599/${blob.sizeBytes}` };
    proxy.inject(({ headers: { range } }) =>
      range ? { kind: 'answer', status: 206, headers, body: 'x'.repeat(100) } : null,
    );
    await download(clientOf(), new MemoryPartial(blob.bytes.subarray(0, 10)));
    expect(blobRequests().map(({ status }) => status)).toEqual([206, 200]);
  });
});

describe('a registry in trouble', () => {
  test('with 500, 502 and 503 is asked again', async () => {
    for (const [index, status] of [500, 502, 503].entries()) {
      proxy.inject(({ kind, tryNumber }) =>
        kind === 'blob' && tryNumber === index + 1 ? { kind: 'answer', status } : null,
      );
    }
    await download();
    expect(blobRequests().map(({ status }) => status)).toEqual([500, 502, 503, 200]);
  });

  test('that asks for patience by 429 and Retry-After gets it', async () => {
    proxy.inject(onTries(1, { kind: 'answer', status: 429, headers: { 'retry-after': '1' } }));
    const client = clientOf();
    const startMs = performance.now();
    await download(client);
    expect(performance.now() - startMs).toBeGreaterThan(990);
    expect(client.log.join('\n')).toMatch(/too many requests.*in 1 s, as the server asks/);
  });

  test('is named when the retries are used up, with its own words and without terminal codes', async () => {
    const body = JSON.stringify({ errors: [{ code: 'TOOMANYREQUESTS', message: 'pull \u001b[31mrate\nlimit' }] });
    proxy.inject(onTries(99, { kind: 'answer', status: 429, body }, 'manifest'));
    const error = await errorOf(clientOf({ retries: 1 }).fetchManifest(ref()));
    expect(error.message).toContain('too many requests: TOOMANYREQUESTS: pull [31mrate limit (GET ');
    expect(error.message).toContain('anonymous');
    expect(error.hint).toContain('docker login');
  });

  test('with an endless error page is read 64 KiB of, and one line of it is shown', async () => {
    proxy.inject(
      onTries(
        99,
        { kind: 'answer', status: 502, headers: { 'content-type': 'text/plain' }, body: `oh no\n${'x'.repeat(1e6)}` },
        'manifest',
      ),
    );
    const error = await errorOf(clientOf({ retries: 0 }).fetchManifest(ref()));
    expect(error.message).toContain('the registry is in trouble: oh no (GET');
  });

  test('in which nothing comes any more is asked again for the rest', async () => {
    proxy.inject(onTries(1, { kind: 'stall', atByte: 250_000 }));
    const client = clientOf({ stallTimeoutMs: 300 });
    await download(client);
    expect(client.log.join('\n')).toContain('nothing arrived for 0.3 s');
    expect(proxy.sentBytes(blob.digest)).toBe(blob.sizeBytes);
  });

  test('that is too slow for the transfer timeout is given up after the retries, however far it came', async () => {
    proxy.inject(onTries(99, { kind: 'slow', bytesPerSecond: 200_000 }));
    const error = await errorOf(
      clientOf({ retries: 1, transferTimeoutSeconds: 0.4 }).downloadBlob(ref(), blob, new MemoryPartial(), never),
    );
    expect(error.message).toContain('not done within 0.4 s');
    expect(error.hint).toContain('ENROOT_TRANSFER_TIMEOUT');
    expect(blobRequests()).toHaveLength(2);
  });
});

describe('a redirect to another origin', () => {
  test('is followed without credentials, also from an offset', async () => {
    proxy.inject(onTries(99, { kind: 'redirect' }));
    await download(clientOf(withPassword()), new MemoryPartial(blob.bytes.subarray(0, 1000)));
    expect(proxy.elsewhere.requests).toHaveLength(1);
    const [there] = proxy.elsewhere.requests;
    expect(there?.headers.range).toBe('bytes=1000-');
    expect(there?.headers.authorization).toBeUndefined();
    expect(there?.headers.cookie).toBeUndefined();
    expect(proxy.requests.at(-1)?.headers.authorization).toMatch(/^Bearer /);
  });

  test('that fails is asked for anew, and told without what its URL hides', async () => {
    proxy.inject(
      onTries(99, {
        kind: 'answer',
        status: 307,
        headers: { location: `http://${proxy.elsewhere.host}/gone?X-Signature=signed-url-secret` },
      }),
    );
    const client = clientOf({ ...withPassword(), retries: 1 });
    const error = await errorOf(client.downloadBlob(ref(), blob, new MemoryPartial(), never));
    expect(error.message).toContain(`GET http://${proxy.elsewhere.host}/gone?*** gave 404`);
    expect(error.message).toContain(`sent there by ${proxy.host}, so without credentials`);
    expect([error.message, error.hint, ...client.log].join('\n')).not.toContain('signed-url-secret');
    expect(proxy.elsewhere.requests).toHaveLength(2);
  });
});

describe('a token that expires in mid-pull', () => {
  for (const status of [401, 400, 403]) {
    test(`by ${status} is replaced by one new token for all blobs`, async () => {
      const client = clientOf(withPassword());
      await client.fetchManifest(ref());
      proxy.inject(expireTokens({ afterRequests: 2, status, challenge: challenge() }));
      const before = tokens.asks.length;
      await download(client, undefined, layout.layers[1]);
      await download(client, undefined, layout.layers[2]);
      expect(tokens.asks.length - before).toBe(0);
      await Promise.all([download(client), download(client, undefined, layout.layers[3])]);
      expect(tokens.asks.length - before).toBe(1);
    });
  }

  test('between two tries of one blob is replaced, and the rest is asked for', async () => {
    const client = clientOf(withPassword());
    proxy.inject(
      expireTokens({ afterRequests: 1, challenge: challenge() }),
      onTries(1, { kind: 'cut', atByte: 300_000 }),
    );
    proxy.inject(onTries(2, { kind: 'cut', atByte: 300_000 }));
    await download(client);
    expect(proxy.sentBytes(blob.digest)).toBe(blob.sizeBytes);
    expect(client.log.join('\n')).toContain('401 with a token that served before; took a new one');
  });

  test('is not sent any more when its life is over', async () => {
    const short = await startTokenServer({ lifeSeconds: 30, field: 'access_token' });
    const strict = await startRegistry({ auth: short });
    try {
      await strict.push(layout.source, 'team/app:1.0');
      const before = short.asks.length;
      const client = clientOf();
      const there = refOf(strict.host, 'team/app', '1.0');
      await client.fetchManifest(there);
      await client.fetchManifest(there);
      expect(short.asks.length - before).toBe(1);
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 25_000 });
      await client.fetchManifest(there);
      expect(short.asks.length - before).toBe(2);
    } finally {
      vi.useRealTimers();
      await Promise.all([strict.stop(), short.stop()]);
    }
  });

  test('for what it may never read is given up after one new token', async () => {
    const client = clientOf(withPassword());
    await client.fetchManifest(ref());
    const before = tokens.asks.length;
    const body = JSON.stringify({ errors: [{ code: 'DENIED', message: 'no' }] });
    proxy.inject(onTries(99, { kind: 'answer', status: 403, body }));
    const error = await errorOf(client.downloadBlob(ref(), blob, new MemoryPartial(), never));
    expect(tokens.asks.length - before).toBe(1);
    expect(error.message).toContain('access denied: DENIED: no');
    expect(error.message).toContain(`scope repository:team/app:pull; user ${tokens.user} by the test`);
    expect(blobRequests()).toHaveLength(2);
  });
});

describe('what ends early', () => {
  test('by an abort throws the reason and stops the transfer', async () => {
    proxy.inject(onTries(99, { kind: 'stall', atByte: 1000 }));
    const controller = new AbortController();
    const partial = new MemoryPartial();
    const reason = new Error('enough');
    const append = partial.append.bind(partial);
    partial.append = (chunk) => {
      append(chunk);
      controller.abort(reason);
    };
    await expect(clientOf().downloadBlob(ref(), blob, partial, controller.signal)).rejects.toBe(reason);
  });

  test('by close ends what is under way', async () => {
    proxy.inject(onTries(99, { kind: 'stall', atByte: 1000 }));
    const client = clientOf();
    const partial = new MemoryPartial();
    partial.append = () => client.close();
    await expect(client.downloadBlob(ref(), blob, partial, never)).rejects.toThrow('the registry client was closed');
  });

  test('because the disk is full says so, and is not tried again', async () => {
    const full = Object.assign(new Error('no space'), { code: 'ENOSPC' });
    const partial = new MemoryPartial();
    const failing = Object.assign(partial, { append: () => Promise.reject(full) });
    await expect(clientOf().downloadBlob(ref(), blob, failing, never)).rejects.toBe(full);
    expect(blobRequests()).toHaveLength(1);
  });
});
