// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { Failure } from '../failure.ts';
import type { ImageUri } from '../reference/image-uri.ts';
import type { Image } from './image.ts';
import type { SourceOptions } from './options.ts';

/** What is on this machine or with one of its daemons: everything but registries. */
export type LocalImageUri = Exclude<ImageUri, { kind: 'docker' }>;

/** Opens an image that is on this machine or with one of its daemons; stdin is read for `-` only. Throws Failure. */
export async function openLocalImage(uri: LocalImageUri, options: SourceOptions, stdin: Readable): Promise<Image> {
  switch (uri.kind) {
    case 'stdin':
      return (await import('./tar.ts')).openTar('', '-', options, stdin);
    case 'tar':
      return (await import('./tar.ts')).openTar(uri.path, `tar:${uri.path}`, options);
    case 'dir':
      return (await import('./directory.ts')).openDirectoryImage(uri.path);
    case 'dockerd':
      return (await import('./daemon.ts')).openDaemonImage('docker', uri.image, options);
    case 'podman':
      return (await import('./daemon.ts')).openDaemonImage('podman', uri.image, options);
    case 'oci':
    case 'oci-archive':
    case 'docker-archive':
      return openWithReference(uri.kind, uri.location, options);
  }
}

async function openWithReference(
  kind: 'oci' | 'oci-archive' | 'docker-archive',
  location: string,
  options: SourceOptions,
): Promise<Image> {
  const { path, reference } = splitReference(location, existsSync);
  const source = `${kind}:${path}`;
  if (path === '')
    throw new Failure(`cannot read ${kind}:${location}: it names no file`, { hint: `${kind}:PATH[:REF]` });
  if (reference === '' && path !== location) {
    throw new Failure(`cannot read ${kind}:${location}: nothing follows the last colon`, { hint: source });
  }
  const { openArchiveTree, openDirectoryTree } = await import('./file-tree.ts');
  if (kind === 'oci') {
    const { openLayout } = await import('./oci-layout.ts');
    return openLayout(await openDirectoryTree(path, path), source, reference, options);
  }
  const { openArchiveFile } = await import('./tar.ts');
  const tree = await openArchiveTree(await openArchiveFile(path, options), path);
  if (kind === 'oci-archive') return (await import('./oci-layout.ts')).openLayout(tree, source, reference, options);
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
