// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { checkImageName, nameImage } from '../../src/exporting/image-name.ts';
import { parseRegistryReference } from '../../src/reference/parse-reference.ts';

describe('the name of an image', () => {
  const names: Readonly<Record<string, string>> = {
    np: 'np:latest',
    'ubuntu+22.04': 'ubuntu-22.04:latest',
    _My__Container: 'my-container:latest',
    'a..b--c.-d': 'a-b-c-d:latest',
    '-.-': 'image:latest',
    größe: 'gr-e:latest',
    日本: 'image:latest',
  };
  for (const [name, expected] of Object.entries(names)) {
    test(`of ${name} is ${expected}, which all formats take`, () => {
      expect(nameImage(name)).toBe(expected);
      expect(parseRegistryReference(`docker://${expected}`).tag).toBe('latest');
      for (const format of ['oci', 'oci-archive', 'docker-archive']) checkImageName(expected, format);
    });
  }

  test('may be a tag alone in an index, and is a whole reference in a docker archive', () => {
    for (const name of ['1.2', 'V1', 'registry.example:5000/team/np:1.2', 'a--b']) checkImageName(name, 'oci');
    for (const name of ['np', 'team/np:V1', 'registry.example:5000/team/np']) checkImageName(name, 'docker-archive');
  });

  test('is refused where readers would', () => {
    for (const name of ['', ' ', 'a b', ':1', 'np:', 'a//b', 'ä']) {
      expect(() => checkImageName(name, 'oci'), name).toThrow(/cannot call an image/);
      expect(() => checkImageName(name, 'docker-archive'), name).toThrow(/cannot read the image reference/);
    }
    expect(() => checkImageName('NP', 'docker-archive')).toThrow(/upper case/);
  });
});
