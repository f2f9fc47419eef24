// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { makeContents } from '../../src/importing/contents.ts';
import { parseImageConfig } from '../../src/source/config.ts';

/** The file that an image's configuration becomes. */
function contentOf(path: string, config: Readonly<Record<string, unknown>>): string | undefined {
  const configBytes = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', config, rootfs: {} }));
  const origin = { reference: 'x', manifestDigest: '', config: parseImageConfig(configBytes, 'it'), configBytes };
  return makeContents(origin, 0)
    .find(({ entry }) => entry.path === path)
    ?.content.toString();
}

/** As a shell and enroot have it. */
const variable = (name: string): string => `$\{${name}}`;
const root = variable('ENROOT_ROOTFS');

describe('the volumes of an image', () => {
  const lines = (...paths: string[]): string[] => {
    const fstab = contentOf('/etc/fstab', { Volumes: Object.fromEntries(paths.map((path) => [path, {}])) }) ?? '';
    return fstab
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split(' ').slice(0, 2).join(' '));
  };

  test('are mounted on themselves, blanks written as fstab(5) has them', () => {
    expect(lines('/data', '/two words')).toEqual([`${root}/data /data`, `${root}/two\\040words /two\\040words`]);
  });

  test('cannot be outside of its root, by .., without a slash in front, or by a variable', () => {
    const found = lines('/../../home', 'a/../../../b', '-sibling', `/${variable('UNSET')}../../etc`, '/$HOME');
    expect(found).toEqual([`${root}/home /home`, `${root}/b /b`, `${root}/-sibling /-sibling`]);
  });
});
