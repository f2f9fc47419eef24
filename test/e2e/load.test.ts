// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { listTree } from '../native/image-rig.ts';
import { bundler } from '../support/bundle.ts';
import { testNeeding } from '../support/features.ts';
import { interruptWriter } from '../support/interrupt-writer.ts';
import { writeLayout } from '../support/oci-layout.ts';
import { makeRawTar } from '../support/raw-tar.ts';
import { type Ran, run } from '../support/run.ts';
import { listImage, makeSampleLayout } from '../support/sample-image.ts';
import { freshUser, makeDir, ordinaryUser, sessionDir, type User } from '../support/session.ts';
import { until } from '../support/snapshot.ts';

const needing = testNeeding('root', 'bundler');
const { uid } = ordinaryUser();

const sample = '{sample}';
let layout = '';
/** Lines of the image that import makes. */
let image: string[] = [];

const makeData = (user: User = ordinaryUser()): string => makeDir(user, 'data');

function load(data: string, argv: readonly string[], user = ordinaryUser()): Promise<Ran> {
  return run([bundler, 'load', ...argv], { user, cwd: data, env: { ENROOT_DATA_PATH: data } });
}

/** Lines as an ordinary user's directory has them: all is his, there are no devices, and no attributes that only root may set. */
function ofUser(lines: readonly string[]): string[] {
  return lines
    .filter((line) => !/^\S+ [26]\d{4}\d? /.test(line))
    .map((line) => line.replace(/^(\S* \S+) \S+/, `$1 ${uid}:${uid}`).replace(/ security\.\S+/, ''));
}

/** A layout with these layers, lowest first. */
function makeLayout(...layers: Parameters<typeof makeRawTar>[0][]): string {
  const directory = makeDir(ordinaryUser(), 'layout');
  writeLayout(
    path.join(directory, 'x'),
    layers.map((entries) => ({ tar: makeRawTar(entries) })),
  );
  return path.join(directory, 'x');
}

beforeAll(async () => {
  layout = makeSampleLayout();
  const cwd = makeData();
  const ran = await run([bundler, 'import', '-q', '-o', 'x.sqsh', `oci:${layout}`], { cwd });
  expect(ran.status, ran.stderr).toBe(0);
  image = listImage(path.join(cwd, 'x.sqsh'));
});

describe('bundler load', () => {
  needing('makes a container with the tree of the image, all of it the user’s', async () => {
    const data = makeData();
    const ran = await load(data, [`oci:${layout}`]);
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stdout).toBe(`${data}/layout+latest\n`);
    expect(readdirSync(data)).toEqual(['layout+latest']);
    const found = listTree(path.join(data, 'layout+latest'));
    expect(ofUser(found)).toEqual(found);
    expect(found).toEqual(ofUser(image));
  });

  needing('keeps owners, devices and capabilities for root', async () => {
    const root = { uid: 0, home: '/' };
    const data = makeData(root);
    expect((await load(data, ['-q', '--name', 'np', `oci:${layout}`], root)).status).toBe(0);
    expect(listTree(path.join(data, 'np'))).toEqual(image);
  });

  needing('is undone by export: the tree comes back', async () => {
    const data = makeData();
    expect((await load(data, ['-q', '-n', 'np', `oci:${layout}`])).status).toBe(0);
    const exported = await run([bundler, 'export', '-q', '--format', 'oci', 'np'], {
      cwd: data,
      env: { ENROOT_DATA_PATH: data },
    });
    expect(exported.status, exported.stderr).toBe(0);
    expect((await load(data, ['-q', '-n', 'again', 'oci:np.oci'])).status).toBe(0);
    const known = (lines: string[]): string[] =>
      lines.filter((line) => !/^\/etc\/(rc|bundler\/image.json) /.test(line));
    const before = listTree(path.join(data, 'np')).filter((line) => !/^\/(dev\/|\.lock )/.test(line));
    expect(known(listTree(path.join(data, 'again')))).toEqual(known(before));
  });

  needing('tells as JSON what it did', async () => {
    const data = makeData();
    const ran = await load(data, ['--json', '-n', 'np', `oci:${layout}`]);
    const events = ran.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(events[0]).toMatchObject({ event: 'image', layers: [expect.anything(), expect.anything()] });
    expect(events.at(-1)).toEqual({
      event: 'done',
      container: `${data}/np`,
      reference: expect.stringContaining(layout),
      manifestDigest: expect.stringMatching(/^sha256:/),
    });
  });

  needing('is in XDG_DATA_HOME, else in ~/.local/share, without ENROOT_DATA_PATH', async () => {
    const small = makeLayout([{ name: 'x', content: 'x' }]);
    const user = freshUser();
    const own = makeDir(user, 'xdg');
    const argv = [bundler, 'load', '-n', 'np', `oci:${small}`];
    const first = await run(argv, { user, env: { XDG_DATA_HOME: own } });
    expect(first.stdout, first.stderr).toBe(`${own}/enroot/np\n`);
    const second = await run(argv, { user });
    expect(second.stdout, second.stderr).toBe(`${user.home}/.local/share/enroot/np\n`);
    // Others have no business there.
    expect(statSync(`${own}/enroot`).mode & 0o777).toBe(0o700);
    expect(readFileSync(`${own}/enroot/np/x`, 'utf8')).toBe('x');
    const exported = await run([bundler, 'export', '-q', '-o', 'x.sqsh', 'np'], { user, cwd: user.home });
    expect(exported.status, exported.stderr).toBe(0);
  });
});

describe('a container that exists', () => {
  needing('is kept without --force', async () => {
    const data = makeData();
    mkdirSync(path.join(data, 'np'));
    const ran = await load(data, ['-n', 'np', `oci:${layout}`]);
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/cannot load np: the container .*np exists\n {2}try: .*--force.*--name/);
    expect(readdirSync(data, { recursive: true })).toEqual(['np']);
  });

  needing('is replaced with --force, also with directories that nobody may enter', async () => {
    const data = makeData();
    expect((await load(data, ['-q', '-n', 'np', `oci:${layout}`])).status).toBe(0);
    execFileSync(
      'setpriv',
      [
        `--reuid=${uid}`,
        `--regid=${uid}`,
        '--clear-groups',
        'sh',
        '-ec',
        'mkdir -p a/b/c old; : > a/b/c/d; chmod 0 a/b/c; chmod 0 a/b; chmod 500 a old',
      ],
      { cwd: path.join(data, 'np') },
    );
    const ran = await load(data, ['-q', '-f', '-n', 'np', `oci:${layout}`]);
    expect(ran.status, ran.stderr).toBe(0);
    expect(readdirSync(data)).toEqual(['np']);
    expect(listTree(path.join(data, 'np'))).toEqual(ofUser(image));
  });

  needing('stays when it cannot be moved away, and nothing else is left', async () => {
    const data = makeData();
    mkdirSync(path.join(data, 'np'));
    execFileSync('mount', ['-t', 'tmpfs', 'none', path.join(data, 'np')]);
    try {
      const ran = await load(data, ['-q', '-f', '-n', 'np', `oci:${makeLayout([{ name: 'x' }])}`]);
      expect(ran.status).toBe(125);
      expect(ran.stderr).toMatch(/^bundler: cannot put .*\/np in its place: /);
      expect(readdirSync(data)).toEqual(['np']);
    } finally {
      execFileSync('umount', [path.join(data, 'np')]);
    }
  });

  needing('is replaced also when it cannot be removed, which is told', async () => {
    const data = makeData();
    expect((await load(data, ['-q', '-n', 'np', `oci:${makeLayout([{ name: 'x' }])}`])).status).toBe(0);
    mkdirSync(path.join(data, 'np/of-root'));
    writeFileSync(path.join(data, 'np/of-root/file'), '');
    const ran = await load(data, ['-q', '-f', '-n', 'np', `oci:${makeLayout([{ name: 'y' }])}`]);
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/^bundler: .*\/np is loaded, but cannot remove .*-old, what it replaced: .*\n {2}try: /);
    expect(existsSync(path.join(data, 'np/y'))).toBe(true);
  });

  needing('stays when what should replace it cannot be loaded', async () => {
    const data = makeData();
    expect((await load(data, ['-q', '-n', 'np', `oci:${makeLayout([{ name: 'x' }])}`])).status).toBe(0);
    const bad = makeLayout([{ name: 'h', type: '1', link: 'none' }]);
    expect((await load(data, ['-q', '-f', '-n', 'np', `oci:${bad}`])).status).toBe(125);
    expect(existsSync(path.join(data, 'np/x'))).toBe(true);
    expect(readdirSync(data)).toEqual(['np']);
  });
});

describe('a load that fails leaves nothing behind', () => {
  needing('when a layer is damaged', async () => {
    const data = makeData();
    const damaged = makeLayout([{ name: 'x', content: 'x'.repeat(5000) }]);
    const { manifests } = JSON.parse(readFileSync(`${damaged}/index.json`, 'utf8'));
    const blob = (digest: string): string => `${damaged}/blobs/sha256/${digest.slice(7)}`;
    const [layer] = JSON.parse(readFileSync(blob(manifests[0].digest), 'utf8')).layers;
    const bytes = readFileSync(blob(layer.digest));
    bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
    writeFileSync(blob(layer.digest), bytes);
    expect(createHash('sha256').update(bytes).digest('hex')).not.toBe(layer.digest.slice(7));
    const ran = await load(data, ['-n', 'np', `oci:${damaged}`]);
    expect(ran.status).toBe(125);
    expect(ran.stderr).toContain(layer.digest);
    expect(readdirSync(data)).toEqual([]);
  });

  for (const [what, size, message] of [
    ['the image', '100k', /^bundler: cannot write to .*data: no space left on device\n/m],
    ['the files', '1m', /^bundler: write large .*: No space left on device\n {2}try: a directory with \d+ bytes free/m],
  ] as const) {
    needing(`when the disk is full with ${what}`, async () => {
      const large = makeLayout([
        { name: 'large', content: Buffer.alloc(4_000_000, 'compresses well, '), mode: 0o600 },
        ...(size === '100k'
          ? [{ name: 'random', content: Buffer.from(readFileSync('/bin/busybox').subarray(0, 500_000)) }]
          : []),
      ]);
      const data = path.join(makeData(), 'data');
      mkdirSync(data);
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},uid=${uid}`, 'none', data]);
      try {
        const ran = await load(data, ['-n', 'np', `oci:${large}`]);
        expect(ran.status, ran.stderr).toBe(125);
        expect(ran.stderr).toMatch(message);
        expect(readdirSync(data)).toEqual([]);
      } finally {
        execFileSync('umount', [data]);
      }
    });
  }

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    needing(`when ${signal} comes while files are written`, async () => {
      const data = makeData();
      const many = makeLayout(Array.from({ length: 60_000 }, (_, i) => ({ name: `d${i % 50}/f${i}`, content: 'x' })));
      const argv = [bundler, 'load', '-q', '-n', 'np', `oci:${many}`];
      await interruptWriter(argv, signal, { cwd: data, env: { ENROOT_DATA_PATH: data } });
      await until(
        () => readdirSync(data).length === 0,
        () => readdirSync(data).join(' '),
      );
    });
  }

  const refusals: Readonly<Record<string, [argv: string[], message: RegExp]>> = {
    'an image that is not there': [['oci:/nonexistent/x'], /nonexistent/],
    'a name with a slash': [['-n', 'a/b', 'oci:x'], /a name has no slash/],
    'a name with a dot in front': [['-n', '.x', 'oci:x'], /no dot in front/],
    'a name that is too long': [
      ['-n', 'x'.repeat(201), `oci:${sample}`],
      /too long for a container\n {2}try: .*--name/,
    ],
    'no image': [['x.sqsh'], /x\.sqsh.*\n {2}try: /],
  };
  for (const [what, [argv, message]] of Object.entries(refusals)) {
    needing(`because of ${what}`, async () => {
      const data = makeData();
      const ran = await load(
        data,
        argv.map((word) => word.replace(sample, layout)),
      );
      expect(ran.status).toBe(125);
      expect(ran.stderr).toMatch(message);
      expect(readdirSync(data)).toEqual([]);
    });
  }

  needing('where nothing may be written', async () => {
    const ran = await load(sessionDir(), ['-n', 'np', `oci:${layout}`]);
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/^bundler: cannot write to the directory .*: permission denied\n/m);
  });
});
