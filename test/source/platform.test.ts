// SPDX-License-Identifier: Apache-2.0
import { arch } from 'node:os';
import { describe, expect, test } from 'vitest';
import {
  choosePlatform,
  formatPlatform,
  hostPlatform,
  type IndexEntry,
  missingPlatform,
  parsePlatform,
} from '../../src/source/platform.ts';

describe('a platform as people write it', () => {
  test.each([
    ['amd64', 'linux/amd64'],
    ['x86_64', 'linux/amd64'],
    ['linux/amd64', 'linux/amd64'],
    ['linux/x86_64', 'linux/amd64'],
    ['amd64/v1', 'linux/amd64'],
    ['amd64/v3', 'linux/amd64/v3'],
    ['AMD64', 'linux/amd64'],
    ['arm64', 'linux/arm64'],
    ['aarch64', 'linux/arm64'],
    ['linux/arm64/v8', 'linux/arm64'],
    ['arm64/8', 'linux/arm64'],
    ['armhf', 'linux/arm/v7'],
    ['armel', 'linux/arm/v5'],
    ['armv7l', 'linux/arm/v7'],
    ['armv6l', 'linux/arm/v6'],
    ['arm', 'linux/arm/v7'],
    ['arm/v6', 'linux/arm/v6'],
    ['arm/7', 'linux/arm/v7'],
    ['i386', 'linux/386'],
    ['i686', 'linux/386'],
    ['386', 'linux/386'],
    ['ppc64el', 'linux/ppc64le'],
    ['ppc64le', 'linux/ppc64le'],
    ['mips64el', 'linux/mips64le'],
    ['loongarch64', 'linux/loong64'],
    ['riscv64', 'linux/riscv64'],
    ['s390x', 'linux/s390x'],
    ['vax', 'linux/vax'],
  ])('%s is %s', (text, platform) => {
    expect(formatPlatform(parsePlatform(text))).toBe(platform);
  });

  test.each(['', '/', 'linux/', 'linux', 'windows/amd64', 'a/b/c', 'linux/a/b/c', 'amd 64', '../x'])(
    '"%s" is refused: it is none for Linux',
    (text) => {
      expect(() => parsePlatform(text)).toThrow(/is no platform|containers here run Linux/);
    },
  );

  test("this machine's is what uname says", () => {
    expect(hostPlatform()).toEqual(parsePlatform(arch()));
  });
});

const entry = (platform: string | null, annotations: Record<string, string> = {}): IndexEntry => {
  const [os = '', architecture = '', variant = ''] = (platform ?? '').split('/');
  return {
    mediaType: '',
    digest: platform ?? 'none',
    sizeBytes: 0,
    platform: platform === null ? null : { os, architecture, variant },
    annotations,
  };
};
const choose = (wanted: string, ...platforms: (string | null)[]) =>
  choosePlatform(
    platforms.map((platform) => entry(platform)),
    parsePlatform(wanted),
    'x',
  ).digest;

describe('the manifest of an index', () => {
  const many = ['linux/amd64', 'linux/arm64/v8', 'linux/arm/v7', 'linux/arm/v5', 'linux/386', 'windows/amd64'];

  test.each([
    ['amd64', 'linux/amd64'],
    ['arm64', 'linux/arm64/v8'],
    ['arm64/v8', 'linux/arm64/v8'],
    ['arm64/v9', 'linux/arm64/v8'],
    ['arm/v7', 'linux/arm/v7'],
    ['arm/v6', 'linux/arm/v5'],
    ['arm/v8', 'linux/arm/v7'],
    ['i386', 'linux/386'],
    ['amd64/v4', 'linux/amd64'],
  ])('for %s is %s', (wanted, chosen) => {
    expect(choose(wanted, ...many)).toBe(chosen);
    expect(choose(wanted, ...many.toReversed())).toBe(chosen);
  });

  test('has the highest variant that is not above what is asked for', () => {
    const levels = ['linux/amd64', 'linux/amd64/v2', 'linux/amd64/v3', 'linux/amd64/v4'];
    expect(choose('amd64', ...levels)).toBe('linux/amd64');
    expect(choose('amd64/v3', ...levels)).toBe('linux/amd64/v3');
    expect(choose('amd64/v3', 'linux/amd64/v4', 'linux/amd64/v2', 'linux/amd64/v1')).toBe('linux/amd64/v2');
    expect(() => choose('amd64', 'linux/amd64/v2')).toThrow('x has no image for linux/amd64');
  });

  test('is found under any spelling that images have', () => {
    expect(choose('arm64', 'linux/arm64')).toBe('linux/arm64');
    expect(choose('amd64', 'linux/x86_64')).toBe('linux/x86_64');
    expect(choose('arm', 'linux/arm')).toBe('linux/arm');
  });

  test('is the first of several equal ones', () => {
    const twice = [entry('linux/amd64'), { ...entry('linux/amd64'), digest: 'second' }];
    expect(choosePlatform(twice, parsePlatform('amd64'), 'x').digest).toBe('linux/amd64');
  });

  test('is never an attestation', () => {
    const attestation = entry('linux/amd64', { 'vnd.docker.reference.type': 'attestation-manifest' });
    expect(() => choosePlatform([attestation, entry('unknown/unknown')], parsePlatform('amd64'), 'x')).toThrow(
      'no image for linux/amd64',
    );
  });

  test('is the only one without a platform when no other fits', () => {
    expect(choose('amd64', 'linux/arm64', null)).toBe('none');
    expect(() => choose('amd64', null, null)).toThrow('no image');
  });

  test('that is missing is refused with those that exist', () => {
    expect(() => choose('s390x', ...many, 'unknown/unknown')).toThrow(
      expect.objectContaining({
        message: 'x has no image for linux/s390x',
        hint: 'choose one that exists with --arch: linux/386, linux/amd64, linux/arm/v5, linux/arm/v7, linux/arm64/v8, windows/amd64',
      }),
    );
  });
});

test('of thousands of platforms a message has some', () => {
  const existing = Array.from({ length: 5000 }, (_, index) => `linux/x${index}`);
  const { hint } = missingPlatform({ os: 'linux', architecture: 'amd64', variant: '' }, existing, 'a');
  expect(hint.length).toBeLessThan(1000);
  expect(hint).toContain('and 4970 others');
});
