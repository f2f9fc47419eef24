// SPDX-License-Identifier: Apache-2.0
import { sha256 } from '../../src/format/hash-tree.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { encodeTable, layOutSections } from '../../src/format/sections.ts';

/** A 64-bit ELF file of exactly sizeBytes (at least 128): a header, filler, and one section header at its end. */
export function makeElf(sizeBytes: number): Buffer {
  const elf = Buffer.alloc(sizeBytes, 0x90);
  elf.fill(0, 0, 64);
  elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  elf.writeUInt16LE(2, 16);
  elf.writeUInt16LE(62, 18);
  elf.writeBigUInt64LE(BigInt(sizeBytes - 64), 40);
  elf.writeUInt16LE(64, 52);
  elf.writeUInt16LE(64, 58);
  elf.writeUInt16LE(1, 60);
  elf.fill(0, sizeBytes - 64);
  return elf;
}

/** A bundle in memory, written without the builder's own writer; `payload` gets a plain SHA-256. */
export function assembleBundle(elf: Buffer, contents: readonly { name: string; data: Uint8Array }[]): Buffer {
  const all = [{ name: 'launcher', data: elf as Uint8Array }, ...contents];
  const table = layOutSections(
    all.map(({ name, data }) => ({ name, sizeBytes: data.length, rawSizeBytes: data.length, digest: sha256(data) })),
  );
  const bytes = Buffer.alloc(table.fileSizeBytes);
  for (const [i, { data }] of all.entries()) bytes.set(data, table.sections[i]?.offset ?? 0);
  encodeTable(table).copy(bytes, table.tableOffset);
  return bytes;
}

/** A manifest with something in every field. */
export const sampleManifest: Manifest = {
  manifestVersion: 1,
  name: 'größe',
  description: 'a sample\nof two lines',
  provenance: { bundler: '0.1.0', source: 'sample.sqsh', createdSeconds: 1_700_000_000 },
  image: {
    compressor: 'zstd',
    blockSizeBytes: 131072,
    inodes: 7,
    usedBytes: 4000,
    sizeBytes: 4096,
    digest: 'ab'.repeat(32),
    unpackedBytes: 0,
  },
  rootfs: {
    passwd: 'root:x:0:0::/root:/bin/sh\n',
    group: '',
    environment: 'A=b\n',
    fstab: '',
    osRelease: '',
    loginDefs: '',
    useradd: '',
    rc: true,
    rcProvenance: '',
    shell: true,
    debian: false,
    homes: ['ann', 'böb'],
    skeleton: [
      { path: '.config', mode: 0o700, content: null },
      { path: '.config/x', mode: 0o600, content: 'x\n' },
    ],
    loader: {
      libc: 'glibc',
      glibcVersion: '2.36',
      cache: 'AwA=',
      muslPath: '',
      directories: ['/usr/lib64', '/lib64'],
      cuda: '/opt/größe/libcudart.so.12',
      compat: ['libcuda.so.1'],
    },
  },
  config: { entrypoint: ['a'], cmd: [], env: ['X=y'], workdir: '/', user: '' },
  configuration: {
    settings: { ENROOT_MOUNT_HOME: 'yes' },
    files: [
      { from: 'system', path: 'hooks.d/x.sh', mode: 0o755, builtin: '', encoding: 'utf8', content: '#!/bin/sh\n' },
    ],
  },
  options: { target: '', env: ['K=v=w'], rc: null, entrypoint: ['/bin/echo', 'x y'] },
};
