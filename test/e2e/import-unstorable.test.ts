// SPDX-License-Identifier: Apache-2.0
// Layers and configurations that ask for what no squashfs image can have, or for names beyond ASCII.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { testNeeding } from '../support/features.ts';
import { writeLayout } from '../support/oci-layout.ts';
import { makeRawTar, type RawEntry } from '../support/raw-tar.ts';
import type { Ran } from '../support/run.ts';
import { type Importer, listImage, makeImporter, runBundler } from './import-rig.ts';

const needing = testNeeding('root', 'bundler');
const needingUnsquashfs = testNeeding('root', 'bundler', 'unsquashfs');

function importLayer(importer: Importer, entries: readonly RawEntry[], config = {}): Promise<Ran> {
  const layout = path.join(importer.dir, 'layout');
  writeLayout(layout, [{ tar: makeRawTar(entries) }], config);
  return runBundler(importer, ['import', '-q', '-o', 'out.sqsh', `oci:${layout}`]);
}

const long = 'n'.repeat(300);
const refused: Readonly<Record<string, [entries: RawEntry[], message: RegExp, config?: object]>> = {
  'an attribute whose name is too long': [
    [{ name: 'x', pax: { [`SCHILY.xattr.user.${long}`]: 'v' } }],
    /^bundler: cannot store x in a squashfs image: its attribute user\.n+\.\. has a name of 305 bytes\n$/,
  ],
  'an attribute whose name no record has room for': [
    [{ name: 'd/', pax: { [`SCHILY.xattr.user.${'n'.repeat(70_000)}`]: 'v' } }],
    /cannot store d\/ in a squashfs image: .* a name of 70005 bytes/,
  ],
  'an attribute with a NUL in its name': [
    [{ name: 'x', pax: { 'SCHILY.xattr.user.a\0b': 'v' } }],
    /cannot store x in a squashfs image: its attribute user\.a\\u0000b has a NUL/,
  ],
  'an attribute that is too large': [
    [{ name: 'x', pax: { 'SCHILY.xattr.user.a': 'v'.repeat(65_537) } }],
    /cannot store x in a squashfs image: its attribute user\.a has 65537 bytes/,
  ],
  'a symbolic link to a name with a NUL': [
    [{ name: 'l', type: '2', pax: { linkpath: 'a\0b' } }],
    /cannot store l in a squashfs image: its symbolic link has a target with a NUL/,
  ],
  'a path through a link to a name that is too long': [
    [
      { name: 'l', type: '2', link: long },
      { name: 'l/f', content: 'x' },
    ],
    /^bundler: cannot read layer sha256:\S+: a name of 300 bytes: n+\.\./,
  ],
  'a working directory that leads in a circle': [
    [{ name: 'a', type: '2', link: 'a' }],
    /^bundler: cannot make the image's directory \/a: too many symbolic links/,
    { WorkingDir: '/a' },
  ],
};

describe('an import is refused because of', () => {
  for (const [what, [entries, message, config]] of Object.entries(refused)) {
    needing(what, async () => {
      const importer = makeImporter();
      const ran = await importLayer(importer, entries, config);
      expect(ran.status, ran.stderr).toBe(125);
      expect(ran.stderr).toMatch(message);
      expect(existsSync(path.join(importer.dir, 'out.sqsh'))).toBe(false);
    });
  }
});

needingUnsquashfs('a working directory has the bytes of its name, and is the one that a layer has', async () => {
  const bytes = Buffer.from('données/数据').toString('latin1');
  for (const entries of [[], [{ name: `${bytes}/` }]]) {
    const importer = makeImporter();
    const ran = await importLayer(importer, entries, { WorkingDir: '/données/数据' });
    expect(ran.status, ran.stderr).toBe(0);
    expect(listImage(path.join(importer.dir, 'out.sqsh'))).toEqual([`/${bytes}`]);
  }
});
