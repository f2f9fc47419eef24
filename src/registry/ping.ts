// SPDX-License-Identifier: Apache-2.0
import { discardBody } from './body.ts';
import type { Operations } from './operations.ts';
import { retry } from './retry.ts';

/**
 * Asks for `/v2/` (distribution-spec end-1), logging in when the registry wants it: says whether a login works. Pulls and pushes don't need it: whatever is
 * asked first brings the challenge. Throws RegistryFailure.
 */
export async function pingRegistry(
  { parts, exchange }: Operations,
  registry: string,
  user: string,
  signal: AbortSignal,
): Promise<void> {
  const endpoint = { host: registry, scheme: null, repository: '', user, isMirror: false };
  const response = await retry({ ...parts.retry, signal }, () =>
    exchange.send({ endpoint, what: 'login', method: 'GET', target: '', scopes: [], expected: [200], signal }),
  );
  discardBody(response);
}
