// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeImage } from '../../fixtures/make.ts';
import { bundler, findSection, makeBundle, readTable } from '../support/bundle.ts';
import { e2e, e2eExceptSanitized } from '../support/features.ts';
import { run, runBare, start } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';
import { until } from '../support/snapshot.ts';

const digest = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

function makeCwd(): string {
  return makeDir(ordinaryUser(), 'make');
}

/** A copy of an image that the user of the tests may read. */
function copyImage(cwd: string, name = 'small.sqsh'): string {
  const file = path.join(cwd, name);
  copyFileSync(makeImage('busybox'), file);
  chmodSync(file, 0o644);
  return file;
}

describe('bundler make', () => {
  e2e('writes NAME.run into the current directory, executable, with the image in it byte for byte', async () => {
    const cwd = makeCwd();
    const image = copyImage(cwd);
    const ran = await run([bundler, 'make', image], { cwd });
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stdout).toContain('small.run');
    expect(readdirSync(cwd).sort()).toEqual(['small.run', 'small.sqsh']);
    const file = path.join(cwd, 'small.run');
    expect(statSync(file).mode & 0o777).toBe(0o755);
    const { offset, size } = findSection(file, 'payload');
    expect(
      readFileSync(file)
        .subarray(offset, offset + size)
        .equals(readFileSync(image)),
    ).toBe(true);
  });

  e2e('gives identical bytes for identical inputs and SOURCE_DATE_EPOCH, wherever and whenever', async () => {
    const [one, two] = [makeCwd(), makeCwd()];
    const env = { SOURCE_DATE_EPOCH: '1700000000' };
    copyImage(one);
    utimesSync(copyImage(two), 1, 1);
    for (const cwd of [one, two])
      expect(
        (await run([bundler, 'make', '-q', '-d', 'the same', '--env', 'A=b', 'small.sqsh'], { cwd, env })).status,
      ).toBe(0);
    expect(digest(path.join(one, 'small.run'))).toBe(digest(path.join(two, 'small.run')));
  });

  e2e('refuses to overwrite without --force, and overwrites with it', async () => {
    const cwd = makeCwd();
    copyImage(cwd);
    writeFileSync(path.join(cwd, 'small.run'), 'precious');
    const refused = await run([bundler, 'make', 'small.sqsh'], { cwd });
    expect(refused.status).toBe(125);
    expect(refused.stderr).toMatch(/small\.run.*exists|exists.*small\.run/);
    expect(refused.stderr).toContain('--force');
    expect(readFileSync(path.join(cwd, 'small.run'), 'utf8')).toBe('precious');
    expect((await run([bundler, 'make', '-q', '-f', 'small.sqsh'], { cwd })).status).toBe(0);
    expect((await run([path.join(cwd, 'small.run')])).stdout).toBe('hello from the image\n');
  });

  e2e('replaces a bundle that is running without disturbing it', async () => {
    const cwd = makeCwd();
    copyImage(cwd);
    const file = path.join(cwd, 'small.run');
    await run([bundler, 'make', '-q', 'small.sqsh'], { cwd });
    const running = start([file, 'sh', '-c', 'echo ready; read x; sha256sum /bin/busybox']);
    await running.see(/ready/);
    expect((await run([bundler, 'make', '-q', '-f', 'small.sqsh'], { cwd })).status).toBe(0);
    expect((await running.end('\n')).stdout).toContain(digest('/bin/busybox'));
  });

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL'] as const) {
    e2e(
      `interrupted by ${signal} leaves nothing under the final name${signal === 'SIGKILL' ? '' : ' and no temporary file'}`,
      async () => {
        const cwd = makeCwd();
        // Big enough that the moment is not missed: a sparse tail is part of the file that is copied.
        const image = copyImage(cwd);
        const { truncateSync } = await import('node:fs');
        truncateSync(image, 3 * 2 ** 30);
        const running = start([bundler, 'make', '-q', '-o', 'big.run', 'small.sqsh'], { cwd });
        const partial = (): string[] => readdirSync(cwd).filter((name) => name !== 'small.sqsh');
        await until(
          () => partial().length > 0 || running.child.exitCode !== null,
          () => running.complaints,
        );
        running.child.kill(signal);
        const ran = await running.end();
        expect(ran.signal, 'it was interrupted in time').toBe(signal);
        expect(partial()).not.toContain('big.run');
        if (signal !== 'SIGKILL') expect(partial()).toEqual([]);
        truncateSync(image, statSync(makeImage('busybox')).size);
        const again = await run([bundler, 'make', '-q', '-o', 'big.run', 'small.sqsh'], { cwd });
        expect(again.status, again.stderr).toBe(0);
        expect(partial(), 'what was left is gone with the next one').toEqual(['big.run']);
      },
    );
  }

  e2e('on a full disk says so and leaves nothing', async () => {
    const image = makeImage('busybox');
    const ran = await runBare([bundler, 'make', '-o', '/small/x.run', '/image.sqsh'], {
      files: { '/image.sqsh': image },
      flags: ['--tmpfs', '/small=size=8m'],
    });
    expect(ran.status, ran.stderr).toBe(125);
    expect(ran.stderr).toMatch(/space/i);
  });

  e2e('runs on a bare host itself, and what it makes there runs', async () => {
    const dir = makeCwd();
    const image = makeImage('busybox');
    const made = await runBare([bundler, 'make', '-o', '/out/x.run', '/image.sqsh'], {
      files: { '/image.sqsh': image },
      flags: ['--bind', `${dir}=/out`],
    });
    expect(made.status, made.stderr).toBe(0);
    expect((await runBare([path.join(dir, 'x.run')])).stdout).toBe('hello from the image\n');
  });

  e2e('embeds --env, --rc, --entrypoint, --name and a description', async () => {
    const cwd = makeCwd();
    copyImage(cwd);
    writeFileSync(path.join(cwd, 'rc'), '#!/bin/sh\necho "embedded $GREETING: $*"\n');
    await run(
      [
        bundler,
        'make',
        '-q',
        '-o',
        'a.run',
        '--env',
        'GREETING=hi there',
        '--rc',
        'rc',
        '--name',
        'nice',
        '-d',
        'what it is',
        'small.sqsh',
      ],
      { cwd },
    );
    expect(await run([path.join(cwd, 'a.run'), 'x'])).toMatchObject({ stdout: 'embedded hi there: x\n', status: 0 });
    const info = await run([path.join(cwd, 'a.run'), '--info']);
    expect(info.stdout).toMatch(/nice/);
    expect(info.stdout).toMatch(/what it is/);
    await run([bundler, 'make', '-q', '-o', 'b.run', '--entrypoint', '/bin/echo', 'small.sqsh'], { cwd });
    expect(await run([path.join(cwd, 'b.run'), 'said'])).toMatchObject({ stdout: 'said\n', status: 0 });
  });

  e2eExceptSanitized('that launcher is larger')('has a small launcher and a small file around an empty image', () => {
    const file = makeBundle('empty');
    expect(findSection(file, 'launcher').size).toBeLessThan(2_500_000);
    expect(statSync(file).size).toBeLessThan(30_000_000);
  });

  e2e('writes the layout of docs/format.md', () => {
    const { tableOffset, totalSize, sections } = readTable(makeBundle('tree'));
    expect(totalSize).toBe(statSync(makeBundle('tree')).size);
    expect(sections.map(({ name }) => name)).toEqual(['launcher', 'runtime', 'payload', 'manifest', 'hashtree']);
    const page = (at: number): number => Math.ceil(at / 4096) * 4096;
    expect(sections[0]?.offset).toBe(0);
    expect(tableOffset).toBe(page(sections[0]?.size ?? 0));
    let end = tableOffset + 4096;
    for (const { offset, size } of sections.slice(1)) {
      expect(offset).toBe(page(end));
      end = offset + size;
    }
    expect(end).toBe(totalSize);
  });
});

describe('the hash tree', () => {
  e2e('is what docs/format.md says, computed here in another way', () => {
    const file = makeBundle('tree');
    const bytes = readFileSync(file);
    const at = (name: string): Buffer => {
      const { offset, size } = findSection(file, name);
      return bytes.subarray(offset, offset + size);
    };
    const cut = (data: Buffer): Buffer => {
      const hashes: Buffer[] = [];
      for (let i = 0; i < data.length; i += 65536)
        hashes.push(
          createHash('sha256')
            .update(data.subarray(i, i + 65536))
            .digest(),
        );
      return Buffer.concat(hashes);
    };
    const payload = at('payload');
    const levels = [cut(payload)];
    while ((levels.at(-1)?.length ?? 0) > 32) levels.push(cut(levels.at(-1) ?? Buffer.alloc(0)));
    expect(at('hashtree').equals(Buffer.concat(levels))).toBe(true);
    const size = Buffer.alloc(12);
    size.writeBigUInt64LE(BigInt(payload.length));
    size.writeUInt32LE(65536, 8);
    const root = createHash('sha256')
      .update('BNDLTREE1\0')
      .update(size)
      .update(levels.at(-1) ?? '')
      .digest();
    const { tableOffset, sections } = readTable(file);
    const entry = tableOffset + 32 + 72 * sections.findIndex(({ name }) => name === 'payload') + 40;
    expect(bytes.subarray(entry, entry + 32).equals(root)).toBe(true);
  });
});

describe('bundler run FILE', () => {
  e2e('runs a bundle without its x bit, with arguments and exit status', async () => {
    const dir = makeCwd();
    copyFileSync(makeBundle('busybox'), path.join(dir, 'x.run'));
    chmodSync(path.join(dir, 'x.run'), 0o644);
    const ran = await run(
      [bundler, 'run', path.join(dir, 'x.run'), '--env', 'A=b', 'sh', '-c', 'echo "$A $1"; exit 7', 'sh', 'x y'],
      { cwd: dir },
    );
    expect(ran).toMatchObject({ status: 7, stdout: 'b x y\n', stderr: '' });
  });

  e2e('runs one through a relative symlink', async () => {
    const dir = makeCwd();
    mkdirSync(path.join(dir, 'sub'));
    symlinkSync(makeBundle('busybox'), path.join(dir, 'sub/link'));
    expect(await run([bundler, 'run', 'sub/link', 'echo', 'x'], { cwd: dir })).toMatchObject({
      status: 0,
      stdout: 'x\n',
    });
  });
});
