// SPDX-License-Identifier: Apache-2.0
import { hubRegistry } from './hub.ts';
import type { RegistryReference } from './registry-reference.ts';

/**
 * An image's origin as enroot notes it in /etc/rc (docker::configure): `docker://REGISTRY#IMAGE:TAG`, with the digest where one was given. The user is
 * left out; otherwise parseRegistryReference reads it back.
 */
export function formatProvenance(reference: RegistryReference): string {
  return `docker://${reference.registry}#${formatName(reference)}`;
}

/** An image of a registry as people write it, for messages: `ubuntu:24.04`, `nvcr.io/nvidia/cuda:12.8`. */
export function formatReference(reference: RegistryReference): string {
  const { registry } = reference;
  const name = formatName({ ...reference, repository: shorten(reference) });
  return registry === hubRegistry ? name : `${registry}/${name}`;
}

/**
 * What a file (before its `.sqsh`) or a container made of an image is called without being told, as enroot does it: `ubuntu+24.04`, `nvidia+cuda+12.8`.
 * A digest counts as tag, its `:` written `+`. Images that are not of a registry: src/source/names.ts.
 */
export function defaultName(reference: RegistryReference): string {
  return `${shorten(reference)}+${reference.digest || reference.tag}`.replace(/[/:]/g, '+');
}

function formatName({ repository, tag, digest }: RegistryReference): string {
  return `${repository}${tag === '' ? '' : `:${tag}`}${digest === '' ? '' : `@${digest}`}`;
}

function shorten({ registry, repository }: RegistryReference): string {
  return registry === hubRegistry ? repository.replace(/^library\//, '') : repository;
}
