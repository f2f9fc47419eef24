// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exportDockerArchive, exportOciArchive } from '../../src/exporting/export-archive.ts';
import { exportLayout } from '../../src/exporting/export-layout.ts';
import { Failure } from '../../src/failure.ts';
import { openImage, optionsIn, summarize } from '../source/support.ts';
import { testNeeding } from '../support/features.ts';
import { openStorage, run } from '../support/image-tools.ts';
import { base, makeTemporary, more, requestOf } from './support.ts';

let dir = '';
beforeAll(() => {
  dir = makeTemporary();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const sha256 = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const diffIds = [base, more].map(sha256);
let count = 0;
const fresh = () => {
  const path = join(dir, `case-${count++}`);
  mkdirSync(path);
  return path;
};

const forms = [
  ['oci', (path: string, request = requestOf([base, more])) => exportLayout(path, request)],
  ['oci-archive', (path: string, request = requestOf([base, more])) => exportOciArchive(path, request, false)],
  ['docker-archive', (path: string, request = requestOf([base, more])) => exportDockerArchive(path, request, false)],
] as const;

describe.each(forms)('an image exported as %s', (form, write) => {
  test.each(['gzip', 'zstd', 'none'] as const)('is read by ourselves: %s', async (compression) => {
    const path = join(fresh(), 'image');
    const made = await write(path, requestOf([base, more], { compression }));
    expect(made.layers.map(({ diffId }) => diffId)).toEqual(diffIds);
    expect(made.output).toBe(path);
    if (form !== 'oci') expect(made.sizeBytes).toBe(statSync(path).size);
    const image = await openImage(`${form}:${path}`, optionsIn(dir));
    expect(image.manifestDigest).toBe(made.manifestDigest);
    const { config, ...rest } = await summarize({ ...image, layers: compression === 'zstd' ? [] : image.layers });
    expect(rest.name).toBe('exported+1');
    expect(rest.diffIds).toEqual(compression === 'zstd' ? [] : diffIds);
    expect(config).toMatchObject({
      config: { Entrypoint: ['/bin/tool'], Healthcheck: { Test: ['NONE'] } },
      rootfs: { diff_ids: diffIds },
    });
  });

  test('is the same each time', async () => {
    const [one, two] = [join(fresh(), 'image'), join(fresh(), 'image')];
    const { output: _one, ...first } = await write(one);
    const { output: _two, ...second } = await write(two);
    expect(second).toEqual(first);
    if (form === 'oci') run('diff', '-r', one, two);
    else expect(readFileSync(one).equals(readFileSync(two))).toBe(true);
  });

  testNeeding('skopeo')('is read by skopeo', async () => {
    const path = join(fresh(), 'image');
    const made = await write(path);
    const inspected = JSON.parse(run('skopeo', 'inspect', `${form}:${path}`)) as Record<string, unknown>;
    expect(inspected).toMatchObject({
      Architecture: 'amd64',
      Os: 'linux',
      Env: ['A=1'],
      Created: '2023-11-14T22:13:20Z',
    });
    if (form !== 'docker-archive') expect(inspected['Digest']).toBe(made.manifestDigest);
    run('skopeo', 'copy', '-q', `${form}:${path}`, `dir:${path}.dir`);
    const { layers } = JSON.parse(readFileSync(`${path}.dir/manifest.json`, 'utf8')) as { layers: unknown[] };
    expect(layers).toHaveLength(2);
  });

  testNeeding('podman', 'skopeo')('is loaded and mounted by podman', async () => {
    for (const compression of ['gzip', 'zstd', 'none'] as const) {
      const path = join(fresh(), 'image');
      await write(path, requestOf([base, more], { compression }));
      const storageDir = join(dir, `s${count}`);
      const storage = openStorage(storageDir);
      const name = 'localhost/exported:1';
      // podman makes a name of a directory's path, which may have no capital letters.
      const store = `containers-storage:[vfs@${join(storageDir, 'root')}+${join(storageDir, 'run')}]${name}`;
      if (form === 'oci') run('skopeo', 'copy', '-q', `oci:${path}`, store);
      else expect(storage.podman('load', '-q', '-i', path)).toContain(name);
      const mounted = storage.podman('image', 'mount', name).trim();
      expect(readFileSync(join(mounted, 'etc/more'), 'utf8')).toBe('more');
      expect(readFileSync(join(mounted, 'bin/tool'), 'utf8')).toBe('#!/bin/sh\n');
      expect(statSync(join(mounted, 'etc/text')).size).toBe(1_500_000);
      storage.podman('image', 'umount', name);
    }
  });

  test('without a name, without layers, with one layer twice', async () => {
    const path = fresh();
    await write(join(path, 'nameless'), requestOf([base], { reference: '' }));
    expect((await summarize(await openImage(`${form}:${path}/nameless`, optionsIn(dir)))).name).toBe('nameless');
    await write(join(path, 'bare'), requestOf([]));
    expect((await summarize(await openImage(`${form}:${path}/bare`, optionsIn(dir)))).diffIds).toEqual([]);
    await write(join(path, 'twice'), requestOf([more, base, base, more]));
    const { diffIds: found } = await summarize(await openImage(`${form}:${path}/twice`, optionsIn(dir)));
    expect(found).toEqual([diffIds[1], diffIds[0], diffIds[0], diffIds[1]]);
    if (form !== 'oci')
      expect(run('tar', '-tf', `${path}/twice`).trimEnd().split('\n')).toHaveLength(form === 'oci-archive' ? 8 : 4);
  });

  test('leaves nothing when it fails', async () => {
    const path = fresh();
    const broken = () =>
      new Readable({
        read() {
          this.push(base.subarray(0, 5000));
          this.destroy(new Failure('the layer is damaged'));
        },
      });
    const request = requestOf([base]);
    const layers = [...request.layers, { open: async () => broken() }];
    await expect(write(join(path, 'image'), { ...request, layers })).rejects.toThrow('the layer is damaged');
    expect(readdirSync(path)).toEqual([]);
    await expect(write(join(path, 'none/image'))).rejects.toThrow(/cannot write to the directory .*none/);
  });

  test.each(['SIGINT', 'SIGTERM'] as const)('leaves nothing after %s, of which the process dies', async (signal) => {
    const path = fresh();
    const source = (name: string) => JSON.stringify(join(import.meta.dirname, '../../src/exporting', name));
    const program = `
      const { exportLayout } = await import(${source('export-layout.ts')});
      const { exportOciArchive, exportDockerArchive } = await import(${source('export-archive.ts')});
      const { Readable } = await import('node:stream');
      const write = { 'oci': exportLayout, 'oci-archive': exportOciArchive, 'docker-archive': exportDockerArchive }[${JSON.stringify(form)}];
      let given = 0;
      const open = async () => new Readable({ read() {
        if (given++ < 8) this.push(Buffer.alloc(1 << 20));
        else if (given === 9) console.log('ready');
      } });
      setInterval(() => {}, 1000);
      await write(${JSON.stringify(join(path, 'image'))}, { layers: [{ open }], makeConfig: () => Buffer.from('{}'), reference: '', compression: 'none' }, false);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    expect(readdirSync(path)).toHaveLength(1);
    child.kill(signal);
    expect(await once(child, 'close')).toEqual([null, signal]);
    expect(readdirSync(path)).toEqual([]);
  });

  test('tells how far it is', async () => {
    const seen: number[] = [];
    await write(
      join(fresh(), 'image'),
      requestOf([base, more], { onProgress: (tarBytes) => void seen.push(tarBytes) }),
    );
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(seen.at(-1)).toBe(base.length + more.length);
  });
});

describe('an archive', () => {
  test('does not replace a file unless it is told to', async () => {
    const path = join(fresh(), 'image.tar');
    writeFileSync(path, 'precious');
    await expect(exportOciArchive(path, requestOf([base]), false)).rejects.toThrow('it exists');
    await expect(exportDockerArchive(path, requestOf([base]), false)).rejects.toThrow('it exists');
    expect(readFileSync(path, 'utf8')).toBe('precious');
    await exportDockerArchive(path, requestOf([base]), true);
    expect(run('tar', '-tf', path)).toContain('manifest.json');
    expect(statSync(path).mode & 0o777).toBe(0o666 & ~process.umask());
  });

  test('has nothing in it of the machine that made it', async () => {
    const path = join(fresh(), 'image.tar');
    await exportOciArchive(path, requestOf([base]), false);
    const lines = run('tar', '--numeric-owner', '--utc', '-tvf', path).trimEnd().split('\n');
    for (const line of lines) expect(line).toMatch(/^(drwxr-xr-x|-rw-r--r--) 0\/0 +\d+ 1970-01-01 00:00 /);
    expect(
      lines.map((line) =>
        line
          .split(' ')
          .at(-1)
          ?.replace(/[0-9a-f]{64}/, 'HEX'),
      ),
    ).toEqual([
      'oci-layout',
      'blobs/',
      'blobs/sha256/',
      'blobs/sha256/HEX',
      'blobs/sha256/HEX',
      'blobs/sha256/HEX',
      'index.json',
    ]);
  });

  test('of docker has the names that docker gives', async () => {
    const tagOf = async (reference: string) => {
      const path = join(fresh(), 'image.tar');
      await exportDockerArchive(path, requestOf([base], { reference }), false);
      return (JSON.parse(run('tar', '-xOf', path, 'manifest.json')) as { RepoTags: unknown }[])[0]?.RepoTags;
    };
    expect(await tagOf('ubuntu')).toEqual(['ubuntu:latest']);
    expect(await tagOf('docker.io/library/ubuntu:24.04')).toEqual(['ubuntu:24.04']);
    expect(await tagOf('ghcr.io/a/b:1')).toEqual(['ghcr.io/a/b:1']);
    expect(await tagOf('')).toBeNull();
  });
});

describe('a layout', () => {
  const refs = (path: string) => {
    const { manifests } = JSON.parse(readFileSync(join(path, 'index.json'), 'utf8')) as {
      manifests: { digest: string; annotations?: Record<string, string> }[];
    };
    return manifests.map(({ digest, annotations }) => [
      annotations?.['org.opencontainers.image.ref.name'] ?? '',
      digest,
    ]);
  };

  test('gets further images, and one of the same name is replaced', async () => {
    const path = join(fresh(), 'layout');
    const first = await exportLayout(path, requestOf([base], { reference: 'one' }));
    const second = await exportLayout(path, requestOf([base, more], { reference: 'two' }));
    expect(refs(path)).toEqual([
      ['one', first.manifestDigest],
      ['two', second.manifestDigest],
    ]);
    const third = await exportLayout(path, requestOf([more], { reference: 'one' }));
    expect(refs(path)).toEqual([
      ['two', second.manifestDigest],
      ['one', third.manifestDigest],
    ]);
    for (const [ref, ids] of [
      ['one', [diffIds[1]]],
      ['two', diffIds],
    ] as const) {
      expect((await summarize(await openImage(`oci:${path}:${ref}`, optionsIn(dir)))).diffIds).toEqual(ids);
    }
    expect(readdirSync(path).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
  });

  testNeeding('umoci', 'skopeo')('of umoci gets an image beside those there, and umoci unpacks ours', async () => {
    const path = join(fresh(), 'layout');
    run('umoci', 'init', '--layout', path);
    run('umoci', 'new', '--image', `${path}:theirs`);
    await exportLayout(path, requestOf([base, more], { reference: 'ours' }));
    expect(run('umoci', 'list', '--layout', path).trim().split('\n').sort()).toEqual(['ours', 'theirs']);
    run('umoci', 'unpack', '--rootless', '--image', `${path}:ours`, `${path}.bundle`);
    expect(readFileSync(`${path}.bundle/rootfs/etc/more`, 'utf8')).toBe('more');
    run('umoci', 'gc', '--layout', path);
    run('skopeo', 'inspect', `oci:${path}:ours`);
  });

  test('may be an empty directory, also by a link', async () => {
    const path = fresh();
    symlinkSync(path, `${path}.link`);
    await exportLayout(`${path}.link`, requestOf([base]));
    expect(readdirSync(path).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
    expect((await summarize(await openImage(`oci:${path}`, optionsIn(dir)))).diffIds).toEqual([diffIds[0]]);
  });

  test('is not made of a directory with other things in it, or of a file', async () => {
    const path = fresh();
    writeFileSync(join(path, 'mine'), 'x');
    await expect(exportLayout(path, requestOf([base]))).rejects.toThrow('it is a directory with other things in it');
    await expect(exportLayout(join(path, 'mine'), requestOf([base]))).rejects.toThrow(
      'a part of the path is not a directory',
    );
    expect(readdirSync(path)).toEqual(['mine']);
  });

  test('is as it was when an export into it fails', async () => {
    const path = join(fresh(), 'layout');
    await exportLayout(path, requestOf([base], { reference: 'one' }));
    const before = run('find', path, '-printf', '%p %s\n');
    writeFileSync(join(path, 'index.json'), '{"manifests": 5}');
    await expect(exportLayout(path, requestOf([more], { reference: 'two' }))).rejects.toThrow('not well-formed');
    writeFileSync(join(path, 'index.json'), JSON.stringify(JSON.parse('{}')));
    const request = requestOf([more]);
    const makeConfig = () => {
      throw new Failure('no configuration');
    };
    await expect(exportLayout(path, { ...request, makeConfig })).rejects.toThrow('no configuration');
    const after = run('find', path, '-printf', '%p %s\n');
    const names = (text: string) =>
      text
        .split('\n')
        .map((line) => line.split(' ')[0])
        .sort();
    expect(names(after)).toEqual(names(before));
  });
});
