// SPDX-License-Identifier: Apache-2.0
import { closeSync, openSync, readFileSync, rmSync, symlinkSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cleanPath, walkArchive } from '../../src/source/archive-walk.ts';
import { BeyondHead, fileSource, headSource } from '../../src/source/byte-source.ts';
import { classifyTar } from '../../src/source/tar.ts';
import { run } from '../support/image-tools.ts';
import { makeTemporary, writeTree } from './support.ts';

let dir = '';
const long = `${'deep/'.repeat(60)}${'n'.repeat(200)}`;
const target = 't'.repeat(300);
beforeAll(() => {
  dir = makeTemporary();
  writeTree(join(dir, 'tree'), { [long]: 'long', größe: 'umlaut', small: 'x'.repeat(513), empty: '' });
  symlinkSync(target, join(dir, 'tree/link'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function walk(file: string) {
  const descriptor = openSync(file, 'r');
  try {
    return [...walkArchive(fileSource(descriptor, 'the archive'))];
  } finally {
    closeSync(descriptor);
  }
}

describe('the members of an archive', () => {
  test.each(['gnu', 'pax'])('have long names and links: %s', (format) => {
    const file = join(dir, `${format}.tar`);
    run('tar', `--format=${format}`, '-C', join(dir, 'tree'), '-cf', file, long, 'größe', 'small', 'empty', 'link');
    const content = readFileSync(file);
    const members = walk(file);
    expect(members.map(({ path, kind, link }) => [path, kind, link])).toEqual([
      [long, 'file', ''],
      ['größe', 'file', ''],
      ['small', 'file', ''],
      ['empty', 'file', ''],
      ['link', 'symlink', target],
    ]);
    const contents = members.map(({ offset, sizeBytes }) => content.toString('utf8', offset, offset + sizeBytes));
    expect(contents).toEqual(['long', 'umlaut', 'x'.repeat(513), '', '']);
  });

  test('may be larger than octal digits can say', () => {
    const huge = join(dir, 'huge');
    writeTree(dir, { huge: '' });
    truncateSync(huge, 9 * 2 ** 30);
    for (const format of ['gnu', 'pax']) {
      // The content is a hole too: only its headers matter here.
      run('sh', '-c', `cd "$1" && tar --format=${format} -cf - huge | head -c 4096 >"$1/huge.tar"`, 'sh', dir);
      const content = readFileSync(join(dir, 'huge.tar'));
      const [member] = walkArchive(headSource(content, true));
      expect(member).toMatchObject({ path: 'huge', sizeBytes: 9 * 2 ** 30 });
    }
  });

  test('are as many as are in the first bytes of a stream', () => {
    run('tar', '-C', join(dir, 'tree'), '-cf', join(dir, 'head.tar'), 'small', 'empty');
    const walking = walkArchive(headSource(readFileSync(join(dir, 'head.tar')).subarray(0, 600), false));
    expect(walking.next().value).toMatchObject({ path: 'small' });
    expect(() => walking.next()).toThrow(BeyondHead);
  });
});

test('a path has no dots left, and nothing above its top', () => {
  expect(cleanPath('./a//b/../c/')).toBe('a/c');
  expect(cleanPath('/../../x')).toBe('x');
  expect(cleanPath('./')).toBe('');
});

describe('what a tar holds', () => {
  const kindOf = (...paths: string[]) => {
    writeTree(join(dir, 'kinds'), Object.fromEntries(paths.map((path) => [path, 'x'])));
    run('tar', '-C', join(dir, 'kinds'), '-cf', join(dir, 'kinds.tar'), ...paths);
    return classifyTar(headSource(readFileSync(join(dir, 'kinds.tar')), true));
  };
  const hex = 'a'.repeat(64);

  test.each<[string, string[]]>([
    ['docker-archive', ['manifest.json', `${hex}.json`, `${hex}/layer.tar`, 'repositories']],
    ['docker-archive', ['blobs/sha256/x', 'index.json', 'manifest.json', 'oci-layout']],
    ['docker-archive', [`sha256:${hex}`, `${hex}.tar.gz`, 'manifest.json']],
    ['oci-archive', ['blobs/sha256/x', 'index.json', 'oci-layout']],
    ['rootfs', ['manifest.json', 'index.json', 'oci-layout', 'usr/bin/x']],
    ['rootfs', ['index.json']],
    ['rootfs', ['blobs/x']],
  ])('is told by its members: %s', (kind, paths) => {
    expect(kindOf(...paths)).toBe(kind);
  });
});
