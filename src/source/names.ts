// SPDX-License-Identifier: Apache-2.0
import { basename } from 'node:path';

/**
 * What a file or container made of an image is called, as enroot does: the name with `+` for `/` and `:`, without registry, the
 * `library/` of Docker Hub's own images, digest and the tag `latest` when it was not written: `nvidia+cuda+13.0`.
 */
export function nameOfReference(reference: string): string {
  const [tagged = ''] = reference.split('@', 1);
  const parts = tagged.split('/');
  const [first = ''] = parts;
  if (parts.length > 1 && (/[.:]/.test(first) || first === 'localhost')) parts.shift();
  if (parts.length > 1 && parts[0] === 'library') parts.shift();
  return cleanName(parts.join('/').replaceAll(/[/:]/g, '+'));
}

/** What is made of a file or directory is called, without the endings of archives. */
export function nameOfFile(path: string): string {
  return cleanName(
    basename(path).replace(/(?<=.)(\.(tar|tgz|tzst|txz|oci|docker))?(\.(gz|zst|zstd|xz|bz2|lz4))?$/i, ''),
  );
}

function cleanName(name: string): string {
  const clean = name.replaceAll(/[\x00-\x1f\x7f/]/g, '').replace(/^\.+/, '');
  return clean === '' ? 'image' : clean;
}

/** One spelling of what Docker calls an image: `docker.io/library/`, `index.docker.io/` and the tag `latest` made explicit. */
export function canonicalReference(reference: string): string {
  const parts = reference.split('/');
  const [first = ''] = parts;
  const hasRegistry = parts.length > 1 && (/[.:]/.test(first) || first === 'localhost');
  const registry = hasRegistry
    ? (parts.shift() as string).replace(/^(index\.|registry-1\.)docker\.io$/, 'docker.io')
    : 'docker.io';
  if (registry === 'docker.io' && parts.length === 1) parts.unshift('library');
  const path = parts.join('/');
  return `${registry}/${path}${/:[^/]*$|@/.test(path) ? '' : ':latest'}`;
}
