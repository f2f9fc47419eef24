// SPDX-License-Identifier: Apache-2.0
import { type CdiFacts, readCdi } from '../../runtime/gpu/cdi-facts.ts';
import { planCdi } from '../../runtime/gpu/cdi-plan.ts';
import { type HostFiles, makeHost } from './host-tree.ts';

/** In the shape that nvidia-ctk cdi generate writes, for a host with two GPUs. */
export const nvidiaYaml = `---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
      major: 195
      fileMode: 438
      permissions: rw
      uid: 0
      gid: 0
    - path: /dev/dri/renderD128
    hooks:
    - hookName: createContainer
      path: /usr/bin/nvidia-cdi-hook
      args:
      - nvidia-cdi-hook
      - create-symlinks
      - --link
      - ../renderD128::/dev/dri/by-path/pci-0000:65:00.0-render
- name: "1"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia1
    - path: /dev/dri/renderD129
- name: all
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
    - path: /dev/nvidia1
    - path: /dev/dri/renderD128
    - path: /dev/dri/renderD129
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args:
    - nvidia-cdi-hook
    - create-symlinks
    - --link
    - libcuda.so.1::/usr/lib64/libcuda.so
    env:
    - NVIDIA_CTK_DEBUG=false
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, enable-cuda-compat, --host-driver-version=535.161.07]
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, update-ldcache, --folder, /usr/lib64, --folder, /opt/nvidia/lib]
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, disable-device-node-modification]
  mounts:
  - hostPath: /usr/lib64/libcuda.so.535.161.07
    containerPath: /usr/lib64/libcuda.so.535.161.07
    options: [ro, nosuid, nodev, rbind, rprivate]
  - hostPath: /usr/bin/nvidia-smi
    containerPath: /usr/bin/nvidia-smi
    options: [ro, nosuid, nodev, bind]
  - hostPath: /run/nvidia-persistenced/socket
    containerPath: /run/nvidia-persistenced/socket
    options: [ro, nosuid, nodev, bind, noexec]
`;

/** What that specification names, and what the driver has in /proc. */
export const nvidiaFiles: HostFiles = {
  '/etc/cdi/nvidia.yaml': nvidiaYaml,
  '/dev/nvidia0': { node: true },
  '/dev/nvidia1': { node: true },
  '/dev/nvidiactl': { node: true },
  '/dev/dri/renderD128': { node: true },
  '/dev/dri/renderD129': { node: true },
  '/usr/lib64/libcuda.so.535.161.07': makeLibrary('libcuda.so.1'),
  '/usr/bin/nvidia-smi': 'a program',
  '/run/nvidia-persistenced/socket': { node: true },
  '/proc/driver/nvidia/params': 'EnableMSI: 1\nModifyDeviceFiles: 1\nDeviceFileMode: 438\n',
  '/proc/driver/nvidia/version': 'NVRM version: a driver\n',
  '/proc/driver/nvidia/gpus/0000:65:00.0/information': 'Model: a GPU\n',
};

/** A host with some files more, or others, or without those whose value is null. */
export function makeNvidiaHost(changes: Readonly<Record<string, HostFiles[string] | null>> = {}) {
  const entries = Object.entries({ ...nvidiaFiles, ...changes });
  return makeHost(Object.fromEntries(entries.flatMap(([path, file]) => (file === null ? [] : [[path, file]]))));
}

/** A host with one specification of the newest version, as JSON, for the device vendor.com/class=a. */
export function readVendor(edits: object, more: object = {}, files: HostFiles = {}): CdiFacts {
  const spec = {
    cdiVersion: '1.1.0',
    kind: 'vendor.com/class',
    devices: [{ name: 'a', containerEdits: edits }],
    ...more,
  };
  return readCdi(makeHost({ '/etc/cdi/vendor.json': JSON.stringify(spec), ...files }));
}

/** What its device a adds to a container. */
export const planVendor = (edits: object, more: object = {}, files: HostFiles = {}) =>
  planCdi(['vendor.com/class=a'], readVendor(edits, more, files), []);

/** The least 64-bit ELF file that a loader would find a soname in (elf(5)): a header, two segments, three dynamic entries, the strings. */
export function makeLibrary(soname: string): Uint8Array {
  const headerBytes = 64;
  const dynamicAt = headerBytes + 2 * 56;
  const stringsAt = dynamicAt + 4 * 16;
  const strings = Buffer.from(`\0${soname}\0`, 'latin1');
  const file = Buffer.alloc(stringsAt + strings.length);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeUInt16LE(3, 16);
  file.writeUInt16LE(62, 18);
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(BigInt(headerBytes), 32);
  file.writeUInt16LE(headerBytes, 52);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(2, 56);
  const segments: [number, number, number][] = [
    [1, 0, file.length],
    [2, dynamicAt, 4 * 16],
  ];
  for (const [index, [type, offset, sizeBytes]] of segments.entries()) {
    const at = headerBytes + index * 56;
    file.writeUInt32LE(type, at);
    for (const field of [8, 16, 24]) file.writeBigUInt64LE(BigInt(offset), at + field);
    for (const field of [32, 40]) file.writeBigUInt64LE(BigInt(sizeBytes), at + field);
  }
  const entries: [number, number][] = [
    [14, 1],
    [5, stringsAt],
    [10, strings.length],
  ];
  for (const [index, [tag, value]] of entries.entries()) {
    file.writeBigUInt64LE(BigInt(tag), dynamicAt + index * 16);
    file.writeBigUInt64LE(BigInt(value), dynamicAt + index * 16 + 8);
  }
  file.set(strings, stringsAt);
  return file;
}
