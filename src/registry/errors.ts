// SPDX-License-Identifier: Apache-2.0
import { Failure } from '../failure.ts';
import { cleanText, redactUrl, type SecretMask } from './redact.ts';

/** Trouble of one request below HTTP, or in how HTTP was spoken; becomes a RegistryFailure where it is known what was asked for. */
export class TransportFailure extends Error {
  /** An errno, a code of Node or OpenSSL, or one of ours (`STALLED`, `CONNECT_TIMEOUT`, `TRANSFER_TIMEOUT`, `REDIRECT`). */
  readonly code: string;
  readonly hint: string;
  readonly retryable: boolean;

  constructor(code: string, reason: string, options: { hint?: string; retryable: boolean; cause?: unknown }) {
    super(reason, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint ?? '';
    this.retryable = options.retryable;
  }
}

/** What was asked of whom; all of it may be shown. */
export interface RequestFacts {
  /** `manifest 24.04 of library/ubuntu at registry-1.docker.io`. */
  readonly what: string;
  readonly registry: string;
  readonly repository: string;
  readonly method: string;
  readonly url: URL;
  /** Asked for in a token; '' when no token was. */
  readonly scope: string;
  /** `anonymous`, or the user and where the credential was found. */
  readonly identity: string;
}

export interface RegistryFailureOptions {
  readonly hint?: string;
  readonly status?: number;
  readonly code?: string;
  readonly retryable?: boolean;
  readonly retryAfterMs?: number | null;
  readonly cause?: unknown;
}

/** A registry did not do what it was asked. */
export class RegistryFailure extends Failure {
  /** Of HTTP; 0 when there was no answer. */
  readonly status: number;
  /** The registry's own error code (`MANIFEST_UNKNOWN`), or a TransportFailure's; '' when there is none. */
  readonly code: string;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
  /** How long the server asked to be left alone; null when it did not say. */
  readonly retryAfterMs: number | null;

  readonly #told: readonly [RequestFacts, string, RegistryFailureOptions];

  constructor(facts: RequestFacts, reason: string, options: RegistryFailureOptions = {}) {
    const status = options.status ? ` gave ${options.status}` : '';
    const scope = facts.scope === '' ? '' : `; scope ${cleanText(facts.scope, 500)}`;
    const details = `${facts.method} ${redactUrl(facts.url)}${status}${scope}; ${facts.identity}`;
    super(`${facts.what}: ${reason} (${details})`, { hint: options.hint ?? '', cause: options.cause });
    this.status = options.status ?? 0;
    this.code = options.code ?? '';
    this.retryable = options.retryable ?? false;
    this.retryAfterMs = options.retryAfterMs ?? null;
    this.#told = [facts, reason, options];
  }

  /** The same failure after the tries are used up: whoever asked for the whole is not to begin them anew. */
  givenUp(): RegistryFailure {
    const [facts, reason, options] = this.#told;
    return new RegistryFailure(facts, reason, { ...options, retryable: false });
  }
}

/** A TransportFailure as the RegistryFailure of a request; any other error as it is. */
export function explainTransport(facts: RequestFacts, error: unknown): unknown {
  if (!(error instanceof TransportFailure)) return error;
  const { hint, code, retryable } = error;
  return new RegistryFailure(facts, error.message, { hint, code, retryable, cause: error.cause });
}

/** What a server said about an error: its own code and words, both fit to be shown. */
export interface ServerError {
  readonly code: string;
  readonly message: string;
}

/**
 * Reads the body of an error: a registry's JSON (OCI distribution-spec, "Error Codes"), an OAuth2 error (RFC 6749 section 5.2), what some token
 * servers say instead, or the first line of plain text.
 */
export function parseServerError(body: string, contentType: string, mask: SecretMask): ServerError {
  const show = (text: unknown): string => (typeof text === 'string' ? cleanText(mask.mask(text), 300) : '');
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    const isText = !/html|xml/i.test(contentType) && !body.trimStart().startsWith('<');
    return { code: '', message: isText ? show(body.trim().split('\n', 1)[0]) : '' };
  }
  if (typeof value !== 'object' || value === null) return { code: '', message: show(value) };
  const object = value as Record<string, unknown>;
  const list = Array.isArray(object['errors']) ? (object['errors'] as unknown[]) : [];
  const first = list.find((entry) => typeof entry === 'object' && entry !== null) as
    | Record<string, unknown>
    | undefined;
  if (first !== undefined)
    return { code: show(first['code']), message: show(first['message']) || show(first['detail']) };
  const code = show(object['code']) || (show(object['error_description']) ? show(object['error']) : '');
  const words = ['error_description', 'message', 'details', 'detail', 'error'].map((name) => show(object[name]));
  return { code, message: words.find((text) => text !== '' && text !== code) ?? '' };
}
