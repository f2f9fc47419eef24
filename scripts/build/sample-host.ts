// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type LdCacheEntry, writeLdCache } from '../../src/format/ld-cache.ts';
import { makeElf } from './make-elf.ts';

const version = '580.95.05';
const libraries = '/usr/lib/x86_64-linux-gnu';
const stems = [
  'cuda',
  'nvidia-ml',
  'nvidia-ptxjitcompiler',
  'nvidia-nvvm',
  'nvidia-opencl',
  'nvidia-eglcore',
  'GLX_nvidia',
];

/** A loader's cache as an ordinary system has it: some hundred names, and those of a driver in one of the directories. */
export function sampleCache(dir: string): LdCacheEntry[] {
  const names = Array.from({ length: 300 }, (_, i) => `libsample-${i}.so.${i % 7}`);
  return [...names, ...stems.map((stem) => `lib${stem}.so.1`)]
    .sort()
    .reverse()
    .map((name) => ({ name, path: `${dir}/${name}`, flags: 0x0303, osVersion: 0, hwcap: 0n, hwcapName: '' }));
}

/** Makes a tree that stands for a host with one NVIDIA GPU, so that a sample launch can use it. Device nodes are plain files there. */
export function makeSampleHost(root: string): void {
  rmSync(root, { recursive: true, force: true });
  const files: Record<string, string | Buffer> = {
    '/sys/module/nvidia/version': `${version}\n`,
    '/proc/driver/nvidia/version': `NVRM version: NVIDIA UNIX x86_64 Kernel Module  ${version}  sample\n`,
    '/proc/driver/nvidia/params': 'ModifyDeviceFiles: 1\n',
    '/proc/driver/nvidia/registry': '',
    '/proc/driver/nvidia/gpus/0000:01:00.0/information':
      'Model: \t\t Sample\nGPU UUID: \t GPU-00000000-0000-4000-8000-000000000000\nDevice Minor: \t 0\nGPU Excluded:\t No\n',
    '/etc/ld.so.cache': writeLdCache(sampleCache(libraries), ''),
    '/usr/bin/nvidia-smi': '',
    '/run/nvidia-persistenced/socket': '',
    '/etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n',
  };
  for (const name of ['null', 'nvidia0', 'nvidiactl', 'nvidia-uvm', 'nvidia-uvm-tools']) files[`/dev/${name}`] = '';
  for (const stem of stems) {
    const soname = `lib${stem}.so.1`;
    files[`${libraries}/lib${stem}.so.${version}`] = makeElf({ is64: true, soname, needs: [['GLIBC_2.17']] });
  }
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(path.dirname(root + name), { recursive: true });
    writeFileSync(root + name, content);
  }
  for (const stem of stems) symlinkSync(`lib${stem}.so.${version}`, `${root}${libraries}/lib${stem}.so.1`);
}
