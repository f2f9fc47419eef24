// SPDX-License-Identifier: Apache-2.0
import { Failure } from '../failure.ts';
import { hubRegistry, isHub } from './hub.ts';
import type { RegistryReference } from './registry-reference.ts';
import { showReference, splitAtSigns } from './show.ts';

const scheme = 'docker://';
const maxRepositoryLength = 255;
const hexDigits: ReadonlyMap<string, number> = new Map([
  ['sha256', 64],
  ['sha512', 128],
]);

/** OCI distribution-spec, "Pulling manifests": one part of a repository's name. */
const repositoryPart = /^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$/;
const tagForm = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;
/** What enroot lets a user be called (docker::_parse_uri), without `:`, which HTTP's basic authentication lets no user have (RFC 7617), and `/`. */
const userForm = /^[\p{L}\p{N}_.!~*'()%;&=+$,<>?@\\-]+$/u;
const hostForm = /^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$/;

/**
 * Reads `docker://[USER@][REGISTRY#]IMAGE[:TAG][@DIGEST]`, as enroot writes it, and `docker://[USER@]REGISTRY/IMAGE..`: there the first part is a registry
 * when it has a `.` or a `:` or is `localhost`, else a namespace of Docker Hub. Without tag and digest the tag is `latest`. Throws Failure, whose
 * message holds no password.
 */
export function parseRegistryReference(text: string): RegistryReference {
  const { user, name, digest } = splitAtSigns(text.slice(scheme.length));
  const refuse = (why: string, hint: string) =>
    new Failure(`cannot read the image reference ${showReference(text)}: ${why}`, { hint });
  const check = (why: readonly [why: string, hint: string] | null) => {
    if (why !== null) throw refuse(...why);
  };
  if (text.includes('@')) check(findUserFault(user, text.slice(scheme.length).startsWith('@')));
  const { registry, image } = splitRegistry(name);
  check(findHostFault(registry));
  const colon = image.lastIndexOf(':');
  const repository = colon < 0 ? image : image.slice(0, colon);
  const tag = colon < 0 ? '' : image.slice(colon + 1);
  check(findRepositoryFault(repository, user, digest));
  if (colon >= 0) check(findTagFault(tag));
  if (digest !== '') check(findDigestFault(digest));
  const isOfHub = isHub(registry.toLowerCase());
  return {
    user,
    registry: isOfHub ? hubRegistry : registry.toLowerCase(),
    repository: isOfHub && !repository.includes('/') ? `library/${repository}` : repository,
    tag: tag === '' && digest === '' ? 'latest' : tag,
    digest,
  };
}

type Fault = readonly [why: string, hint: string] | null;

function splitRegistry(name: string): { registry: string; image: string } {
  const hash = name.indexOf('#');
  if (hash >= 0) return { registry: name.slice(0, hash), image: name.slice(hash + 1) };
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(slash, 0));
  const isRegistry = /[.:]/.test(first) || first.toLowerCase() === 'localhost' || slash === 0;
  return isRegistry ? { registry: first, image: name.slice(slash + 1) } : { registry: hubRegistry, image: name };
}

function findUserFault(user: string, isEmpty: boolean): Fault {
  if (user === '') return isEmpty ? ['there is no user before the @', 'leave the @ out'] : null;
  if (user.includes('/')) {
    return ['what follows the last @ is no digest', 'a tag is written :TAG, a digest @sha256: and 64 hex digits'];
  }
  if (user.includes(':')) {
    return [
      'a password is not given in it, where everybody on this machine can read it',
      "name only the user, and keep the password in enroot's .credentials or let it be asked for",
    ];
  }
  if (!userForm.test(user)) return ['the user has a character that none can have', 'quote it for the shell'];
  return null;
}

function findHostFault(registry: string): Fault {
  const [, bracketed, plain = '', port] = /^(?:(\[[^\]]*\])|([^:]*))(?::(.*))?$/.exec(registry) ?? [];
  if (registry === '') return ['the name of the registry is empty', 'docker://REGISTRY#IMAGE, or docker://IMAGE'];
  if (/^https?:/i.test(registry)) return ['a registry is given without http:// or https://', 'docker://REGISTRY/IMAGE'];
  if (bracketed !== undefined ? !/^\[[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\]$/.test(bracketed) : !hostForm.test(plain)) {
    return [`${showReference(registry)} is no name of a host`, 'a registry is HOST[:PORT], IPv6 addresses in brackets'];
  }
  // Names whose last part is a number are addresses (URL Standard, "host parsing"), and not all of these are some.
  if (!URL.canParse(`https://${bracketed ?? plain}`)) {
    return [`${showReference(registry)} is no name of a host, nor an address`, 'a registry is HOST[:PORT]'];
  }
  if (port !== undefined && (!/^[0-9]{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65535)) {
    return [
      `${showReference(registry)} has no port number after its colon`,
      'a tag is written at the end: docker://REGISTRY/IMAGE:TAG',
    ];
  }
  return null;
}

function findRepositoryFault(repository: string, user: string, digest: string): Fault {
  const shown = showReference(repository);
  if (repository === '') {
    const isUser = user !== '' && digest === '';
    return ['the name of the image is missing', isUser ? 'docker://USER@IMAGE' : 'docker://IMAGE, as docker://ubuntu'];
  }
  if (/^https?:$|^https?:\/\//i.test(repository)) {
    return ['a registry is given without http:// or https://', 'docker://REGISTRY/IMAGE'];
  }
  if (repository.includes(':')) {
    return ['it has more than one tag, or a tag before the end', 'docker://[REGISTRY/]IMAGE:TAG'];
  }
  if (repository.includes('#')) return ['it has more than one #', 'one # stands between the registry and the image'];
  if (/[A-Z]/.test(repository)) {
    return [
      `${shown} has upper case letters, which no image's name has`,
      `try ${showReference(repository.toLowerCase())}`,
    ];
  }
  const bad = repository.split('/').find((part) => !repositoryPart.test(part));
  if (bad === '') return [`${shown} has an empty part`, 'one / stands between two parts of a name'];
  if (bad !== undefined) {
    return [
      `${showReference(bad)} cannot be a part of an image's name`,
      'it has lower case letters and digits, and between them one of . _ __ or hyphens',
    ];
  }
  if (repository.length > maxRepositoryLength) {
    return [`the image's name is longer than ${maxRepositoryLength} characters`, ''];
  }
  return null;
}

function findTagFault(tag: string): Fault {
  if (tag === '') return ['the tag after the : is empty', 'leave the : out for the tag latest'];
  if (tag.includes('/')) return ['the tag stands before the end', 'docker://[REGISTRY/]IMAGE:TAG'];
  if (tag.length > 128) return ['the tag is longer than 128 characters', ''];
  if (!tagForm.test(tag)) {
    const isDigest = /^sha(256|512)\b/.test(tag);
    return [
      `the tag ${showReference(tag)} has a character that none can have`,
      isDigest ? 'a digest follows @' : 'a tag has letters, digits, _ . and -, and begins with none of the last two',
    ];
  }
  return null;
}

function findDigestFault(digest: string): Fault {
  const colon = digest.indexOf(':');
  const algorithm = digest.slice(0, colon);
  const digits = hexDigits.get(algorithm);
  if (digits === undefined) {
    return [
      `digests of the kind ${showReference(algorithm)} are not supported`,
      /^sha(256|512)$/i.test(algorithm) ? 'write it in lower case' : 'use the sha256 (or sha512) digest of the image',
    ];
  }
  const hex = digest.slice(colon + 1);
  if (hex.length !== digits || !/^[0-9a-f]*$/.test(hex)) {
    const is = /^[0-9a-f]*$/.test(hex) ? `this has ${hex.length}` : 'this has other characters';
    return [`an ${algorithm} digest has ${digits} hex digits in lower case, and ${is}`, 'copy the whole digest'];
  }
  return null;
}
