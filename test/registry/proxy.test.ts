// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { findProxy, isLoopback } from '../../src/registry/proxy.ts';

const find = (url: string, env: Record<string, string>) => findProxy(new URL(url), env)?.href ?? null;

describe('the proxy of a URL', () => {
  test.each([
    ['by its scheme', 'https://r.example/', { HTTPS_PROXY: 'http://p:1', HTTP_PROXY: 'http://q:2' }, 'http://p:1/'],
    [
      'by its scheme, plain',
      'http://r.example/',
      { HTTPS_PROXY: 'http://p:1', HTTP_PROXY: 'http://q:2' },
      'http://q:2/',
    ],
    [
      'in lower case first',
      'https://r.example/',
      { HTTPS_PROXY: 'http://p:1', https_proxy: 'http://l:3' },
      'http://l:3/',
    ],
    ['for all', 'https://r.example/', { ALL_PROXY: 'http://a:4' }, 'http://a:4/'],
    ['without a scheme', 'https://r.example/', { HTTPS_PROXY: 'u:pw@p:1' }, 'http://u:pw@p:1/'],
    ['none', 'https://r.example/', { HTTP_PROXY: 'http://q:2' }, null],
    ['none for this machine', 'http://localhost:5000/', { HTTP_PROXY: 'http://q:2' }, null],
  ])('is %s', (_, url, env, expected) => {
    expect(find(url, env)).toBe(expected);
  });

  test.each([
    ['r.example', true],
    ['.example', true],
    ['*.example', true],
    ['example', true],
    ['*', true],
    ['other, r.example', true],
    ['other r.example', true],
    ['r.example:443', true],
    ['r.example:5000', false],
    ['xample', false],
    ['ar.example', false],
    ['R.EXAMPLE', true],
    ['', false],
  ])('is exempted by NO_PROXY=%s: %s', (noProxy, exempted) => {
    expect(find('https://r.example/', { HTTPS_PROXY: 'http://p:1', NO_PROXY: noProxy }) === null).toBe(exempted);
  });

  test.each([
    ['https://10.1.2.3/', '10.0.0.0/8', true],
    ['https://11.1.2.3/', '10.0.0.0/8', false],
    ['https://10.1.2.3/', '10.1.2.3', true],
    ['https://[fd00::1]/', 'fd00::/16', true],
    ['https://[fd00::1]/', '[fd00::1]', true],
    ['https://[fd00::1]:5000/', '[fd00::1]:5000', true],
    ['https://r.example/', '10.0.0.0/8', false],
    ['https://10.1.2.3/', '10.0.0.0/99', false],
  ])('%s is exempted by NO_PROXY=%s: %s', (url, noProxy, exempted) => {
    expect(find(url, { HTTPS_PROXY: 'http://p:1', no_proxy: noProxy }) === null).toBe(exempted);
  });

  test('that is of SOCKS is refused without its password', () => {
    expect(() => find('https://r.example/', { ALL_PROXY: 'socks5://u:secret@p:1' })).toThrow(
      /^ALL_PROXY names a proxy of socks5, of which only http and https serve$/,
    );
    expect(() => find('https://r.example/', { HTTPS_PROXY: 'http://u:secret@:::' })).toThrow(
      /^HTTPS_PROXY is not a URL$/,
    );
  });
});

test('this machine is known by its names and addresses', () => {
  expect(['localhost', 'a.localhost', '127.0.0.1', '127.9.9.9', '[::1]', '::1'].filter(isLoopback)).toHaveLength(6);
  expect(['localhost.example', '128.0.0.1', '127.evil.example', '[::2]', '10.0.0.1'].filter(isLoopback)).toEqual([]);
});
