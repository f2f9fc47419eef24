// SPDX-License-Identifier: Apache-2.0
import type { Agent as HttpAgent } from 'node:http';
import type { Duplex } from 'node:stream';
import { readHostCertificates } from './certificates.ts';
import type { FullOptions } from './options.ts';
import { findProxy } from './proxy.ts';

/** What sends a request to a URL: plain or TLS, straight or through a proxy, with the host's certificates. */
export interface Route {
  readonly agent: HttpAgent;
  readonly request: typeof import('node:http').request;
  /** `http://proxy:3128`, without a password; '' when there is none. */
  readonly proxy: string;
}

export interface Agents {
  /** The route to a URL; throws TransportFailure for a proxy that cannot serve, Failure for certificates that cannot be read. */
  find(url: URL): Promise<Route>;
  /** Cuts all connections. */
  close(): void;
}

/**
 * Keeps connections open between requests, one pool per way of going. node:https and the trusted authorities are loaded with the first https URL: they
 * cost 20 ms.
 */
export function createAgents(options: FullOptions): Agents {
  const routes = new Map<string, Promise<Route>>();
  const opened = new Set<HttpAgent>();
  const connecting = new Set<Duplex>();
  let authorities: Promise<string[]> | null = null;
  let closed = false;

  async function make(url: URL, proxy: URL | null): Promise<Route> {
    const proxyEnv = proxy === null ? {} : { proxyEnv: { http_proxy: proxy.href, https_proxy: proxy.href } };
    const common = { keepAlive: true, scheduling: 'lifo' as const, maxFreeSockets: 16, ...proxyEnv };
    const shown = proxy === null ? '' : `${proxy.protocol}//${proxy.host}`;
    if (url.protocol === 'http:') {
      const http = await import('node:http');
      return { agent: keep(new http.Agent(common)), request: http.request, proxy: shown };
    }
    const https = await import('node:https');
    const host = await readHostCertificates(options.certificateDirectories, url);
    authorities ??= import('./trust.ts').then((trust) => trust.readTrustedAuthorities(options.env));
    const ca = [...(await authorities), ...host.authorities];
    const client = { cert: host.clients.map(({ cert }) => cert), key: host.clients.map(({ key }) => key) };
    // The agent itself knows a tunnel only when it is ready: one that a proxy leaves hanging would hold the process.
    class TrackedAgent extends https.Agent {
      override createConnection(
        ...argv: Parameters<HttpAgent['createConnection']>
      ): ReturnType<HttpAgent['createConnection']> {
        const socket = super.createConnection(...argv);
        if (socket) {
          if (proxy !== null) connecting.add(socket);
          socket.once('close', () => connecting.delete(socket));
        }
        return socket;
      }
    }
    const agent = new TrackedAgent({ ...common, ca, ...(host.clients.length > 0 ? client : {}) });
    return { agent: keep(agent), request: https.request as Route['request'], proxy: shown };
  }

  function keep<T extends HttpAgent>(agent: T): T {
    if (closed) agent.destroy();
    else opened.add(agent);
    return agent;
  }

  return {
    find: (url) => {
      const proxy = findProxy(url, options.env);
      const host = url.protocol === 'https:' ? url.host : '';
      const key = `${url.protocol} ${host} ${proxy?.href ?? ''}`;
      const known = routes.get(key);
      if (known !== undefined) return known;
      const route = make(url, proxy);
      routes.set(key, route);
      route.catch(() => routes.delete(key));
      return route;
    },
    close: () => {
      closed = true;
      for (const agent of opened) agent.destroy();
      opened.clear();
      for (const socket of connecting) socket.destroy();
    },
  };
}
