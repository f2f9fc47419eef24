// SPDX-License-Identifier: Apache-2.0
import type { PartialBlob } from '../../src/cache/partial.ts';
import type { Credential, Keychain } from '../../src/credentials/keychain.ts';
import type { RegistryReference } from '../../src/reference/registry-reference.ts';
import { createRegistryClient, type RegistryClient, type RegistryOptions } from '../../src/registry/client.ts';

/** A partial blob in memory, which counts. */
export class MemoryPartial implements PartialBlob {
  readonly chunks: Buffer[] = [];
  restarts = 0;
  sizeBytes = 0;

  constructor(present: Buffer = Buffer.alloc(0)) {
    this.append(present);
  }

  append(chunk: Buffer): Promise<void> | void {
    if (chunk.length === 0) return;
    this.chunks.push(Buffer.from(chunk));
    this.sizeBytes += chunk.length;
  }

  restart(): Promise<void> {
    this.restarts++;
    this.chunks.length = 0;
    this.sizeBytes = 0;
    return Promise.resolve();
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

/** What the keychain was asked. */
export interface Lookup {
  readonly registry: string;
  readonly user: string;
  readonly repository: string;
  readonly realmHost: string;
}

/** A keychain with these credentials, by registry; it remembers what it was asked. */
export function keychainOf(credentials: Readonly<Record<string, Credential>> = {}): Keychain & { lookups: Lookup[] } {
  const lookups: Lookup[] = [];
  return {
    lookups,
    looked: [],
    find: (registry, { user, repository, realmHost = '' }) => {
      lookups.push({ registry, user, repository, realmHost });
      return Promise.resolve(credentials[registry] ?? null);
    },
  };
}

export function passwordOf(user: string, secret: string): Credential {
  return { source: 'the test', user, secret, kind: 'password' };
}

const open: RegistryClient[] = [];

/** A client that retries quickly; closed by closeClients. What it logs is in `log`. */
export function clientOf(options: Partial<RegistryOptions> = {}): RegistryClient & { log: string[] } {
  const log: string[] = [];
  const client = createRegistryClient({
    keychain: keychainOf(),
    allowHttp: false,
    connectTimeoutSeconds: 10,
    transferTimeoutSeconds: 0,
    retries: 3,
    retryDelayMs: 2,
    stallTimeoutMs: 10_000,
    log: (text) => log.push(text),
    ...options,
  });
  open.push(client);
  return Object.assign(client, { log });
}

export function closeClients(): void {
  for (const client of open.splice(0)) client.close();
}

export function refOf(
  registry: string,
  repository: string,
  tag: string,
  more: Partial<RegistryReference> = {},
): RegistryReference {
  return { user: '', registry, repository, tag, digest: '', ...more };
}

export const never = new AbortController().signal;

/** What a promise throws. */
export async function errorOf(
  promise: Promise<unknown>,
): Promise<Error & { hint: string; status: number; code: string }> {
  try {
    await promise;
  } catch (error) {
    return error as Error & { hint: string; status: number; code: string };
  }
  throw new Error('nothing was thrown');
}
