// SPDX-License-Identifier: Apache-2.0
import { RegistryFailure } from './errors.ts';
import { isLoopback } from './proxy.ts';

export type Scheme = 'http' | 'https';

/** Which of http and https a host speaks, learnt from its first answer. */
export interface Schemes {
  /** What to try, in this order: one that is known, or all that are allowed. */
  candidates(host: string): readonly Scheme[];
  remember(host: string, scheme: Scheme): void;
}

/**
 * https alone, unless plain HTTP is allowed: for this machine itself always, else by allowHttp. Where both are allowed the likelier is tried first, and
 * the other when the host turns out not to speak it: http first for this machine (no TLS to load; nothing leaves it) and for a port of its own
 * (registry:5000, the usual private registry; a server of https says at once that it is one, and a password is never sent before the server asked
 * for it), https first where the host names no port (Docker Hub and its like, when allowHttp is set for everything). The choice lasts as long as the
 * client.
 */
export function createSchemes(allowHttp: boolean): Schemes {
  const known = new Map<string, Scheme>();
  return {
    candidates: (host) => {
      const scheme = known.get(host);
      if (scheme !== undefined) return [scheme];
      const { hostname, port } = new URL(`https://${host}`);
      const isLocal = isLoopback(hostname);
      if (!allowHttp && !isLocal) return ['https'];
      return isLocal || (port !== '' && port !== '8443') ? ['http', 'https'] : ['https', 'http'];
    },
    remember: (host, scheme) => known.set(host, scheme),
  };
}

/** Whether an error of the first scheme leaves hope for the other one: the host is there and speaks something else, or nothing listens at its port. */
export function mayBeOtherScheme(tried: Scheme, error: unknown): error is RegistryFailure {
  if (!(error instanceof RegistryFailure) || error.status !== 0) return false;
  // A TLS server answers a plain request with an alert, or just hangs up.
  if (tried === 'http') return /^(ECONNRESET|EPIPE|HPE_.*)$/.test(error.code);
  return /^(NOT_TLS|ECONNREFUSED|ECONNRESET|CONNECT_TIMEOUT|ETIMEDOUT|EHOSTUNREACH)$/.test(error.code);
}

/** Which of the errors of both schemes tells what is wrong. */
export function chooseError(triedFirst: Scheme, first: RegistryFailure, second: unknown): unknown {
  if (!(second instanceof RegistryFailure) || second.status !== 0) return second;
  const isFirst = triedFirst === 'https' || second.code === 'NOT_TLS' || second.code === 'ECONNREFUSED';
  return isFirst ? first : second;
}

/** Whether the text of a 400 says that plain HTTP was spoken with a server of https (Go's and nginx's words). */
export function saysHttps(text: string): boolean {
  return /HTTP request (was sent )?to (an )?HTTPS/i.test(text);
}
