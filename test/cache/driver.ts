// SPDX-License-Identifier: Apache-2.0
// A process that obtains one blob: node driver.ts JSON. Says "asking", "downloading OFFSET" when it begins to, and its outcome at the end.
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { openCache } from '../../src/cache/blob-cache.ts';
import type { PartialBlob } from '../../src/cache/partial.ts';

export interface DriverOptions {
  readonly directory: string;
  readonly url: string;
  readonly digest: string;
  readonly sizeBytes: number;
  /** Pretends to be another host. */
  readonly hostKey?: string;
  readonly heartbeatMs?: number;
  readonly staleMs?: number;
  readonly umask?: number;
}

/** A download in the way of the registry client: it goes on from where the partial blob ends. */
export async function downloadFrom(url: string, partial: PartialBlob, signal: AbortSignal): Promise<void> {
  const request = get(url, { headers: { range: `bytes=${partial.sizeBytes}-` }, signal, agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  if (response.statusCode !== 206) throw new Error(`status ${response.statusCode}`);
  for await (const chunk of response) await partial.append(chunk as Buffer);
}

async function main(options: DriverOptions): Promise<void> {
  if (options.umask !== undefined) process.umask(options.umask);
  const cache = await openCache(options.directory, {
    heartbeatMs: options.heartbeatMs ?? 2000,
    staleMs: options.staleMs ?? 15_000,
    ...(options.hostKey !== undefined && { host: { name: `host-${options.hostKey}`, key: options.hostKey } }),
  });
  const blob = { mediaType: 'application/octet-stream', digest: options.digest, sizeBytes: options.sizeBytes };
  process.stdout.write('asking\n');
  const outcome = await cache.obtain(blob, async (partial, signal) => {
    process.stdout.write(`downloading ${partial.sizeBytes}\n`);
    await downloadFrom(options.url, partial, signal);
  });
  process.stdout.write(`${outcome}\n`);
}

if (process.argv[1] === import.meta.filename) await main(JSON.parse(process.argv[2] as string) as DriverOptions);
