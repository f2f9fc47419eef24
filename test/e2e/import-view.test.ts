// SPDX-License-Identifier: Apache-2.0
// What an import shows: lines in a pipe, a block of lines on a terminal, events, nothing.
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { bundler } from '../support/bundle.ts';
import type { FaultProxy } from '../support/fault-proxy.ts';
import { testNeeding } from '../support/features.ts';
import type { PushedImage } from '../support/push-image.ts';
import { run, startOnTerminal } from '../support/run.ts';
import { type ServedImage, serveImage } from '../support/served-image.ts';
import { expectOnlyCache, makeImporter, makeLayer, runBundler } from './import-rig.ts';

const needing = testNeeding('root', 'bundler', 'registry');

let served: ServedImage;
let proxy: FaultProxy;
let image: PushedImage;

beforeAll(async () => {
  served = await serveImage([
    { tar: makeLayer('low', 1_000_000) },
    { tar: makeLayer('top', 200_000), encoding: 'zstd' },
  ]);
  ({ proxy, image } = served);
});

afterAll(() => served?.stop());

const name = () => served.name;
/** The lowest layer takes a second. */
const slowDown = () =>
  proxy.inject(({ digest }) =>
    digest === image.layers[0]?.digest ? { kind: 'slow', bytesPerSecond: 1_000_000 } : null,
  );

describe('an import shows', () => {
  needing('in a pipe a line for the image and one for each layer, and the result on stdout', async () => {
    const importer = makeImporter();
    const first = await runBundler(importer, ['import', '-o', 'out.sqsh', name()]);
    expect(first.stdout).toMatch(/^out\.sqsh \(1\.\d+ MB\)\n$/);
    const short = image.layers.map(({ digest }) => digest.slice(7, 19));
    const lines = first.stderr.trimEnd().split('\n');
    expect(lines[0]).toBe(`bundler: importing docker://${proxy.host}#team/app:1 (${image.digest})`);
    expect(lines.slice(1).sort()).toEqual([
      expect.stringMatching(
        new RegExp(`^bundler: layer 1 of 2, ${short[0]}: 1\\.\\d+ MB downloaded in [\\d.]+ s \\(.*/s\\)$`),
      ),
      expect.stringMatching(
        new RegExp(`^bundler: layer 2 of 2, ${short[1]}: 20\\d kB downloaded in [\\d.]+ s \\(.*/s\\)$`),
      ),
    ]);
    expect(first.stderr).not.toMatch(/[\r\x1b]/);
    const second = await runBundler(importer, ['import', '-f', '-o', 'out.sqsh', name()]);
    expect(second.stderr.match(/in the cache$/gm)).toHaveLength(2);
  });

  needing('nothing with --quiet, also of what it retries', async () => {
    const importer = makeImporter();
    const ran = await runBundler(importer, ['import', '--quiet', '-o', 'out.sqsh', name()]);
    expect(ran).toMatchObject({ status: 0, stdout: '', stderr: '' });
  });

  needing('with --json events, each a line of JSON on stdout, the last of them "done"', async () => {
    const importer = makeImporter();
    proxy.reset();
    slowDown();
    const ran = await runBundler(importer, ['import', '--json', '-o', 'out.sqsh', name()]);
    expect(ran.stderr).toBe('');
    const events = ran.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(events.every(({ event }) => typeof event === 'string')).toBe(true);
    const shown = events.find(({ event }) => event === 'image');
    const layers = image.layers.map(({ digest, size }) => ({ digest, sizeBytes: size }));
    expect(shown).toMatchObject({ manifestDigest: image.digest, layers });
    expect(events.at(-1)).toMatchObject({
      event: 'done',
      output: path.join(importer.dir, 'out.sqsh'),
      manifestDigest: image.digest,
      reference: `docker://${proxy.host}#team/app:1`,
    });
    const low = events.filter(({ event, index }) => event === 'layer' && index === 0);
    const present = low.flatMap(({ state, presentBytes }) => (state === 'downloading' ? [presentBytes as number] : []));
    expect(present.length).toBeGreaterThan(1);
    expect([...present].sort((a, b) => a - b)).toEqual(present);
    expect(low.map(({ state }) => state)).toEqual(
      expect.arrayContaining(['downloading', 'downloaded', 'reading', 'done']),
    );
    const failed = await runBundler(importer, ['import', '--json', '-o', 'out.sqsh', name()]);
    expect(failed.status).toBe(125);
    expect(failed.stdout).not.toContain('"done"}');
    expect(failed.stderr).toMatch(/^bundler: cannot write .*it exists/);
  });

  needing('nothing to a reader that has gone, and goes on without it', async () => {
    for (const [argv, redirection] of [
      ['--json', '2>&3'],
      ['--verbose', '2>&1'],
    ]) {
      const importer = makeImporter();
      const { user, dir, cache } = importer;
      proxy.reset();
      slowDown();
      const script = `{ "$0" import ${argv} -o out.sqsh ${name()} ${redirection}; echo status $? >&3; } 3>&2 | head -c 1`;
      const env = { ENROOT_CACHE_PATH: cache, ENROOT_SYSCONF_PATH: '/nonexistent' };
      const ran = await run(['sh', '-c', script, bundler], { user, cwd: dir, env });
      expect(ran.stderr).toBe('status 0\n');
      await expectOnlyCache(importer, 'blobs');
      expect(readdirSync(dir)).toEqual(['out.sqsh']);
    }
  });

  needing('on a terminal a line for each layer, drawn again and again, and leaves the terminal clean', async () => {
    const importer = makeImporter();
    const { user, dir, cache } = importer;
    proxy.reset();
    slowDown();
    const env = { ENROOT_CACHE_PATH: cache, ENROOT_SYSCONF_PATH: '/nonexistent' };
    const running = startOnTerminal([bundler, 'import', '-o', 'out.sqsh', name()], { user, cwd: dir, env });
    const ran = await running.end();
    expect(ran.status, ran.stdout).toBe(0);
    expect(ran.stdout).toMatch(/downloading {2,}\d+% {2}.* of 1\.\d+ MB {2}.*\/s {2}\d+ s left/);
    expect(ran.stdout.match(/\x1b\[2A/g)?.length).toBeGreaterThan(3);
    const screen = draw(ran.stdout);
    const short = image.layers.map(({ digest }) => digest.slice(7, 19));
    expect(screen).toEqual([
      expect.stringMatching(new RegExp(`^${short[0]} +done +1\\.\\d+ MB$`)),
      expect.stringMatching(new RegExp(`^${short[1]} +done +20\\d kB$`)),
      expect.stringMatching(/^out\.sqsh \(1\.\d+ MB\)$/),
      '',
    ]);
  });
});

/** What a terminal of 80 columns shows in the end, of output that knows no other codes than these. */
function draw(output: string): string[] {
  const lines = [''];
  let row = 0;
  let column = 0;
  for (const [token] of output.matchAll(/\x1b\[(\d*)([A-Z])|[\r\n]|[^\x1b\r\n]+/g)) {
    const [, count = '', code = ''] = /^\x1b\[(\d*)([A-Z])/.exec(token) ?? [];
    if (token === '\r') column = 0;
    else if (token === '\n') {
      row++;
      lines[row] ??= '';
    } else if (code === 'A') row -= Number(count || 1);
    else if (code === 'K') lines[row] = (lines[row] ?? '').slice(0, column);
    else if (code === 'J') {
      lines[row] = (lines[row] ?? '').slice(0, column);
      lines.length = row + 1;
    } else if (code !== '') throw new Error(`unknown code ${JSON.stringify(token)}`);
    else {
      expect(column + token.length).toBeLessThan(80);
      lines[row] =
        (lines[row] ?? '').padEnd(column).slice(0, column) + token + (lines[row] ?? '').slice(column + token.length);
      column += token.length;
    }
  }
  return lines;
}
