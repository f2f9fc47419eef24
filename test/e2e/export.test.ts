// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { bundler, findSection } from '../support/bundle.ts';
import { testNeeding } from '../support/features.ts';
import { openStorage } from '../support/image-tools.ts';
import { type Ran, run } from '../support/run.ts';
import { inspectBySkopeo, listImage, listUnpacked, makeSampleLayout, readConfig } from '../support/sample-image.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

const needing = testNeeding('root', 'bundler', 'skopeo', 'umoci');

let layout = '';
/** A directory with np.sqsh, which was imported from the sample, and np.run, which was made of that. */
let home = '';
let image = '';

function invoke(cwd: string, ...argv: string[]): Promise<Ran> {
  return run([bundler, ...argv], { cwd, env: { ENROOT_DATA_PATH: path.join(home, 'data') } });
}

async function succeed(cwd: string, ...argv: string[]): Promise<Ran> {
  const ran = await invoke(cwd, ...argv);
  expect(ran.status, ran.stderr).toBe(0);
  return ran;
}

const makeCwd = (): string => makeDir(ordinaryUser(), 'export');

/** The provenance is another one after another import; all other files of the configuration are the same. */
const known = (lines: string[]): string[] => lines.filter((line) => !/^\/etc\/(rc|bundler\/image.json) /.test(line));

beforeAll(async () => {
  layout = makeSampleLayout();
  home = makeCwd();
  image = path.join(home, 'np.sqsh');
  await succeed(home, 'import', '-q', '-o', 'np.sqsh', `oci:${layout}`);
  await succeed(home, 'make', '-q', 'np.sqsh');
});

describe('an image exported as a layout', () => {
  needing('has the configuration and the tree that it was imported with', async () => {
    const cwd = makeCwd();
    await succeed(cwd, 'export', '--format', 'oci', image);
    expect(readdirSync(cwd)).toEqual(['np.oci']);
    const name = `oci:${path.join(cwd, 'np.oci')}:np:latest`;
    expect(readConfig(name)).toEqual(readConfig(`oci:${layout}:latest`));
    const { diff_ids: diffIds } = inspectBySkopeo(name, '--config', '--raw')['rootfs'] as { diff_ids: string[] };
    expect(diffIds).toHaveLength(1);
    expect(listUnpacked(`${path.join(cwd, 'np.oci')}:np:latest`)).toEqual(listImage(image));
  });

  needing('is imported again as the same tree', async () => {
    const cwd = makeCwd();
    await succeed(cwd, 'export', '--format', 'oci', '--compression', 'zstd', '-o', 'x', '--tag', 'x', image);
    await succeed(cwd, 'import', '-q', '-o', 'again.sqsh', 'oci:x:x');
    expect(known(listImage(path.join(cwd, 'again.sqsh')))).toEqual(known(listImage(image)));
  });

  needing('is added to the images of a layout', async () => {
    const cwd = makeCwd();
    execFileSync('cp', ['-a', layout, path.join(cwd, 'layout')]);
    execFileSync('chown', ['-R', `${ordinaryUser().uid}`, path.join(cwd, 'layout')]);
    await succeed(cwd, 'export', '--format', 'oci', '-o', 'layout', '--tag', 'mine', image);
    await succeed(cwd, 'export', '--format', 'oci', '-o', 'layout', '--tag', 'mine', image);
    const { manifests } = JSON.parse(readFileSync(path.join(cwd, 'layout/index.json'), 'utf8'));
    expect(manifests).toHaveLength(2);
    expect(readConfig(`oci:${path.join(cwd, 'layout')}:latest`)).toEqual(readConfig(`oci:${cwd}/layout:mine`));
  });
});

describe('an image exported as an archive', () => {
  for (const compression of ['gzip', 'zstd', 'none']) {
    needing(`is read by skopeo, layer ${compression}`, async () => {
      const cwd = makeCwd();
      const given = ['--compression', compression, image];
      await succeed(cwd, 'export', '--format', 'oci-archive', ...given);
      await succeed(cwd, 'export', '--format', 'docker-archive', ...given);
      expect(readdirSync(cwd).sort()).toEqual(['np.oci.tar', 'np.tar']);
      const original = readConfig(`oci:${layout}:latest`);
      for (const name of ['oci-archive:np.oci.tar:np:latest', 'docker-archive:np.tar:np:latest']) {
        const [transport, file, ...rest] = name.split(':');
        const whole = `${transport}:${path.join(cwd, file as string)}:${rest.join(':')}`;
        // Docker's own archives have no zstd, and skopeo reads of them what it knows.
        if (transport === 'oci-archive') expect(readConfig(whole)).toEqual(original);
        else expect(readConfig(whole)).toMatchObject({ config: { Cmd: sampleCommand(original) } });
        if (transport === 'oci-archive' && compression === 'zstd') {
          // umoci reads no zstd, and skopeo makes nothing else of it.
          await succeed(cwd, 'import', '-q', '-o', 'again.sqsh', `${transport}:${file}`);
          expect(known(listImage(path.join(cwd, 'again.sqsh')))).toEqual(known(listImage(image)));
          continue;
        }
        const from = ['copy', '--insecure-policy', '-q', whole];
        execFileSync('skopeo', [...from, `oci:${path.join(cwd, 'copy')}:copy`], { stdio: 'pipe' });
        expect(listUnpacked(`${path.join(cwd, 'copy')}:copy`)).toEqual(listImage(image));
      }
    });
  }

  testNeeding(
    'root',
    'bundler',
    'podman',
  )('is loaded by podman, with its name and configuration', async () => {
    const cwd = makeCwd();
    await succeed(cwd, 'export', '--format', 'docker-archive', '--tag', 'registry.example/team/np:1.2', image);
    const storage = openStorage(path.join(cwd, 'storage'));
    expect(storage.podman('load', '-q', '-i', path.join(cwd, 'np.tar'))).toContain('registry.example/team/np:1.2');
    const [found] = JSON.parse(storage.podman('image', 'inspect', 'registry.example/team/np:1.2'));
    const { config } = readConfig(`oci:${layout}:latest`) as { config: Record<string, unknown> };
    for (const key of ['Env', 'Entrypoint', 'Cmd', 'WorkingDir', 'User', 'Labels', 'StopSignal'])
      expect(found.Config[key]).toEqual(config[key]);
  });
});

function sampleCommand(config: Record<string, unknown>): unknown {
  return (config['config'] as Record<string, unknown>)['Cmd'];
}

describe('digests', () => {
  needing('are the same of the image and of the bundle with it, each time', async () => {
    const cwd = makeCwd();
    const found = [];
    for (const [at, source] of [image, path.join(home, 'np.run'), image].entries()) {
      const { stdout } = await succeed(cwd, 'export', '--json', '--format', 'oci', '-o', `out${at}`, source);
      found.push({ ...JSON.parse(stdout), output: '' });
    }
    expect(found[1]).toEqual(found[0]);
    expect(found[2]).toEqual(found[0]);
    expect(found[0]).toEqual({
      output: '',
      sizeBytes: expect.any(Number),
      manifestDigest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
      config: {
        mediaType: expect.stringContaining('config'),
        digest: expect.any(String),
        sizeBytes: expect.any(Number),
      },
      layers: [
        {
          mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
          digest: expect.any(String),
          sizeBytes: expect.any(Number),
          diffId: expect.any(String),
        },
      ],
    });
  });

  needing('are those of the files that skopeo sees, and archives are the same each time', async () => {
    const cwd = makeCwd();
    for (const name of ['a.tar', 'b.tar'])
      await succeed(cwd, 'export', '-q', '--format', 'docker-archive', '-o', name, image);
    expect(readFileSync(path.join(cwd, 'a.tar')).equals(readFileSync(path.join(cwd, 'b.tar')))).toBe(true);
    const { stdout } = await succeed(cwd, 'export', '--json', '--format', 'oci-archive', '-o', 'x.tar', image);
    const { manifestDigest, sizeBytes, output } = JSON.parse(stdout);
    expect(output).toBe('x.tar');
    expect(sizeBytes).toBe(statSync(path.join(cwd, 'x.tar')).size);
    expect(inspectBySkopeo(`oci-archive:${cwd}/x.tar:np:latest`)['Digest']).toBe(manifestDigest);
  });
});

describe('a file', () => {
  needing('is exported where there is no home directory, and so no place for containers', async () => {
    const cwd = makeCwd();
    copyFileSync(image, path.join(cwd, 'np.sqsh'));
    chmodSync(path.join(cwd, 'np.sqsh'), 0o644);
    const ran = await run([bundler, 'export', '-q', '--format', 'oci', 'np.sqsh'], { cwd, env: { HOME: '' } });
    expect(ran.status, ran.stderr).toBe(0);
    const other = await run([bundler, 'export', 'np'], { cwd, env: { HOME: '' } });
    expect(other.stderr).toMatch(/ENROOT_DATA_PATH is not set.*\n {2}try: set HOME or ENROOT_DATA_PATH\n$/);
  });
});

describe('a bundle exported as squashfs', () => {
  needing('is its payload byte for byte', async () => {
    const cwd = makeCwd();
    const { stdout } = await succeed(cwd, 'export', '--json', path.join(home, 'np.run'));
    expect(JSON.parse(stdout)).toEqual({ output: 'np.sqsh', sizeBytes: statSync(image).size });
    expect(readFileSync(path.join(cwd, 'np.sqsh')).equals(readFileSync(image))).toBe(true);
    expect(statSync(path.join(cwd, 'np.sqsh')).mode & 0o777).toBe(0o644);
  });

  for (const format of ['sqsh', 'oci', 'docker-archive'])
    needing(`is refused when it is damaged, as ${format}`, async () => {
      const cwd = makeCwd();
      const damaged = path.join(cwd, 'np.run');
      copyFileSync(path.join(home, 'np.run'), damaged);
      const bytes = readFileSync(damaged);
      const { offset, size } = findSection(damaged, 'payload');
      bytes.writeUInt8(bytes.readUInt8(offset + (size >> 1)) ^ 1, offset + (size >> 1));
      writeFileSync(damaged, bytes);
      const ran = await invoke(cwd, 'export', '--format', format, 'np.run');
      expect(ran.status).toBe(125);
      expect(ran.stderr).toMatch(/^bundler: cannot export np\.run: its payload is damaged.*\n {2}try: .*again\n$/);
      expect(readdirSync(cwd)).toEqual(['np.run']);
    });
});

describe('an export that cannot be', () => {
  const refusals: Readonly<Record<string, [argv: string[], message: RegExp]>> = {
    'of what is not there': [['nothing'], /no container of that name in .*data, and no such file\n {2}try: name a/],
    'of a container with a slash in its name': [['./np'], /np.*\n {2}try: /],
    'of a directory that is no container': [['.'], /it is a directory.*\n {2}try: /],
    'of an empty name': [[''], /the name is empty/],
    'of a text': [['text'], /text.*(squashfs|bundle)/],
    'as an unknown form': [
      ['--format', 'tgz', 'np.sqsh'],
      /formats are sqsh, oci, oci-archive, docker-archive and docker:/,
    ],
    'as squashfs of a squashfs image': [['np.sqsh'], /it is one\n {2}try: choose another --format/],
    'to a registry and to a file': [['--format', 'docker://x.invalid/x', '-o', 'x', 'np.sqsh'], /--output.*registry/],
    'to a digest': [['--format', `docker://x.invalid/x@sha256:${'0'.repeat(64)}`, 'np.sqsh'], /try: give a tag/],
    'to no name': [['--format', 'docker://', 'np.sqsh'], /^bundler: .*\n/],
    'with a tag for a squashfs image': [
      ['--tag', 'x', 'np.sqsh'],
      /cannot use --tag x: .*no name\n {2}try: leave it out/,
    ],
    'with a tag twice': [['--tag', 'x', '--format', 'docker://x.invalid/x', 'np.sqsh'], /cannot use --tag x: .*pushed/],
    'over a file': [['--format', 'oci-archive', '-o', 'text', 'np.sqsh'], /text: it exists\n {2}try: .*--force/],
    'over a file as a layout': [
      ['--format', 'oci', '-o', 'text', 'np.sqsh'],
      /text.*not a directory|text.*exists|text.*a file/,
    ],
    'over a directory': [['--format', 'oci-archive', '-o', 'full', 'np.sqsh'], /full: it is a directory/],
    'into a directory of other things': [['--format', 'oci', '-o', 'full', 'np.sqsh'], /other things in it\n {2}try: /],
    'into a directory that is not there': [['--format', 'oci', '-o', 'no/x', 'np.sqsh'], /no such file or directory/],
    'with a tag that is no name': [['--format', 'oci', '--tag', 'a b', 'np.sqsh'], /"a b".*\n {2}try: /],
    'with a tag that no engine takes': [
      ['--format', 'docker-archive', '--tag', 'NP:1', 'np.sqsh'],
      /NP:1.*upper case.*\n {2}try: /,
    ],
  };
  for (const [title, [argv, message]] of Object.entries(refusals)) {
    needing(`${title} is refused, and nothing is left of it`, async () => {
      const cwd = makeCwd();
      copyFileSync(image, path.join(cwd, 'np.sqsh'));
      writeFileSync(path.join(cwd, 'text'), 'precious');
      chmodSync(path.join(cwd, 'text'), 0o644);
      mkdirSync(path.join(cwd, 'full'));
      writeFileSync(path.join(cwd, 'full/thing'), 'precious');
      execFileSync('chown', ['-R', `${ordinaryUser().uid}`, cwd]);
      const before = readdirSync(cwd, { recursive: true });
      const ran = await invoke(cwd, 'export', ...argv);
      expect(ran.status, ran.stderr).toBe(125);
      expect(ran.stdout).toBe('');
      expect(ran.stderr).toMatch(message);
      expect(ran.stderr).not.toContain('a bug');
      expect(readdirSync(cwd, { recursive: true })).toEqual(before);
      expect(readFileSync(path.join(cwd, 'text'), 'utf8')).toBe('precious');
    });
  }

  needing('replaces a file with --force', async () => {
    const cwd = makeCwd();
    writeFileSync(path.join(cwd, 'np.tar'), 'old');
    execFileSync('chown', ['-R', `${ordinaryUser().uid}`, cwd]);
    await succeed(cwd, 'export', '-q', '-f', '--format', 'docker-archive', image);
    expect(readdirSync(cwd)).toEqual(['np.tar']);
    expect(statSync(path.join(cwd, 'np.tar')).size).toBeGreaterThan(1000);
  });
});
