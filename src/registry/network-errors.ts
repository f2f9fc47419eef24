// SPDX-License-Identifier: Apache-2.0
import { TransportFailure } from './errors.ts';

/** What a connection was to: for the words of its errors. */
export interface Peer {
  readonly url: URL;
  /** `http://proxy:3128`, without a password; '' when there is none. */
  readonly proxy: string;
}

const certificateCure = (host: string) =>
  `if it is your own, put the certificate of its authority into certs.d/${host}/ca.crt (of /etc/docker or of enroot's configuration)`;

const unknownAuthority = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_UNTRUSTED',
]);

/** An error of Node's net, tls or http as a TransportFailure: why in words, what cures it, whether another try may help. */
export function describeNetworkError(error: unknown, peer: Peer): unknown {
  if (error instanceof TransportFailure || !(error instanceof Error)) return error;
  const { code = '', message } = error as NodeJS.ErrnoException;
  if (code === 'ABORT_ERR' || error.name === 'AbortError') return error;
  const make = (reason: string, hint: string, retryable: boolean, ownCode = code) =>
    new TransportFailure(ownCode, reason, { hint, retryable, cause: error });
  const { host } = peer.url;
  const to = peer.proxy === '' ? `to ${host}` : `to ${host} through the proxy ${peer.proxy}`;
  const network =
    peer.proxy === ''
      ? `check the name and that ${host} can be reached from here; behind a proxy, set HTTPS_PROXY`
      : `check HTTPS_PROXY and HTTP_PROXY, and NO_PROXY for hosts that need no proxy`;

  if (unknownAuthority.has(code)) {
    return make(
      `the certificate of ${host} is signed by an authority that is not known here`,
      certificateCure(host),
      false,
    );
  }
  switch (code) {
    case 'CERT_HAS_EXPIRED':
      return make(`the certificate of ${host} has expired`, "check this machine's clock; else tell who runs it", false);
    case 'CERT_NOT_YET_VALID':
      return make(`the certificate of ${host} is not valid yet`, "check this machine's clock", false);
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return make(
        `the certificate of ${host} is for another host: ${hostsOf(error)}`,
        'use the name that the certificate is for',
        false,
      );
    case 'CERT_REVOKED':
      return make(`the certificate of ${host} was revoked`, 'tell who runs it', false);
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'EAI_FAIL': {
      const name = (error as { hostname?: string }).hostname ?? peer.url.hostname;
      return make(`the host name ${name} cannot be resolved`, network, code !== 'ENOTFOUND');
    }
    case 'ECONNREFUSED':
      return make(`connection ${to} refused`, network, true);
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return make(`no route ${to}`, network, true);
    case 'ETIMEDOUT':
      return make(`connection ${to} timed out`, network, true);
    case 'ERR_PROXY_TUNNEL': {
      const status = /HTTP\/1\.\d (\d{3})/.exec(message)?.[1];
      const denied = status === '407' ? 'put USER:PASSWORD@ into HTTPS_PROXY' : network;
      return make(
        `no tunnel ${to}${status === undefined ? '' : `: it answered ${status}`}`,
        denied,
        !/^4/.test(status ?? ''),
      );
    }
    case 'ECONNRESET':
    case 'EPIPE':
      return make(`connection ${to} was cut`, network, true);
    default:
  }
  if (isNotTls(error)) {
    return make(
      `${host} does not speak TLS`,
      'where the network is trusted, ENROOT_ALLOW_HTTP=y allows plain HTTP',
      false,
      'NOT_TLS',
    );
  }
  if (code.startsWith('ERR_SSL') || code === 'EPROTO') {
    const detail = /SSL routines:[^:]*:([^:]+)/.exec(message)?.[1] ?? code;
    const client = /alert|certificate required/i.test(detail)
      ? `; if it wants a client certificate, put it into certs.d/${host}/client.cert and client.key`
      : '';
    return make(
      `TLS with ${host} failed: ${detail.trim()}`,
      `check that ${host} is the right host and port${client}`,
      false,
    );
  }
  const known = code.startsWith('HPE_') ? `${host} does not speak HTTP properly (${code})` : `${message || code}`;
  return make(known, network, true);
}

/** True when the other side answered a TLS greeting with something else. */
function isNotTls(error: unknown): boolean {
  const { code = '', message = '' } = error as NodeJS.ErrnoException;
  return code === 'ERR_SSL_WRONG_VERSION_NUMBER' || /wrong version number|packet length too long/.test(message);
}

function hostsOf(error: Error): string {
  const certificate = (error as { cert?: { subjectaltname?: string; subject?: { CN?: string } } }).cert;
  const names = certificate?.subjectaltname?.replace(/(DNS|IP Address):/g, '') ?? certificate?.subject?.CN ?? 'unknown';
  return names.replace(/[^\w.,:* -]/g, '').slice(0, 200);
}
