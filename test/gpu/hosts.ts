// SPDX-License-Identifier: Apache-2.0

import { makeElf } from '../../scripts/build/make-elf.ts';
import { writeLdCache } from '../../src/format/ld-cache.ts';
import type { HostFiles } from './host-tree.ts';

/** Pieces of hosts with GPUs, as their drivers and packages leave them. Device nodes are plain files. */

const node = { node: true } as const;
const version = '580.95.05';

/** Names without `lib` and `.so.VERSION`, and the digits of the soname; '' where the soname is the whole name. */
const libraryNames: readonly (readonly [string, string])[] = [
  ['cuda', '1'],
  ['nvidia-ml', '1'],
  ['nvidia-cfg', '1'],
  ['nvidia-ptxjitcompiler', '1'],
  ['nvidia-nvvm', '4'],
  ['nvidia-opencl', '1'],
  ['nvidia-gpucomp', ''],
  ['cudadebugger', '1'],
  ['nvidia-encode', '1'],
  ['nvcuvid', '1'],
  ['nvidia-opticalflow', '1'],
  ['nvidia-eglcore', ''],
  ['nvidia-glcore', ''],
  ['nvidia-tls', ''],
  ['GLX_nvidia', '0'],
  ['EGL_nvidia', '0'],
  ['nvidia-ngx', '1'],
  ['nvidia-newthing', '1'],
];

/** The libraries of a driver in a directory, with the links that ldconfig and the packages make. is64 false: those for i386. */
export function driverLibraries(dir: string, of = version, is64 = true): HostFiles {
  const files: Record<string, HostFiles[string]> = {};
  for (const [stem, major] of libraryNames) {
    const name = `lib${stem}.so.${of}`;
    const soname = major === '' ? name : `lib${stem}.so.${major}`;
    files[`${dir}/${name}`] = makeElf({ is64, soname, needs: [['GLIBC_2.17', 'GLIBC_2.2.5']] });
    if (major !== '') files[`${dir}/${soname}`] = { link: name };
  }
  files[`${dir}/libcuda.so`] = { link: 'libcuda.so.1' };
  files[`${dir}/libnvidia-ml.so`] = { link: 'libnvidia-ml.so.1' };
  return files;
}

/** A loader's cache that names them there, and in a directory of libraries for i386. */
export function cacheOf(dir: string, of = version, dir32?: string): HostFiles {
  const names = libraryNames.map(([stem, major]) => `lib${stem}.so.${major === '' ? of : major}`);
  const entries = (place: string, flags: number) =>
    names.map((name) => ({ name, path: `${place}/${name}`, flags, osVersion: 0, hwcap: 0n, hwcapName: '' }));
  const all = [...entries(dir, 0x0303), ...(dir32 === undefined ? [] : entries(dir32, 0x0003))];
  return { '/etc/ld.so.cache': writeLdCache(all, 'ldconfig (test)') };
}

export interface Gpu {
  readonly busId: string;
  readonly minor: number;
  readonly uuid: string;
  readonly model?: string;
  readonly drm?: number;
}

export const h200: Gpu = {
  busId: '0000:00:06.0',
  minor: 0,
  uuid: 'GPU-11111111-2222-3333-4444-555555555555',
  model: 'NVIDIA H200',
};
export const twoGpus: readonly Gpu[] = [
  {
    busId: '0000:17:00.0',
    minor: 1,
    uuid: 'GPU-aaaaaaaa-0000-0000-0000-000000000001',
    model: 'NVIDIA A100-SXM4-80GB',
    drm: 0,
  },
  {
    busId: '0000:65:00.0',
    minor: 0,
    uuid: 'GPU-bbbbbbbb-0000-0000-0000-000000000002',
    model: 'NVIDIA A100-SXM4-80GB',
    drm: 1,
  },
];

const params = `ResmanDebugLevel: 4294967295
ModifyDeviceFiles: 1
DeviceFileUID: 0
DeviceFileGID: 0
DeviceFileMode: 438
`;

/** The kernel module's side: /proc, /dev and /sys. */
export function driverModule(gpus: readonly Gpu[], of = version): HostFiles {
  const files: Record<string, HostFiles[string]> = {
    '/sys/module/nvidia/version': `${of}\n`,
    '/proc/driver/nvidia/version': `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  ${of}  Release Build\nGCC version: 12\n`,
    '/proc/driver/nvidia/params': params,
    '/proc/driver/nvidia/registry': 'Binary: ""\n',
    '/dev/nvidiactl': node,
    '/dev/nvidia-uvm': node,
    '/dev/nvidia-uvm-tools': node,
    '/dev/nvidia-modeset': node,
    '/dev/null': node,
    '/dev/tty1': node,
    '/dev/fd': { link: '/proc/self/fd' },
    '/dev/pts': { dir: true },
    '/dev/shm': { dir: true },
  };
  for (const { busId, minor, uuid, model, drm } of gpus) {
    files[`/dev/nvidia${minor}`] = node;
    files[`/proc/driver/nvidia/gpus/${busId}/information`] =
      `Model: \t\t ${model ?? 'NVIDIA'}\nIRQ:   \t\t 35\nGPU UUID: \t ${uuid}\nVideo BIOS: \t 96.00\nBus Type: \t PCIe\n` +
      `Bus Location: \t ${busId}\nDevice Minor: \t ${minor}\nGPU Firmware: \t ${of}\nGPU Excluded:\t No\n`;
    if (drm === undefined) continue;
    for (const name of [`card${drm}`, `renderD${128 + drm}`]) {
      files[`/sys/bus/pci/devices/${busId}/drm/${name}/dev`] = '226:0\n';
      files[`/dev/dri/${name}`] = node;
      const kind = name.startsWith('card') ? 'card' : 'render';
      files[`/dev/dri/by-path/pci-${busId}-${kind}`] = { link: `../${name}` };
    }
  }
  return files;
}

/** The parts of a GPU with MIG: GPU instances with one compute instance each. */
export function migParts(gpu: number, instances: readonly number[]): HostFiles {
  const files: Record<string, HostFiles[string]> = {};
  const root = '/proc/driver/nvidia/capabilities';
  const access = (path: string, minor: number) => {
    files[`${root}/${path}`] = `DeviceFileMinor: ${minor}\nDeviceFileMode: 292\nDeviceFileModify: 1\n`;
    files[`/dev/nvidia-caps/nvidia-cap${minor}`] = node;
  };
  access('mig/config', 1);
  access('mig/monitor', 2);
  for (const [i, gi] of instances.entries()) {
    access(`gpu${gpu}/mig/gi${gi}/access`, 12 + 9 * i);
    access(`gpu${gpu}/mig/gi${gi}/ci0/access`, 13 + 9 * i);
  }
  return files;
}

export const tools: HostFiles = {
  '/usr/bin/nvidia-debugdump': '',
  '/usr/bin/nvidia-persistenced': '',
  '/usr/bin/nvidia-cuda-mps-control': '',
  '/usr/bin/nvidia-cuda-mps-server': '',
  '/run/nvidia-persistenced/socket': '',
};

const multiarch = '/usr/lib/x86_64-linux-gnu';
/** The driver's packages on an Ubuntu server. */
export const packages: HostFiles = {
  ...driverLibraries(multiarch),
  ...cacheOf(multiarch),
  ...tools,
  '/usr/bin/nvidia-smi': '',
};
/** The server with one GPU. */
export const debian: HostFiles = { ...driverModule([h200]), ...packages };
