// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { findKey, namesOf, splitKey, trustedRealms, withoutPort } from '../../src/credentials/hosts.ts';

const hub = 'registry-1.docker.io';

describe('the names of a registry', () => {
  test.each<[string, string[]]>([
    ['nvcr.io', ['nvcr.io']],
    ['localhost:5000', ['localhost:5000', 'localhost']],
    ['[::1]:5000', ['[::1]:5000', '[::1]']],
    ['[::1]', ['[::1]']],
    [hub, [hub, 'docker.io', 'index.docker.io']],
  ])('%s is known as %j', (registry, names) => {
    expect(namesOf(registry)).toEqual(names);
    expect(withoutPort(registry)).toBe(names.length === 2 ? names[1] : registry);
  });

  test.each<[registry: string, realm: string, trusted: string[]]>([
    ['nvcr.io', '', ['authn.nvidia.com']],
    [hub, 'auth.docker.io', ['auth.docker.io']],
    ['registry.gitlab.com', 'gitlab.com', ['gitlab.com', 'gitlab.com']],
    ['registry.example.com:5050', 'example.com:8443', ['example.com:8443', 'example.com']],
    ['evil.example', 'nvcr.io', []],
    ['evil.example', 'authn.nvidia.com', []],
    ['evilgitlab.com', 'gitlab.com', []],
    ['evil.com', 'com', []],
    ['constructor', 'constructor', []],
    ['nvcr.io.evil.example', 'authn.nvidia.com', []],
  ])('%s may be served by entries for its token server %s: %j', (registry, realm, trusted) => {
    expect(trustedRealms(registry, realm)).toEqual(trusted);
  });
});

describe('keys of config.json and auth.json', () => {
  test.each([
    ['https://index.docker.io/v1/', hub, ''],
    ['docker.io', hub, ''],
    ['docker.io/library/x', hub, 'library/x'],
    ['https://ghcr.io', 'ghcr.io', ''],
    ['HTTP://Host.example:5000/v2/', 'host.example:5000', ''],
    ['quay.io/team/app', 'quay.io', 'team/app'],
  ])('%s is %s, namespace %j', (key, registry, path) => {
    expect(splitKey(key)).toEqual({ registry, path });
  });

  test('serve the same host only, with the longest namespace', () => {
    const keys = [
      'quay.io',
      'quay.io/team',
      'quay.io/team/app',
      'notquay.io',
      'quay.io.evil',
      'quay.io:443',
      'nvcr.io/x',
    ];
    expect(findKey(keys, 'quay.io', 'team/app')).toBe('quay.io/team/app');
    expect(findKey(keys, 'quay.io', 'team/app/x')).toBe('quay.io/team/app');
    expect(findKey(keys, 'quay.io', 'team/application')).toBe('quay.io/team');
    expect(findKey(keys, 'quay.io', 'teams/x')).toBe('quay.io');
    expect(findKey(keys, 'nvcr.io', 'y')).toBeUndefined();
    expect(findKey(keys, 'io', 'y')).toBeUndefined();
  });
});
