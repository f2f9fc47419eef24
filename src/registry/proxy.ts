// SPDX-License-Identifier: Apache-2.0
import { BlockList, isIP } from 'node:net';
import { TransportFailure } from './errors.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The proxy for a URL as curl chooses it: HTTP_PROXY or HTTPS_PROXY by the URL's scheme, then ALL_PROXY, in lower or upper case (lower first);
 * none for hosts of NO_PROXY (a name also means the names below it; `*`, addresses, address/bits and host:port are understood), nor, as
 * podman and docker do, for this machine itself. null: no proxy. Throws TransportFailure for a proxy that is not of HTTP.
 */
export function findProxy(url: URL, env: Environment): URL | null {
  const scheme = url.protocol === 'https:' ? 'https' : 'http';
  const value = read(env, `${scheme}_proxy`) || read(env, 'all_proxy');
  if (value === '' || isLoopback(url.hostname) || isExcepted(url, read(env, 'no_proxy'))) return null;
  const name = read(env, `${scheme}_proxy`) === '' ? 'ALL_PROXY' : `${scheme.toUpperCase()}_PROXY`;
  const refuse = (why: string) =>
    new TransportFailure('PROXY', `${name} ${why}`, { hint: 'set it to http://HOST:PORT', retryable: false });
  let proxy: URL;
  try {
    proxy = new URL(value.includes('://') ? value : `http://${value}`);
  } catch {
    throw refuse('is not a URL');
  }
  if (proxy.protocol !== 'http:' && proxy.protocol !== 'https:') {
    throw refuse(`names a proxy of ${proxy.protocol.slice(0, -1)}, of which only http and https serve`);
  }
  return proxy;
}

/** True for this machine's own names and addresses: what is sent there does not leave it. */
export function isLoopback(hostname: string): boolean {
  const host = bare(hostname);
  return (
    host === 'localhost' ||
    host.endsWith('.localhost') ||
    host === '::1' ||
    (isIP(host) === 4 && host.startsWith('127.'))
  );
}

function read(env: Environment, name: string): string {
  return env[name] || env[name.toUpperCase()] || '';
}

/** Without the brackets of an IPv6 address. */
function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '').toLowerCase();
}

function isExcepted(url: URL, noProxy: string): boolean {
  const host = bare(url.hostname);
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return noProxy
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
    .some((entry) => entry === '*' || matches(entry.toLowerCase(), host, port));
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry.includes('/')) return isInside(host, entry);
  const withPort = /^(\[[^\]]*\]|[^:]*):(\d+)$/.exec(entry);
  if (withPort !== null && withPort[2] !== port) return false;
  const name = bare(withPort?.[1] ?? entry).replace(/^\*?\./, '');
  return name !== '' && (host === name || host.endsWith(`.${name}`));
}

function isInside(host: string, entry: string): boolean {
  const [address = '', bits = ''] = entry.split('/');
  const version = isIP(bare(address));
  if (version === 0 || isIP(host) !== version || !/^\d+$/.test(bits) || Number(bits) > (version === 4 ? 32 : 128))
    return false;
  const family = version === 4 ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(bare(address), Number(bits), family);
  return list.check(host, family);
}
