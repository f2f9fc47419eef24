// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { Failure } from '../failure.ts';
import type { Image } from './image.ts';
import type { SourceOptions } from './options.ts';

const schemes = ['oci:', 'oci-archive:', 'docker-archive:', 'tar:', 'dockerd://', 'podman://'] as const;

/** True for what `openLocalImage` opens: every source but registries and directories. */
export function isLocalSource(text: string): boolean {
  return text === '-' || schemes.some((scheme) => text.startsWith(scheme));
}

/**
 * Opens an image that is on this machine or with one of its daemons. Throws Failure.
 * @param text `oci:DIR[:REF]`, `oci-archive:FILE[:REF]`, `docker-archive:FILE[:REF]`, `tar:FILE`, `dockerd://IMAGE`, `podman://IMAGE` or `-`
 */
export async function openLocalImage(text: string, options: SourceOptions, stdin: Readable): Promise<Image> {
  if (text === '-') return (await import('./tar.ts')).openTar('', '-', options, stdin);
  const scheme = schemes.find((start) => text.startsWith(start));
  if (scheme === undefined) throw new Failure(`cannot open ${text}: it names no source`);
  const rest = text.slice(scheme.length);
  if (rest === '') throw new Failure(`cannot open ${text}: there is nothing after ${scheme}`);
  if (scheme === 'tar:') return (await import('./tar.ts')).openTar(rest, text, options);
  if (scheme === 'dockerd://') return (await import('./daemon.ts')).openDaemonImage('docker', rest, options);
  if (scheme === 'podman://') return (await import('./daemon.ts')).openDaemonImage('podman', rest, options);
  const { path, reference } = splitReference(rest, existsSync);
  const source = `${scheme}${path}`;
  const { openArchiveTree, openDirectoryTree } = await import('./file-tree.ts');
  if (scheme === 'oci:') {
    const { openLayout } = await import('./oci-layout.ts');
    return openLayout(await openDirectoryTree(path, path), source, reference, options);
  }
  const { openArchiveFile } = await import('./tar.ts');
  const tree = await openArchiveTree(await openArchiveFile(path, options), path);
  if (scheme === 'oci-archive:') return (await import('./oci-layout.ts')).openLayout(tree, source, reference, options);
  return (await import('./docker-archive.ts')).openDockerArchive(tree, source, reference, options);
}

/**
 * Splits `PATH[:REF]`: the longest part before a colon (or the whole) that exists is the path; when none does, what is before the first colon.
 */
export function splitReference(text: string, exists: (path: string) => boolean): { path: string; reference: string } {
  if (exists(text)) return { path: text, reference: '' };
  for (let at = text.lastIndexOf(':'); at > 0; at = text.lastIndexOf(':', at - 1)) {
    if (exists(text.slice(0, at))) return { path: text.slice(0, at), reference: text.slice(at + 1) };
  }
  const [path = '', ...rest] = text.split(':');
  return { path, reference: rest.join(':') };
}
