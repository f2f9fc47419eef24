// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { compileNative } from '../native/compile.ts';
import { bundler } from '../support/bundle.ts';
import { hasFeatures, testNeeding } from '../support/features.ts';
import { openStorage, run as runTool, type Storage, servePodman } from '../support/image-tools.ts';
import { writeLayout } from '../support/oci-layout.ts';
import { makeRawTar, type RawEntry } from '../support/raw-tar.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { type Ran, type RunOptions, run } from '../support/run.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

const needed = ['root', 'bundler', 'registry', 'skopeo', 'podman', 'buildah'] as const;
const needing = testNeeding(...needed);
const isReady = hasFeatures(...needed);
const user = ordinaryUser();
let dir = '';
let storage: Storage;
let registry: TestRegistry;
let service: { stop(): Promise<void> };
/** All that is to be seen of the image when it is imported from its layout. */
let wanted: string[] = [];

const lower: readonly RawEntry[] = [
  { name: 'bin/' },
  { name: 'bin/tool', content: '#!/bin/sh\n', mode: 0o4755 },
  { name: 'bin/same', type: '1', link: 'bin/tool' },
  { name: 'data/', uid: 12, gid: 34, mode: 0o750 },
  { name: 'data/gone', content: 'gone' },
  { name: 'data/large', content: Buffer.alloc(3_000_000, 'some text that is compressed well; '), uid: 12 },
  { name: 'data/link', type: '2', link: '../bin/tool' },
];
const upper: readonly RawEntry[] = [
  { name: 'data/', uid: 12, gid: 34, mode: 0o700 },
  { name: 'data/.wh.gone', content: '' },
  { name: 'data/new', content: 'new', mtime: 1_234_567_890 },
  { name: `${'deep/'.repeat(40)}x`, content: 'x' },
];

beforeAll(async () => {
  if (!isReady) return;
  dir = makeDir(user, 'daemon');
  const layout = path.join(dir, 'layout');
  const config = { Entrypoint: ['/bin/tool'], Cmd: ['x', 'y'], Env: ['A=1'], WorkingDir: '/data', Labels: { a: 'b' } };
  writeLayout(layout, [{ tar: makeRawTar(lower) }, { tar: makeRawTar(upper) }], config);
  storage = openStorage(path.join(dir, 'storage'));
  registry = await startRegistry();
  await registry.push(`oci:${layout}:latest`, 'group/pulled:1');
  const pulled = `${registry.host}/group/pulled:1`;
  storage.podman('pull', '-q', '--tls-verify=false', pulled);
  storage.podman('tag', pulled, 'localhost/group/thing:2');
  // Without the name to take away, all are.
  storage.podman('untag', pulled, pulled);
  const registries = path.join(dir, 'registries.conf');
  writeFileSync(registries, `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`);
  const socket = path.join(dir, 'podman.sock');
  service = await servePodman(storage, socket, { CONTAINERS_REGISTRIES_CONF: registries });
  chmodSync(socket, 0o666);
  wanted = (await importImage(`oci:${layout}`)).lines;
}, 120_000);

afterAll(async () => {
  if (!isReady) return;
  await service.stop();
  await registry.stop();
});

let count = 0;

/** Imports as an ordinary user, who sees only the socket. */
async function tryImport(uri: string, options: RunOptions = {}): Promise<Ran & { file: string; place: string }> {
  count += 1;
  const place = path.join(dir, `out-${count}`);
  mkdirSync(place);
  chmodSync(place, 0o777);
  const file = path.join(place, 'out.sqsh');
  const socket = `unix://${dir}/podman.sock`;
  const env = {
    DOCKER_HOST: socket,
    CONTAINER_HOST: socket,
    ENROOT_TEMP_PATH: place,
    ENROOT_CACHE_PATH: `${place}/cache`,
  };
  const all = { ...env, ENROOT_ALLOW_HTTP: 'y', ...options.env };
  const ran = await run([bundler, 'import', '--quiet', '-o', file, uri], { user, ...options, env: all });
  return { ...ran, file, place };
}

/** The files that tell where an image came from; /etc/rc does it in its first line. */
async function importImage(uri: string, options: RunOptions = {}): Promise<{ lines: string[]; rc: string }> {
  const ran = await tryImport(uri, options);
  expect({ status: ran.status, stderr: ran.stderr }, uri).toEqual({ status: 0, stderr: '' });
  expect(readdirSync(ran.place).filter((name) => name !== 'cache')).toEqual(['out.sqsh']);
  const dumped = await run([compileNative('dump-image'), ran.file], { user: { uid: 0, home: '/' } });
  const lines = dumped.bytes.toString('latin1').split('\n');
  const [first = '', ...rc] = execFileSync('unsquashfs', ['-cat', ran.file, 'etc/rc'], { encoding: 'utf8' }).split(
    '\n',
  );
  expect(first).toBe(`# enroot-provenance: ${uri === '-' ? '-' : uri}`);
  const kept = lines.filter((line) => !/^\/etc\/(rc|bundler\/image\.json) /.test(line));
  return { lines: kept, rc: rc.join('\n') };
}

describe('a daemon', () => {
  for (const scheme of ['dockerd', 'podman']) {
    needing(`gives by ${scheme}:// the image that its layout is`, async () => {
      const { lines, rc } = await importImage(`${scheme}://localhost/group/thing:2`);
      expect(lines).toEqual(wanted);
      const names = lines.map((line) => line.split(' ', 1)[0]);
      expect(names).toContain('/data/new');
      expect(names).not.toContain('/data/gone');
      expect(rc).toContain(`exec '/bin/tool' 'x' 'y'\n`);
    });

    needing(`by ${scheme}:// pulls an image that it does not have`, async () => {
      const name = `${registry.host}/group/pulled:1`;
      expect(() => storage.podman('image', 'exists', name)).toThrow();
      expect((await importImage(`${scheme}://${name}`)).lines).toEqual(wanted);
      storage.podman('untag', name, name);
    });

    needing(`by ${scheme}:// says that there is no such image, and nothing is left`, async () => {
      const ran = await tryImport(`${scheme}://${registry.host}/group/absent:1`);
      const program = scheme === 'dockerd' ? 'docker' : 'podman';
      expect(ran.status).toBe(125);
      expect(ran.stderr).toMatch(
        new RegExp(`^bundler: ${program} cannot pull ${registry.host}/group/absent:1: .+\n  try: `),
      );
      expect(ran.stdout).toBe('');
      expect(readdirSync(ran.place)).toEqual([]);
    });

    needing(`by ${scheme}:// that does not run says how to start it`, async () => {
      const env = { DOCKER_HOST: `unix://${dir}/none.sock`, CONTAINER_HOST: `unix://${dir}/none.sock` };
      const ran = await tryImport(`${scheme}://x`, { env });
      expect(ran).toMatchObject({ status: 125, stdout: '' });
      expect(ran.stderr).toMatch(/^bundler: cannot reach (docker|podman) at .*none\.sock.*\n {2}try: start it \(/);
    });
  }

  needing('whose socket is not for this user says so', async () => {
    chmodSync(path.join(dir, 'podman.sock'), 0o600);
    const ran = await tryImport('dockerd://localhost/group/thing:2');
    chmodSync(path.join(dir, 'podman.sock'), 0o666);
    expect(ran.status).toBe(125);
    expect(ran.stderr).toMatch(/permission denied\n {2}try: become a member of the group docker/);
  });
});

describe('what podman save writes', () => {
  const formats = [
    ['docker-archive', 'docker-archive'],
    ['oci-archive', 'oci-archive'],
  ] as const;
  for (const [format, scheme] of formats) {
    needing(`as ${format} is the same image: as a file, compressed, and on stdin`, async () => {
      const file = path.join(dir, `${format}.tar`);
      storage.podman('save', '-q', '--format', format, '-o', file, 'localhost/group/thing:2');
      runTool('gzip', '-k', file);
      runTool('zstd', '-q', file);
      for (const name of [file, `${file}.gz`, `${file}.zst`]) {
        chmodSync(name, 0o644);
        expect((await importImage(`${scheme}:${name}`)).lines, name).toEqual(wanted);
        const { status, stderr, file: out } = await tryImport('-', { input: readFileSync(name) });
        expect({ status, stderr }, name).toEqual({ status: 0, stderr: '' });
        const dumped = await run([compileNative('dump-image'), out], { user: { uid: 0, home: '/' } });
        const lines = dumped.bytes.toString('latin1').split('\n');
        expect(
          lines.filter((line) => !/^\/etc\/(rc|bundler\/image\.json) /.test(line)),
          name,
        ).toEqual(wanted);
      }
    });
  }
});

needing('a registry gives the same image as all of these', async () => {
  const { lines } = await importImage(`docker://${registry.host}#group/pulled:1`);
  expect(lines).toEqual(wanted);
});
