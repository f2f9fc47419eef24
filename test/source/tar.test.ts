// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawn } from 'node:child_process';
import { createReadStream, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Layer } from '../../src/source/image.ts';
import { openTar } from '../../src/source/tar.ts';
import { hasFeatures, testNeeding } from '../support/features.ts';
import { run, type Storage } from '../support/image-tools.ts';
import { buildTwoImages, makeTemporary, openImage, optionsIn, read, summarize, writeTree } from './support.ts';

let dir = '';
let storage: Storage;
const made = testNeeding('buildah', 'podman');
beforeAll(() => {
  dir = makeTemporary();
  if (hasFeatures('buildah', 'podman')) storage = buildTwoImages(dir);
  writeTree(join(dir, 'rootfs'), {
    'bin/sh': 'sh',
    'etc/passwd': 'root',
    'manifest.json': 'mine',
    'index.json': 'mine',
  });
  run('tar', '-C', join(dir, 'rootfs'), '-cf', join(dir, 'rootfs.tar'), '.');
});
afterAll(() => {
  expect(readdirSync(dir).filter((name) => name.includes('spool'))).toEqual([]);
  rmSync(dir, { recursive: true, force: true });
});
const options = (more = {}) => optionsIn(dir, more);
const compressors = { gz: 'gzip', zst: 'zstd', xz: 'xz', bz2: 'bzip2' } as const;

describe('a tar of a root filesystem', () => {
  test.each(['none', 'gzip'])('that is none lets go of who writes it, who may have no end: %s', async (compression) => {
    const noise = Buffer.alloc(2 << 20, 'no tar ');
    const stream = new Readable({ read: () => {} });
    stream.push(compression === 'gzip' ? gzipSync(noise, { level: 0 }) : noise);
    await expect(openTar('', '-', options(), stream)).rejects.toThrow('not a tar archive');
    await expect.poll(() => stream.destroyed).toBe(true);
  });

  test('is an image of one layer, as often as it is read', async () => {
    const image = await openImage(`tar:${dir}/rootfs.tar`, options());
    const content = readFileSync(join(dir, 'rootfs.tar'));
    expect(image).toMatchObject({
      name: 'rootfs',
      reference: `tar:${dir}/rootfs.tar`,
      config: null,
      manifestDigest: '',
    });
    const [layer, ...others] = image.layers;
    expect(others).toEqual([]);
    expect(layer).toMatchObject({ digest: '', sizeBytes: content.length });
    for (let i = 0; i < 2; i++) expect(await read(await (layer as Layer).open())).toEqual(content);
    await image.close();
  });

  test.each(Object.entries(compressors))('may be compressed: %s', async (ending, program) => {
    const stored = execFileSync(program, ['-c', join(dir, 'rootfs.tar')]);
    writeFileSync(join(dir, `small.tar.${ending}`), stored);
    const image = await openImage(`tar:${dir}/small.tar.${ending}`, options());
    expect(image.name).toBe('small');
    const isOurs = ending === 'gz' || ending === 'zst';
    const layer = image.layers[0] as Layer;
    expect(layer.sizeBytes).toBe(isOurs ? stored.length : null);
    expect(await read(await layer.open())).toEqual(isOurs ? stored : readFileSync(join(dir, 'rootfs.tar')));
    await image.close();
    truncateSync(join(dir, `small.tar.${ending}`), stored.length - 20);
    const cut = openImage(`tar:${dir}/small.tar.${ending}`, options()).then(async (opened) =>
      read(await (opened.layers[0] as Layer).open()),
    );
    await expect(cut).rejects.toThrow(/cannot decompress .* the data is damaged or cut short/);
  });

  test('comes through standard input too, once', async () => {
    const content = readFileSync(join(dir, 'rootfs.tar'));
    for (const stored of [content, execFileSync('gzip', ['-c', join(dir, 'rootfs.tar')])]) {
      const image = await openImage(
        '-',
        options(),
        Readable.from([stored.subarray(0, 5), stored.subarray(5)], { objectMode: false }),
      );
      expect(image).toMatchObject({ name: 'image', reference: '-', config: null });
      const layer = image.layers[0] as Layer;
      expect(await read(await layer.open())).toEqual(content);
      await expect(layer.open()).rejects.toThrow('cannot read standard input twice');
      await image.close();
    }
  });

  test('of any size is not kept when it comes through standard input', async () => {
    const chunk = Buffer.alloc(1 << 20, readFileSync(join(dir, 'rootfs.tar')).subarray(0, 10_240));
    let given = 0;
    const endless = new Readable({
      read() {
        given++;
        this.push(chunk);
      },
    });
    const image = await openImage('-', options({ temporaryDirectory: '/does/not/exist' }), endless);
    expect(given).toBeLessThan(20);
    await image.close();
    if (!endless.closed) await new Promise((resolve) => endless.once('close', resolve));
    expect(endless.destroyed).toBe(true);
  });

  test('may be a pipe', async () => {
    const pipe = join(dir, 'pipe.tar');
    run('mkfifo', pipe);
    const writer = spawn('cp', [join(dir, 'rootfs.tar'), pipe]);
    const image = await openImage(`tar:${pipe}`, options());
    expect(image.name).toBe('pipe');
    expect(await read(await (image.layers[0] as Layer).open())).toEqual(readFileSync(join(dir, 'rootfs.tar')));
    await image.close();
    if (writer.exitCode === null) await new Promise((resolve) => writer.once('close', resolve));
  });

  test('that is none says so', async () => {
    mkdirSync(join(dir, 'sub'), { recursive: true });
    writeFileSync(join(dir, 'empty'), '');
    writeFileSync(join(dir, 'text'), 'text '.repeat(1000));
    await expect(openImage(`tar:${dir}/none`, options())).rejects.toThrow('none: no such file or directory');
    await expect(openImage(`tar:${dir}/empty`, options())).rejects.toThrow('empty: it is empty');
    await expect(openImage(`tar:${dir}/text`, options())).rejects.toThrow(/text: .*not a tar archive/);
    await expect(openImage(`tar:${dir}/sub`, options())).rejects.toMatchObject({
      hint: expect.stringContaining(`dir:${dir}/sub`),
    });
    await expect(openImage('-', options(), Readable.from([]))).rejects.toThrow(
      'cannot read standard input: it is empty',
    );
    await expect(openImage('-', options(), Readable.from([Buffer.from('text')]))).rejects.toThrow(/standard input/);
  });
});

describe('an archive of an image', () => {
  made('is known by its content, in a file and on standard input, compressed or not', async () => {
    storage.podman('save', '-q', '-o', join(dir, 'docker.tar'), 'localhost/second:2');
    storage.podman('save', '-q', '--format', 'oci-archive', '-o', join(dir, 'oci.tar'), 'localhost/second:2');
    for (const form of ['docker', 'oci']) {
      for (const [ending, program] of [['', ''], ...Object.entries(compressors)]) {
        const file = join(dir, ending === '' ? `${form}.tar` : `${form}.tar.${ending}`);
        if (program)
          writeFileSync(file, execFileSync(program, ['-c', join(dir, `${form}.tar`)], { maxBuffer: 1 << 30 }));
        for (const text of [`tar:${file}`, '-']) {
          const { config, diffIds, ...rest } = await summarize(
            await openImage(text, options(), createReadStream(file)),
          );
          expect(rest).toEqual({ name: 'second+2', reference: text, rightSizes: true });
          expect(diffIds).toHaveLength(2);
          expect(diffIds).toEqual(config.rootfs.diff_ids);
        }
      }
    }
  });

  made('on standard input is kept with its progress shown, and a full or missing place is named', async () => {
    storage.podman('save', '-q', '-o', join(dir, 'kept.tar'), 'localhost/second:2');
    const seen: number[] = [];
    const onProgress = (_what: string, bytes: number) => void seen.push(bytes);
    await (await openImage('-', options({ onProgress }), createReadStream(join(dir, 'kept.tar')))).close();
    expect(seen.at(-1)).toBe(readFileSync(join(dir, 'kept.tar')).length);
    const elsewhere = options({ temporaryDirectory: join(dir, 'missing') });
    await expect(openImage('-', elsewhere, createReadStream(join(dir, 'kept.tar')))).rejects.toMatchObject({
      message: expect.stringContaining(`cannot write to the temporary directory ${dir}/missing`),
      hint: expect.stringContaining('ENROOT_TEMP_PATH'),
    });
  });

  made('on standard input can be given up', async () => {
    storage.podman('save', '-q', '-o', join(dir, 'given-up.tar'), 'localhost/second:2');
    const abort = new AbortController();
    const onProgress = () => abort.abort();
    const opening = openImage(
      '-',
      options({ onProgress, signal: abort.signal }),
      createReadStream(join(dir, 'given-up.tar'), { highWaterMark: 4096 }),
    );
    await expect(opening).rejects.toMatchObject({ name: 'AbortError' });
  });
});
