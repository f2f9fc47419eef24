// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { makeNpLayout, makeSmallLayout } from '../layers.ts';
import type { Absent, Subject } from '../measure.ts';
import { giveToUser, isRoot } from '../setting.ts';
import { findCommand, type Peer, withCommands } from './peer.ts';

const port = 5057;
const host = `127.0.0.1:${port}`;
/** What both sides write with: enroot's options are mksquashfs'. */
const zstd = '-comp zstd -Xcompression-level 3';

/**
 * Importing an image from a registry on this machine, with nothing in the cache unless it says "warm": the np image (five layers of gzip) and one of 1 MB. Caches,
 * outputs and temporary files of all are on one file system, in memory where that is possible.
 */
export const importPeer: Peer = (setting, repository) =>
  withCommands('bundler import', ['docker-registry', 'skopeo'], () => {
    const store = path.join(setting.work, 'import');
    mkdirSync(store);
    if (isRoot) execFileSync('mount', ['-t', 'tmpfs', 'bench', store]);
    const end = startRegistry(setting.work);
    const tearDown = (): void => {
      end();
      if (isRoot) execFileSync('umount', ['-l', store]);
    };
    try {
      push(makeNpLayout(repository, setting.root), 'np:1');
      push(makeSmallLayout(repository), 'small:1');
      giveToUser(store);
      const subjects = [
        ...bundlerSubjects(store, setting.bundler),
        ...skopeoSubjects(store),
        ...podmanSubjects(store),
        ...enrootSubjects(store),
      ];
      const [first, ...others] = subjects;
      const withDisk = (subject: Subject | Absent) =>
        'argv' in subject && isRoot ? { ...subject, diskAt: store } : subject;
      return [{ ...withDisk(first as Subject), tearDown }, ...others.map(withDisk)];
    } catch (error) {
      tearDown();
      throw error;
    }
  });

function startRegistry(work: string): () => void {
  const config = path.join(work, 'registry.json');
  const rootdirectory = path.join(work, 'registry');
  writeFileSync(
    config,
    JSON.stringify({
      version: 0.1,
      log: { level: 'error' },
      storage: { filesystem: { rootdirectory } },
      http: { addr: host },
    }),
  );
  const registry = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
  return () => void registry.kill();
}

/** Docker's manifest format, which every peer reads. skopeo's own tries again are the wait until the registry listens. */
function push(layout: string, name: string): void {
  execFileSync('skopeo', [
    'copy',
    '-q',
    '--format',
    'v2s2',
    '--dest-tls-verify=false',
    '--retry-times',
    '8',
    `oci:${layout}:latest`,
    `docker://${host}/${name}`,
  ]);
}

function bundlerSubjects(store: string, bundler: string): Subject[] {
  const dir = path.join(store, 'bundler');
  const subject = (name: string, image: string, options: { lz4?: boolean; warm?: boolean } = {}): Subject => {
    const [cache, output] = [path.join(dir, `cache-${name.length}`), path.join(dir, 'out.sqsh')];
    return {
      name,
      argv: [bundler, 'import', '-q', '-o', output, `docker://${host}/${image}`],
      env: { ENROOT_CACHE_PATH: cache, ...(options.lz4 ? { ENROOT_SQUASH_OPTIONS: '-comp lz4' } : {}) },
      before: () => clear(options.warm ? [output] : [cache, output], dir),
    };
  };
  return [
    subject('bundler import', 'np:1'),
    subject('bundler import, warm', 'np:1', { warm: true }),
    subject('bundler import, lz4', 'np:1', { lz4: true }),
    subject('bundler import, 1 MB image', 'small:1'),
  ];
}

function skopeoSubjects(store: string): (Subject | Absent)[] {
  const name = 'skopeo + umoci + mksquashfs';
  return withCommands(name, ['umoci', 'mksquashfs'], () => {
    const dir = path.join(store, 'skopeo');
    const script = `skopeo copy -q --src-tls-verify=false docker://${host}/np:1 oci:"$0"/oci:np && umoci unpack --rootless --image "$0"/oci:np "$0"/bundle &&
      mksquashfs "$0"/bundle/rootfs "$0"/out.sqsh -noappend -quiet -no-progress ${zstd}`;
    return [{ name, argv: ['sh', '-c', script, dir], before: () => clear([dir], dir) }];
  });
}

function podmanSubjects(store: string): (Subject | Absent)[] {
  const name = 'podman pull';
  return withCommands(name, ['podman'], () => {
    const dir = path.join(store, 'podman');
    const options = [
      '--root',
      `${dir}/root`,
      '--runroot',
      `${dir}/run`,
      '--tmpdir',
      `${dir}/tmp`,
      '--storage-driver',
      'vfs',
      '--cgroup-manager=cgroupfs',
      '--events-backend=none',
    ];
    return [
      {
        name,
        argv: ['podman', ...options, 'pull', '-q', '--tls-verify=false', `${host}/np:1`],
        before: () => clear([dir], dir),
        asRoot: true,
      },
    ];
  });
}

/** enroot, where somebody installed it. It makes layers and cache files of its own, so "warm" is another thing there. */
function enrootSubjects(store: string): (Subject | Absent)[] {
  const names = ['enroot import', 'enroot import, lz4', 'enroot import, 1 MB image'];
  if (!findCommand('enroot')) return names.map((name) => ({ name, absent: 'not installed: enroot' }));
  const dir = path.join(store, 'enroot');
  const env = {
    ...Object.fromEntries(
      ['DATA', 'CACHE', 'RUNTIME', 'TEMP'].map((what) => [`ENROOT_${what}_PATH`, path.join(dir, what)]),
    ),
    ENROOT_ALLOW_HTTP: 'y',
  };
  const subject = (name: string, image: string, more: Record<string, string> = {}): Subject => ({
    name,
    argv: ['enroot', 'import', '-o', path.join(dir, 'out.sqsh'), `docker://${host}#${image}`],
    env: { ...env, ...more },
    before: () => {
      clear([dir], dir);
      mkdirSync(path.join(dir, 'TEMP'));
      giveToUser(path.join(dir, 'TEMP'));
    },
  });
  return [
    subject('enroot import', 'np:1'),
    subject('enroot import, lz4', 'np:1', { ENROOT_SQUASH_OPTIONS: '-comp lz4' }),
    subject('enroot import, 1 MB image', 'small:1'),
  ];
}

function clear(paths: readonly string[], dir: string): void {
  for (const each of paths) rmSync(each, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  giveToUser(dir);
}
