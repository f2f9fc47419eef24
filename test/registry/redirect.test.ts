// SPDX-License-Identifier: Apache-2.0
import type { OutgoingHttpHeaders } from 'node:http';
import { describe, expect, test } from 'vitest';
import { sendFollowing } from '../../src/registry/redirect.ts';
import type { HttpRequest, HttpResponse, Transport } from '../../src/registry/transport.ts';
import { errorOf } from './support.ts';

/** A transport that answers from a table: a URL has a status and a Location, and 200 when it is not there. */
function transportOf(table: Record<string, readonly [number, string]>): Transport & { sent: HttpRequest[] } {
  const sent: HttpRequest[] = [];
  return {
    sent,
    close: () => {},
    send: (request) => {
      sent.push(request);
      const [status, location] = table[request.url.href] ?? [200, ''];
      const body = { resume: () => {}, destroy: () => {} };
      const headers = location === '' ? {} : { location };
      return Promise.resolve({
        method: request.method,
        status,
        headers,
        body,
        url: request.url,
        describe: (e: unknown) => e,
      } as unknown as HttpResponse);
    },
  };
}

const secrets: OutgoingHttpHeaders = { Authorization: 'Bearer t', cookie: 'c', range: 'bytes=5-' };
const get = (url: string): HttpRequest => ({ method: 'GET', url: new URL(url), headers: secrets });
const headersAt = (transport: { sent: HttpRequest[] }, index: number) =>
  Object.keys(transport.sent.at(index)?.headers ?? {});

describe('a redirect', () => {
  test.each([301, 302, 303, 307, 308])('by %s is followed, with credentials to the same origin', async (status) => {
    const transport = transportOf({ 'https://r.example/a': [status, '/b?x=1'] });
    const response = await sendFollowing(transport, get('https://r.example/a'), false);
    expect(response.url.href).toBe('https://r.example/b?x=1');
    expect(response.crossedOrigin).toBe(false);
    expect(headersAt(transport, -1)).toEqual(['Authorization', 'cookie', 'range']);
  });

  test.each([
    ['another host', 'https://cdn.example/b'],
    ['another port', 'https://r.example:8443/b'],
    ['a host above', 'https://example/b'],
    ['a host below', 'https://x.r.example/b'],
    ['another host without a scheme', '//cdn.example/b'],
  ])('to %s takes no credentials along, but the range', async (_, location) => {
    const transport = transportOf({ 'https://r.example/a': [307, location] });
    const response = await sendFollowing(transport, get('https://r.example/a'), false);
    expect(response.crossedOrigin).toBe(true);
    expect(headersAt(transport, -1)).toEqual(['range']);
  });

  test('back to the origin does not bring the credentials back', async () => {
    const transport = transportOf({
      'https://r.example/a': [307, 'https://cdn.example/b'],
      'https://cdn.example/b': [307, 'https://r.example/c'],
    });
    const response = await sendFollowing(transport, get('https://r.example/a'), false);
    expect(response.url.href).toBe('https://r.example/c');
    expect(response.crossedOrigin).toBe(true);
    expect(headersAt(transport, 2)).toEqual(['range']);
  });

  test('to a URL with a password does not use it', async () => {
    const transport = transportOf({ 'https://r.example/a': [307, 'https://u:p@cdn.example/b#f'] });
    expect((await sendFollowing(transport, get('https://r.example/a'), false)).url.href).toBe('https://cdn.example/b');
  });

  test('to plain HTTP is refused, unless it is allowed', async () => {
    const table = { 'https://r.example/a': [307, 'http://cdn.example/b?secret=x'] as const };
    const error = await errorOf(sendFollowing(transportOf(table), get('https://r.example/a'), false));
    expect(error.message).toBe('r.example answered with a redirect to plain HTTP, http://cdn.example/b?***');
    expect(error.hint).toContain('ENROOT_ALLOW_HTTP');
    expect((await sendFollowing(transportOf(table), get('https://r.example/a'), true)).url.href).toBe(
      'http://cdn.example/b?secret=x',
    );
  });

  test('from https to this machine by plain HTTP is refused', async () => {
    const transport = transportOf({ 'https://r.example/a': [307, 'http://127.0.0.1:80/b'] });
    await expect(sendFollowing(transport, get('https://r.example/a'), false)).rejects.toThrow(/plain HTTP/);
  });

  test.each([
    ['a file', 'file:///etc/passwd', /a redirect to file, not https$/],
    ['nowhere', '', /a redirect without Location$/],
    ['nonsense', 'https://[', /a redirect to what is not a URL/],
  ])('to %s is refused', async (_, location, message) => {
    const transport = transportOf({ 'https://r.example/a': [302, location] });
    await expect(sendFollowing(transport, get('https://r.example/a'), true)).rejects.toThrow(message);
  });

  test('is followed ten times, not eleven', async () => {
    const table = (count: number) =>
      Object.fromEntries(
        Array.from({ length: count }, (_, i) => [`https://r.example/${i}`, [302, `/${i + 1}`] as const]),
      );
    const response = await sendFollowing(transportOf(table(10)), get('https://r.example/0'), false);
    expect(response.url.pathname).toBe('/10');
    await expect(sendFollowing(transportOf(table(11)), get('https://r.example/0'), false)).rejects.toThrow(
      /more than 10 redirects/,
    );
  });

  test('of an upload is followed only where it says to send it again', async () => {
    const put = { ...get('https://r.example/a'), method: 'PUT', body: Buffer.from('x') };
    const transport = transportOf({ 'https://r.example/a': [307, '/b'] });
    await sendFollowing(transport, put, false);
    expect(transport.sent.at(-1)).toMatchObject({ method: 'PUT', body: put.body });
    const other = transportOf({ 'https://r.example/a': [302, '/b'] });
    await expect(sendFollowing(other, put, false)).rejects.toThrow(/a redirect \(302\) that does not say to PUT again/);
  });
});
