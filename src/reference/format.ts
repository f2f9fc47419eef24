// SPDX-License-Identifier: Apache-2.0
import { hubRegistry } from './hub.ts';
import type { ImageUri } from './image-uri.ts';
import type { RegistryReference } from './registry-reference.ts';

const unprintable = /[\x00-\x1f\x7f-\x9f\u2028\u2029]/g;

/**
 * An image's origin as enroot notes it in /etc/rc (docker::configure): `docker://REGISTRY#IMAGE:TAG`, with the digest where one was given. The user is
 * left out, and control characters become `?`: it is one line of a script. Otherwise parseImageUri reads it back.
 */
export function formatProvenance(uri: ImageUri): string {
  switch (uri.kind) {
    case 'docker':
      return `docker://${uri.reference.registry}#${formatName(uri.reference)}`;
    case 'dockerd':
    case 'podman':
      return `${uri.kind}://${uri.image}`;
    case 'oci':
    case 'oci-archive':
    case 'docker-archive':
      return `${uri.kind}:${uri.path}${uri.reference === '' ? '' : `:${uri.reference}`}`.replace(unprintable, '?');
    case 'tar':
    case 'dir':
      return `${uri.kind}:${uri.path}`.replace(unprintable, '?');
    case 'stdin':
      return '-';
  }
}

/** An image of a registry as people write it, for messages: `ubuntu:24.04`, `nvcr.io/nvidia/cuda:12.8`. */
export function formatReference(reference: RegistryReference): string {
  const { registry } = reference;
  const name = formatName({ ...reference, repository: shorten(reference) });
  return registry === hubRegistry ? name : `${registry}/${name}`;
}

/**
 * What a file (before its `.sqsh`) or a container made of an image is called without being told, as enroot does it: `ubuntu+24.04`, `nvidia+cuda+12.8`.
 * A digest counts as tag, its `:` written `+`. Never with a slash or a control character.
 */
export function defaultName(uri: ImageUri): string {
  switch (uri.kind) {
    case 'docker':
      return joinName(shorten(uri.reference), uri.reference.digest || uri.reference.tag);
    case 'dockerd':
    case 'podman':
      return joinName(uri.image);
    case 'oci':
    case 'oci-archive':
    case 'docker-archive':
      return joinName(nameOfPath(uri.path), uri.reference.replace(/^@/, ''));
    case 'tar':
    case 'dir':
      return joinName(nameOfPath(uri.path));
    case 'stdin':
      return 'image';
  }
}

function formatName({ repository, tag, digest }: RegistryReference): string {
  return `${repository}${tag === '' ? '' : `:${tag}`}${digest === '' ? '' : `@${digest}`}`;
}

function shorten({ registry, repository }: RegistryReference): string {
  return registry === hubRegistry ? repository.replace(/^library\//, '') : repository;
}

function joinName(...parts: string[]): string {
  const name = parts.filter((part) => part !== '').join('+');
  return name.replace(/[/:]/g, '+').replace(unprintable, '_');
}

/** The last part of a path without the endings of archives. */
function nameOfPath(path: string): string {
  const base = path.replace(/\/+$/, '').replace(/^.*\//s, '');
  const name = base.replace(/(\.(tar|oci))?(\.(gz|zst|xz|bz2|lz4))?$|\.t[gbx]z$/, '');
  return name === '' || name === '.' || name === '..' ? 'image' : name;
}
