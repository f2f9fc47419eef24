// SPDX-License-Identifier: Apache-2.0
import { readErrorText } from './body.ts';
import { parseServerError, RegistryFailure, type RequestFacts } from './errors.ts';
import { hintForStatus, nameStatus } from './hints.ts';
import type { FullOptions } from './options.ts';
import type { SecretMask } from './redact.ts';
import { isTransient, type RetryOptions, readRetryAfter } from './retry.ts';
import type { HttpResponse, Transport } from './transport.ts';

/** What all parts of one client share. */
export interface SharedParts {
  readonly options: FullOptions;
  readonly transport: Transport;
  readonly mask: SecretMask;
  /** Its signal is the client's end. */
  readonly retry: RetryOptions;
}

/** Reads the body of an answer that is an error, and makes the failure of it. */
export async function failFromResponse(
  parts: SharedParts,
  response: HttpResponse,
  facts: RequestFacts,
  options: { retryable?: boolean; text?: string } = {},
): Promise<RegistryFailure> {
  const { status, headers } = response;
  const text = options.text ?? (await readErrorText(response, parts.options.stallTimeoutMs));
  const said = parseServerError(text, headers['content-type'] ?? '', parts.mask);
  const reason = [nameStatus(status, facts), said.code, said.message].filter((part) => part !== '').join(': ');
  return new RegistryFailure(facts, reason, {
    status,
    code: said.code,
    hint: hintForStatus(status, facts),
    retryable: options.retryable ?? isTransient(status),
    retryAfterMs: readRetryAfter(headers['retry-after'], Date.now()),
  });
}
