// SPDX-License-Identifier: Apache-2.0
// What role copy tells of an image: names anywhere in it, beginnings of large files, and the facts about its loader that follow.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { beforeAll, describe, expect } from 'vitest';
import type { Bytes } from '../../src/format/bytes.ts';
import type { LoaderFacts, Manifest } from '../../src/format/manifest.ts';
import { imageQuestion, interpretReading } from '../../src/image/rootfs-facts.ts';
import { useLauncher } from '../native/pack-rig.ts';
import { bundler, makeBundle } from '../support/bundle.ts';
import { testNeeding } from '../support/features.ts';
import { sanitizerEnv } from '../support/sanitize.ts';
import { ask, type Content, packImage, valuesOf } from './image-rig.ts';

const needing = testNeeding('bundler');
const file = (text: string | number = 'x'): Buffer =>
  typeof text === 'string' ? Buffer.from(text, 'latin1') : Buffer.alloc(text, 'content ');

beforeAll(useLauncher);

async function find(contents: Readonly<Record<Bytes, Content>>, ...prefixes: Bytes[]): Promise<Bytes[][]> {
  const answer = await ask(await packImage(contents), { prefixes });
  expect(valuesOf(answer, 'unpacked')).toHaveLength(1);
  return prefixes.map((prefix) => valuesOf(answer, `found.${prefix}`));
}

describe('find', () => {
  needing('tells every regular file and symlink whose name begins so, wherever it lies', async () => {
    const shared = file();
    const contents = {
      '/srv/app/site-packages/nvidia/lib/libcudart.so.12': file(),
      '/srv/app/libcudart.so': '/nowhere',
      '/a/first': shared,
      '/z/libcudart.so.11': shared,
      '/z/libcudart.so.11.0': shared,
      '/z/libcudart.so.d/inside': file(),
      '/z/libcudart.s': file(),
      '/z/xlibcudart.so': file(),
      '/libcuda.so.1': file(),
    };
    expect(await find(contents, 'libcudart.so', 'libcuda.so', 'libnvrtc.so')).toEqual([
      [
        '/srv/app/libcudart.so',
        '/srv/app/site-packages/nvidia/lib/libcudart.so.12',
        '/z/libcudart.so.11',
        '/z/libcudart.so.11.0',
      ],
      ['/libcuda.so.1'],
      [],
    ]);
  });

  needing('tells the first 16 of each, in the order of the walk', async () => {
    const names = Array.from({ length: 20 }, (_, at) => `/d/x${String.fromCharCode(0x61 + at)}`);
    const contents = Object.fromEntries([...names, '/y'].map((name) => [name, file()]));
    expect(await find(contents, 'x', 'y')).toEqual([names.slice(0, 16), ['/y']]);
  });

  needing('is not misled by loops of symlinks and names that are no text', async () => {
    const odd = 'lib\n"\\\x1b[31m\xff\xfe%s';
    const contents = {
      '/loop': 'loop',
      '/libone': 'libtwo',
      '/libtwo': 'libone',
      '/up': '../../..',
      [`/${odd}/${odd}`]: file(),
      [`/l/lib${'n'.repeat(252)}`]: file(),
    };
    expect(await find(contents, 'lib')).toEqual([[`/l/lib${'n'.repeat(252)}`, `/${odd}/${odd}`, '/libone', '/libtwo']]);
  });

  needing('leaves out what has no path that a system call would take', async () => {
    const deep = `/${Array.from({ length: 16 }, () => 'd'.repeat(254)).join('/')}`;
    expect(deep.length).toBe(4080);
    const [fits, long] = [`${deep}/lib${'a'.repeat(11)}`, `${deep}/lib${'a'.repeat(12)}`];
    const contents = { [fits]: file(), [long]: file(), [`${deep}/${'e'.repeat(255)}/lib`]: file(), '/lib': file() };
    expect(fits.length).toBe(4095);
    expect(await find(contents, 'lib')).toEqual([[fits, '/lib']]);
  });

  needing('tells nothing, and the same size, when it is not asked', async () => {
    const image = await packImage({ '/lib': file(1000), '/d/lib': file(234) });
    const [silent, told] = [await ask(image, {}), await ask(image, { prefixes: ['lib'] })];
    expect(silent.map(([key]) => key)).toEqual(['image', 'unpacked']);
    expect([silent, told].map((answer) => valuesOf(answer, 'unpacked'))).toEqual([['1234'], ['1234']]);
  });

  needing('refuses more beginnings than it has room for, and one that no name can have', async () => {
    const image = await packImage({ '/lib': file() });
    const many = Array.from({ length: 17 }, (_, at) => `x${at}`);
    await expect(ask(image, { prefixes: many })).rejects.toThrow('find names in the image');
    await expect(ask(image, { prefixes: ['x'.repeat(256)] })).rejects.toThrow('find names in the image');
    await expect(ask(image, { prefixes: ['x'.repeat(255), ...many.slice(2)] })).resolves.toHaveLength(2);
  });

  needing('agrees with a walk over the paths of any image', async () => {
    const directories = fc.array(fc.constantFrom('d', 'lib.d', 'libx.d', '\xff.d', '~'), { maxLength: 4 });
    const name = fc.constantFrom('a', 'lib', 'libx', 'libx\n', 'lib\xff', 'li');
    const paths = fc.uniqueArray(fc.tuple(directories, name), { selector: ([way, last]) => [...way, last].join('/') });
    await fc.assert(
      fc.asyncProperty(paths, async (all) => {
        const parts = all.map(([way, last]) => [...way, last]);
        const contents = parts.map((path, at) => [`/${path.join('/')}`, at % 3 === 0 ? 'target' : file()]);
        const inOrder = parts.sort((one, other) => {
          const at = one.findIndex((part, index) => part !== other[index]);
          return (one[at] ?? '') < (other[at] ?? '') ? -1 : 1;
        });
        const expected = ['lib', 'libx', ''].map((prefix) =>
          inOrder.filter((path) => path.at(-1)?.startsWith(prefix)).map((path) => `/${path.join('/')}`),
        );
        const found = await find(Object.fromEntries(contents), 'lib', 'libx', '');
        expect(found).toEqual(expected.map((list) => list.slice(0, 16)));
      }),
      { numRuns: 25 },
    );
  });
});

describe('head', () => {
  const most = 256 << 10;

  needing('gives the whole of a small file and the beginning of a large one', async () => {
    const large = file(most + 100_001);
    const image = await packImage({
      '/small': file('all of it'),
      '/empty': file(''),
      '/large': large,
      '/just': file(most),
    });
    const answer = await ask(image, { heads: ['/small', '/empty', '/large', '/just'], paths: ['/large'] });
    const content = (name: string) => valuesOf(answer, `content.${name}`);
    expect(content('/small')).toEqual(['all of it']);
    expect(content('/empty')).toEqual(['']);
    expect(content('/just').map((text) => text.length)).toEqual([most]);
    expect(content('/large').map((text) => text.length)).toEqual([large.length, most]);
    expect(Buffer.from(content('/large')[1] ?? '', 'latin1').equals(large.subarray(0, most))).toBe(true);
    expect(valuesOf(answer, 'type./large')).toContain(`file 0644 ${large.length}`);
  });

  needing('tells a file once to which several paths lead, and only the kind of what is no file', async () => {
    const contents = { '/usr/lib/x': file('here'), '/lib': 'usr/lib', '/d/e': null, '/gone': '/away', '/loop': 'loop' };
    const heads = ['/lib/x', '/usr/lib/x', '/d', '/gone', '/loop', '/none'];
    const answer = await ask(await packImage(contents), { heads });
    expect(answer.slice(1, -1)).toEqual([
      ['type./lib/x', 'file 0644 4'],
      ['content./lib/x', 'here'],
      ['type./usr/lib/x', 'file 0644 4'],
      ['type./d', 'dir 0755'],
      ['type./gone', 'link /away'],
      ['type./loop', 'link loop'],
      ['type./none', 'none'],
    ]);
  });
});

describe("the loader's facts", () => {
  const readLoader = async (contents: Readonly<Record<Bytes, Content>>): Promise<LoaderFacts | undefined> =>
    interpretReading(await ask(await packImage(contents), imageQuestion)).rootfs.loader;

  needing("of this machine's glibc have the newest version that readelf finds defined in it", async () => {
    const libc = execFileSync('gcc', ['-print-file-name=libc.so.6'], { encoding: 'utf8' }).trim();
    const versions = execFileSync('readelf', ['-VW', libc], { encoding: 'utf8', maxBuffer: 64 << 20 });
    const defined = [...versions.matchAll(/Index: \d+ .*Name: GLIBC_2\.(\d+)$/gm)].map(([, minor]) => Number(minor));
    expect(defined.length).toBeGreaterThan(10);
    const loader = await readLoader({
      '/usr/lib/x86_64-linux-gnu/libc.so.6': readFileSync(libc),
      '/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2': file(),
      '/usr/lib64/ld-linux-x86-64.so.2': '/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2',
      '/lib': 'usr/lib',
      '/lib64': 'usr/lib64',
    });
    expect(loader).toMatchObject({
      libc: 'glibc',
      glibcVersion: `2.${Math.max(...defined)}`,
      directories: ['/usr/lib/x86_64-linux-gnu', '/lib/x86_64-linux-gnu', '/usr/lib64', '/lib64', '/usr/lib', '/lib'],
    });
  });

  needing('of an image as Alpine makes them say musl', async () => {
    const loader = await readLoader({
      '/lib/ld-musl-x86_64.so.1': file(),
      '/lib/libc.musl-x86_64.so.1': 'ld-musl-x86_64.so.1',
      '/etc/ld-musl-x86_64.path': file('/lib\n/usr/local/lib\n'),
      '/usr/lib/libz.so.1': file(),
    });
    expect(loader).toEqual({
      libc: 'musl',
      glibcVersion: '',
      cache: '',
      muslPath: '/lib\n/usr/local/lib\n',
      directories: ['/usr/lib', '/lib'],
      cuda: '',
      compat: [],
    });
  });

  needing('reach the manifest, and inspect shows them', async () => {
    const image = await packImage({
      '/lib64/ld-linux-x86-64.so.2': file(),
      '/lib64/libc.so.6': file('\0GLIBC_2.2.5\0GLIBC_2.28\0GLIBC_PRIVATE\0'),
      '/opt/venv/lib/libcublas.so.12': file(),
      '/usr/local/cuda-12.4/compat/libcuda.so.550.54.15': file(),
      '/usr/local/cuda-12.4/compat/libcuda.so.1': 'libcuda.so.550.54.15',
      '/usr/local/cuda': 'cuda-12.4',
      '/loop/a': 'a',
    });
    const shown = execFileSync(bundler, ['inspect', '--json', makeBundle(image as `/${string}`)], {
      encoding: 'utf8',
      env: { ...process.env, ...sanitizerEnv() },
    });
    const { rootfs } = (JSON.parse(shown) as { manifest: Manifest }).manifest;
    expect(rootfs?.loader).toEqual({
      libc: 'glibc',
      glibcVersion: '2.28',
      cache: '',
      muslPath: '',
      directories: ['/lib64'],
      cuda: '/opt/venv/lib/libcublas.so.12',
      compat: ['libcuda.so.1', 'libcuda.so.550.54.15'],
    });
    expect(rootfs).toMatchObject({ homes: [], skeleton: [] });
  });
});
