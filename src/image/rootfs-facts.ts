// SPDX-License-Identifier: Apache-2.0

import { Failure } from '../failure.ts';
import { fromText, toText } from '../format/bytes.ts';
import type { RootfsFacts } from '../format/manifest.ts';
import type { Fact } from '../format/wire.ts';
import { runRole } from '../launcher/role.ts';

/** What the image's file system says about itself, and the small files of it that a launch depends on. */
export interface ImageReading {
  readonly compressor: string;
  readonly blockSizeBytes: number;
  readonly inodes: number;
  readonly usedBytes: number;
  /** Sum of the regular files' sizes. */
  readonly unpackedBytes: number;
  readonly rootfs: RootfsFacts;
}

const paths = {
  passwd: '/etc/passwd',
  group: '/etc/group',
  environment: '/etc/environment',
  fstab: '/etc/fstab',
  osRelease: '/etc/os-release',
  osReleaseFallback: '/usr/lib/os-release',
  loginDefs: '/etc/login.defs',
  useradd: '/etc/default/useradd',
  rc: '/etc/rc',
} as const;

/** Only whether they are there matters. */
const lookedAt = { shell: '/bin/sh', debian: '/etc/debian_version' } as const;

/** Has the launcher read an image inside a file (its role `read-image`). Throws Failure when the image cannot be read. */
export async function readImage(file: string, offset: number, sizeBytes: number): Promise<ImageReading> {
  let answer: readonly Fact[] | undefined;
  const request: Fact[] = [
    ['role', 'read-image'],
    ['file', fromText(file)],
    ['offset', String(offset)],
    ['size', String(sizeBytes)],
    ...Object.values(paths).map((path) => ['path', path] as const),
    ...Object.values(lookedAt).map((path) => ['look', path] as const),
  ];
  await runRole(request, { onFacts: (facts) => (answer = facts) });
  if (answer === undefined) throw new Failure('the launcher gave no answer about the image');
  return interpretReading(answer);
}

/** Turns the answer of the role `read-image` into what the manifest needs. */
export function interpretReading(answer: readonly Fact[]): ImageReading {
  const facts = new Map(answer);
  const [compressor = '', ...numbers] = (facts.get('image') ?? '').split(' ');
  const [blockSizeBytes = 0, inodes = 0, usedBytes = 0] = numbers.map(Number);
  const content = (path: string): string => toText(facts.get(`content.${path}`) ?? '');
  // Where the path leads, symbolic links followed inside the image.
  const type = (path: string): string[] => (facts.get(`type.${path}`) ?? 'none').split(' ');
  const isFile = (path: string): boolean => type(path)[0] === 'file';
  const [, shellMode = '0'] = type(lookedAt.shell);
  return {
    compressor,
    blockSizeBytes,
    inodes,
    usedBytes,
    unpackedBytes: Number(facts.get('unpacked') ?? 0),
    rootfs: {
      passwd: content(paths.passwd),
      group: content(paths.group),
      environment: content(paths.environment),
      fstab: content(paths.fstab),
      osRelease: content(paths.osRelease) || content(paths.osReleaseFallback),
      loginDefs: content(paths.loginDefs),
      useradd: content(paths.useradd),
      rc: isFile(paths.rc),
      rcProvenance: /^# enroot-provenance:.*$/m.exec(content(paths.rc))?.[0] ?? '',
      shell: isFile(lookedAt.shell) && (Number.parseInt(shellMode, 8) & 0o111) !== 0,
      debian: isFile(lookedAt.debian),
    },
  };
}
