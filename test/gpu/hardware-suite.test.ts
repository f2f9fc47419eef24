// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { bundler } from '../support/bundle.ts';
import { e2e, testNeeding } from '../support/features.ts';
import { repository } from '../support/programs.ts';
import { runBare } from '../support/run.ts';
import { compileGpuPrograms, type GpuPrograms } from './gpu-programs.ts';

const hardware = path.join(repository, 'test/gpu/hardware');
const images = ['debian', 'rhel', 'distroless'] as const;
let programs: GpuPrograms;

beforeAll(() => {
  programs = compileGpuPrograms();
});

/** What `prepare` makes, made once. */
function prepare(): string {
  const dir = path.join(programs.dir, 'prepared');
  if (!existsSync(path.join(dir, 'distroless.run'))) {
    execFileSync(path.join(hardware, 'prepare'), ['--bundler', bundler, dir], { stdio: 'pipe' });
  }
  return dir;
}

describe('what the hardware suite takes along', () => {
  e2e('is three images that differ in where libraries are and how they are found, each with gpu-check', () => {
    const facts = images.map((name) => {
      const image = path.join(prepare(), 'images', `${name}.sqsh`);
      const listed = execFileSync('unsquashfs', ['-l', '-d', '', image], { encoding: 'utf8' }).split('\n');
      const looked = [
        '/usr/bin/gpu-check',
        '/usr/lib/x86_64-linux-gnu/libc.so.6',
        '/usr/lib64/libc.so.6',
        '/etc/debian_version',
        '/etc/ld.so.cache',
        '/usr/bin/sh',
      ];
      return [name, ...looked.map((file) => listed.includes(file))];
    });
    expect(facts).toEqual([
      ['debian', true, true, false, true, true, true],
      ['rhel', true, false, true, false, true, true],
      ['distroless', true, true, false, false, false, false],
    ]);
  });

  e2e('is bundles in which gpu-check starts, and says that there is no driver', async () => {
    for (const name of images) {
      const ran = await runBare([path.join(prepare(), `${name}.run`), 'gpu-check', 'list']);
      expect(ran, name).toMatchObject({ status: 77, stdout: '' });
      expect(ran.stderr, name).toMatch(/^gpu-check: libcuda\.so\.1 is not here: /);
    }
  });
});

describe('the hardware suite', () => {
  test.skipIf(existsSync('/dev/nvidiactl') || existsSync('/dev/dxg'))(
    'says that there is nothing to check without a GPU, and ends with 77',
    () => {
      const ran = spawnSync(path.join(hardware, 'run'), [path.join(programs.dir, 'nothing')], { encoding: 'utf8' });
      expect(ran).toMatchObject({ status: 77, stdout: '' });
      expect(ran.stderr).toContain('0 checks were made');
    },
  );
});

describe('a pretended host', () => {
  const pretend = path.join(repository, 'test/gpu/stub/pretend-host');
  const onHost = (count: number, script: string) =>
    spawnSync(pretend, [programs.driver, String(count), 'sh', '-c', script], { encoding: 'utf8' });
  const asRoot = testNeeding('root');

  asRoot('has nodes, /proc/driver/nvidia, libraries that the loader finds, and nvidia-smi', () => {
    const ran = onHost(2, 'nvidia-smi -L; ldconfig -p | grep -c "libcuda.so.1 "; ls /proc/driver/nvidia/gpus; exit 5');
    expect(ran).toMatchObject({ status: 5, stderr: '' });
    expect(ran.stdout).toBe(
      'GPU 0: Stub GPU (UUID: GPU-00000000-0000-4000-8000-000000000000)\n' +
        'GPU 1: Stub GPU (UUID: GPU-00000000-0000-4000-8000-000000000001)\n' +
        '1\n0000:01:00.0\n0000:02:00.0\n',
    );
  });

  asRoot('can be one with a driver and no GPU', () => {
    expect(onHost(0, 'nvidia-smi -L; echo $?; ls /dev/nvidiactl').stdout).toBe(
      'No devices found.\n6\n/dev/nvidiactl\n',
    );
  });

  asRoot('changes nothing of the real one', () => {
    onHost(1, 'echo > /dev/null');
    for (const name of ['/dev/nvidia0', '/proc/driver/nvidia']) {
      // A real GPU would be there before and after.
      expect(existsSync(name) && !existsSync('/sys/module/nvidia'), name).toBe(false);
    }
  });
});
