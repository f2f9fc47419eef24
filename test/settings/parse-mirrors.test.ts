// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { parseMirrors } from '../../src/settings/parse-mirrors.ts';

describe('BUNDLER_MIRRORS', () => {
  test('lists prefixes and their endpoints', () => {
    const text =
      ' docker.io=mirror.local:5000\tNVCR.io/nvidia=https://cache/ngc/,http://[::1]:5000  docker.io=b\nlocalhost:1=c ';
    expect(parseMirrors(text)).toEqual([
      { prefix: 'docker.io', endpoints: ['mirror.local:5000', 'b'] },
      { prefix: 'nvcr.io/nvidia', endpoints: ['https://cache/ngc', 'http://[::1]:5000'] },
      { prefix: 'localhost:1', endpoints: ['c'] },
    ]);
    expect(parseMirrors('')).toEqual([]);
  });

  test.each<[text: string, fault: string]>([
    ['mirror.local', 'a word that does not begin with REGISTRY[/PATH]='],
    ['=mirror.local', 'a word that does not begin with'],
    ['https://docker.io=x', 'a word that does not begin with'],
    ['docker.io=', 'the mirror of docker.io is not'],
    ['docker.io=a,,b', 'the mirror of docker.io is not'],
    ['docker.io=a:99999', 'the mirror of docker.io is not'],
    ['docker.io=https://999.1.1.1/x', 'the mirror of docker.io is not'],
    ['docker.io=[::::]', 'the mirror of docker.io is not'],
    ['docker.io=ftp://a', 'the mirror of docker.io is not'],
    ['docker.io=https://me:secret@a', 'the mirror of docker.io has a user'],
  ])('%s is wrong: %s', (text, fault) => {
    expect(parseMirrors(text)).toContain(fault);
    expect(parseMirrors(text)).not.toContain('secret');
  });
});
