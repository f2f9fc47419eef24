// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { testNeeding } from '../support/features.ts';
import { gpuImage, runOnGpuHost } from '../support/gpu-host.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

const e2e = testNeeding('root', 'bundler', 'userns', 'fuse', 'mksquashfs', 'unsquashfs', 'busybox');
const libraries = '/usr/lib/x86_64-linux-gnu';
const devices = 'GPU 0: Stub GPU (UUID: GPU-00000000-0000-4000-8000-000000000000)\n';

/** A bundle of the Debian-like image after a change to its root. */
function makeHostile(change: (root: string) => void): string {
  const dir = makeDir(ordinaryUser(), 'hostile');
  const root = path.join(dir, 'root');
  execFileSync('unsquashfs', ['-no-progress', '-quiet', '-d', root, gpuImage('debian')], { stdio: 'pipe' });
  change(root);
  const image = path.join(dir, 'image.sqsh');
  execFileSync(
    'mksquashfs',
    [root, image, '-quiet', '-no-progress', '-all-root', '-comp', 'zstd', '-Xcompression-level', '1'],
    {
      stdio: 'pipe',
    },
  );
  rmSync(root, { recursive: true });
  return makeBundle(image as `/${string}`);
}

/** Replaces what is there by a symlink. */
function plant(root: string, place: string, target: string): void {
  rmSync(root + place, { recursive: true, force: true });
  mkdirSync(path.dirname(root + place), { recursive: true });
  symlinkSync(target, root + place);
}

/** Everything in a directory of the host, with what it holds. */
function describeDir(dir: string): string[] {
  return readdirSync(dir).map((name) => {
    const facts = lstatSync(path.join(dir, name));
    return `${name} ${facts.mode} ${facts.isFile() ? readFileSync(path.join(dir, name), 'latin1') : ''}`;
  });
}

/** A directory of the host that everybody may write to, and a file in it. */
function makeBait(): { dir: string; file: string } {
  const dir = makeDir(ordinaryUser(), 'bait');
  chmodSync(dir, 0o777);
  const file = path.join(dir, 'file');
  writeFileSync(file, 'of the host');
  chmodSync(file, 0o666);
  return { dir, file };
}

describe('a symlink of the image where a file of the driver goes', () => {
  const places = [
    `${libraries}/libcuda.so.999.1`,
    `${libraries}/libcuda.so.1`,
    `${libraries}/libcuda.so`,
    `${libraries}/libnvidia-ml.so.999.1`,
    `${libraries}/libnvidia-ml.so.1`,
    '/usr/bin/nvidia-smi',
    '/etc/ld.so.cache',
  ];
  const check = async (planted: readonly string[], target: string, bait: { dir: string }) => {
    const before = describeDir(bait.dir);
    const file = makeHostile((root) => {
      for (const place of planted) plant(root, place, target);
    });
    for (const args of [[], ['--rw']]) {
      const script = 'nvidia-smi -L && gpu-check list > /dev/null && ldconfig -p | grep -c libcuda.so.1';
      const ran = await runOnGpuHost([file, '--gpus', '0', ...args, 'sh', '-c', script]);
      expect([ran.status, ran.stdout, ran.stderr], target).toEqual([0, `${devices}1\n`, '']);
    }
    expect(describeDir(bait.dir), target).toEqual(before);
  };
  for (const place of places) {
    e2e(`is replaced: ${place} to a file of the host, and to one of /proc`, async () => {
      const bait = makeBait();
      await check([place], bait.file, bait);
      await check([place], '/proc/self/mem', bait);
    });
  }
  e2e('is replaced wherever it leads, in all places at once', async () => {
    const bait = makeBait();
    const targets = [
      '../'.repeat(12) + bait.file,
      `${bait.dir}/new`,
      '/proc/1/root/etc/passwd',
      '/dev/shm/x',
      'libcuda.so.1',
    ];
    for (const target of targets) await check(places, target, bait);
  });
});

describe('a symlink of the image where a directory of the driver goes', () => {
  e2e('is followed inside the image: to another directory of it', async () => {
    const file = makeHostile((root) => {
      renameSync(`${root}${libraries}`, `${root}/opt-lib`);
      symlinkSync('../../../../../opt-lib', `${root}${libraries}`);
    });
    const ran = await runOnGpuHost([file, '--gpus', '0', 'sh', '-c', 'nvidia-smi -L; ls /opt-lib | grep -c libcuda']);
    expect(ran).toMatchObject({ status: 0, stdout: `${devices}3\n`, stderr: '' });
  });

  const outside: Record<string, (dir: string) => string> = {
    'an absolute path of the host': (dir) => dir,
    'a path that climbs': (dir) => `${'../'.repeat(12)}${dir}`,
    'the host by /proc': (dir) => `/proc/1/root${dir}`,
    '/proc': () => '/proc/self',
    '/dev/shm': (dir) => `/dev/shm/${path.basename(dir)}`,
    '/sys': () => '/sys/kernel',
  };
  for (const place of [libraries, '/usr/lib', '/usr/bin', '/etc']) {
    for (const [where, target] of Object.entries(outside)) {
      e2e(`never leads out of it: ${place} to ${where}`, async () => {
        const bait = makeBait();
        const memory = `/dev/shm/${path.basename(bait.dir)}`;
        mkdirSync(memory);
        chmodSync(memory, 0o777);
        const before = [describeDir(bait.dir), describeDir(memory)];
        const file = makeHostile((root) => {
          // A shell that needs none of these directories.
          writeFileSync(`${root}/sh`, readFileSync('/bin/busybox'));
          chmodSync(`${root}/sh`, 0o755);
          plant(root, place, target(bait.dir));
        });
        const conf = path.join(makeDir(ordinaryUser()), 'conf');
        writeFileSync(conf, 'environ() { echo NVIDIA_VISIBLE_DEVICES=0; }\n');
        for (const args of [[], ['--rw'], ['--keep', '--target', `${bait.dir}-kept`], ['--conf', conf]]) {
          const ran = await runOnGpuHost([
            file,
            '--gpus',
            '0',
            '--entrypoint',
            '',
            ...args,
            '/sh',
            '-c',
            'echo started',
          ]);
          // Where it cannot be started with a GPU, that is said and nothing else happens.
          expect([0, 125], ran.stderr).toContain(ran.status);
          expect(ran.stdout).toBe(ran.status === 0 ? 'started\n' : '');
          if (ran.status === 125) expect(ran.stderr).toMatch(/^bundler: /);
          // In a kept root the mountpoints of the host's network configuration are made wherever /etc leads.
          const isConfiguration = (entry: string) => /^(hosts|hostname|machine-id|resolv\.conf) /.test(entry);
          const left = describeDir(memory).filter((entry) => !args.includes('--keep') || !isConfiguration(entry));
          expect([describeDir(bait.dir), left], args.join(' ')).toEqual(before);
        }
        rmSync(`${bait.dir}-kept`, { recursive: true, force: true });
        rmSync(memory, { recursive: true });
      });
    }
  }
});
