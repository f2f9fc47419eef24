// SPDX-License-Identifier: Apache-2.0
import { toText } from '../format/bytes.ts';
import type { RootfsFacts, SkeletonEntry } from '../format/manifest.ts';
import type { Fact } from '../format/wire.ts';
import { loaderQuestion, readLoaderFacts } from './loader-facts.ts';

/** What the image's file system says about itself, and the small files of it that a launch depends on. */
export interface ImageReading {
  readonly compressor: string;
  readonly blockSizeBytes: number;
  readonly inodes: number;
  readonly usedBytes: number;
  /** Sum of the regular files' sizes. */
  readonly unpackedBytes: number;
  readonly rootfs: RootfsFacts;
  /** The image's OCI configuration as JSON, where import has put it; '' without. */
  readonly record: string;
}

/** Where an imported image keeps what it was made of: `{"reference", "manifestDigest", "config"}`. */
export const imageRecordPath = '/etc/bundler/image.json';

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
  record: imageRecordPath,
} as const;

/** Only whether they are there matters. */
const lookedAt = { shell: '/bin/sh', debian: '/etc/debian_version' } as const;

const homes = '/home';
const skeleton = '/etc/skel';

/** What a manifest needs to know of an image: see `interpretReading`. */
export const imageQuestion = {
  paths: [...Object.values(paths), ...loaderQuestion.paths],
  heads: loaderQuestion.heads,
  looks: [...Object.values(lookedAt), ...loaderQuestion.looks],
  names: [homes, ...loaderQuestion.names],
  trees: [skeleton],
  prefixes: loaderQuestion.prefixes,
} as const;

/** Turns what the launcher answers about an image (docs/plan.md, role copy) into what the manifest needs. */
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
    record: content(paths.record),
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
      homes: answer.filter(([key]) => key === `name.${homes}`).map(([, name]) => toText(name)),
      skeleton: readSkeleton(facts),
      loader: readLoaderFacts(answer),
    },
  };
}

/** Files and directories of /etc/skel, parents first; others (devices, links that lead nowhere) are no part of a home. */
function readSkeleton(facts: ReadonlyMap<string, string>): SkeletonEntry[] {
  const prefix = `type.${skeleton}/`;
  return [...facts].flatMap(([key, value]): SkeletonEntry[] => {
    if (!key.startsWith(prefix)) return [];
    const path = key.slice(prefix.length);
    const [type, mode = '0'] = value.split(' ');
    const content = facts.get(`content.${skeleton}/${path}`);
    const entry = { path: toText(path), mode: Number.parseInt(mode, 8) };
    if (type === 'dir') return [{ ...entry, content: null }];
    return type === 'file' && content !== undefined ? [{ ...entry, content: toText(content) }] : [];
  });
}
