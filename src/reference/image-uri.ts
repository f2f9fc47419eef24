// SPDX-License-Identifier: Apache-2.0
import { Failure } from '../failure.ts';
import { parseRegistryReference } from './parse-reference.ts';
import type { RegistryReference } from './registry-reference.ts';
import { showReference } from './show.ts';

/** Where an image comes from or goes to, as it is written on the command line. */
export type ImageUri =
  | { readonly kind: 'docker'; readonly reference: RegistryReference }
  /** An image of a daemon, under the name that the daemon knows. */
  | { readonly kind: 'dockerd' | 'podman'; readonly image: string }
  /** `location` is `PATH[:REF]`. Where the path ends, what exists tells: whoever opens it looks. */
  | { readonly kind: 'oci' | 'oci-archive' | 'docker-archive'; readonly location: string }
  | { readonly kind: 'tar' | 'dir'; readonly path: string }
  | { readonly kind: 'stdin' };

const schemes = 'docker:// dockerd:// podman:// oci: oci-archive: docker-archive: tar: dir: and - (standard input)';

/** How others write what is written differently here. */
const otherSpellings: Readonly<Record<string, string>> = {
  docker: 'docker://IMAGE',
  'docker-daemon': 'dockerd://IMAGE',
  dockerd: 'dockerd://IMAGE',
  podman: 'podman://IMAGE',
  'containers-storage': 'podman://IMAGE',
  http: 'docker://REGISTRY/IMAGE for a registry; download a file first',
  https: 'docker://REGISTRY/IMAGE for a registry; download a file first',
  oras: 'docker://REGISTRY/IMAGE for a registry',
  file: 'the path alone for a .sqsh or .run, tar:FILE or docker-archive:FILE for an archive',
};

/** True for what parseImageUri should be asked about; false for a bare word: the path of a .sqsh or .run, or a container's name. */
export function isImageUri(text: string): boolean {
  return text === '-' || /^(oci|oci-archive|docker-archive|tar|dir):|^[a-z][a-z0-9+.-]*:\/\//i.test(text);
}

/**
 * Reads where an image is, without a look at any file. Local forms are skopeo's: `oci:DIR[:REF]`, `oci-archive:FILE[:REF]`, `docker-archive:FILE[:REF]`;
 * `tar:FILE` and `dir:PATH` (a root filesystem) take all that follows as the path. Throws Failure.
 */
export function parseImageUri(text: string): ImageUri {
  const refuse = (why: string, hint: string) => new Failure(`cannot read ${showReference(text)}: ${why}`, { hint });
  if (text.includes('\0')) throw refuse('it has a NUL', '');
  if (text === '-') return { kind: 'stdin' };
  if (text === '') throw new Failure('the image is empty', { hint: 'name one: docker://ubuntu' });
  const [, scheme = '', rest = ''] = /^([A-Za-z][A-Za-z0-9+.-]*):([\s\S]*)$/.exec(text) ?? [];
  switch (scheme) {
    case 'docker':
      if (rest.startsWith('//')) return { kind: 'docker', reference: parseRegistryReference(text) };
      break;
    case 'dockerd':
    case 'podman':
      if (rest.startsWith('//')) return { kind: scheme, image: checkDaemonImage(rest.slice(2), scheme, refuse) };
      break;
    case 'oci':
    case 'oci-archive':
    case 'docker-archive':
      return { kind: scheme, location: checkPath(rest, scheme, refuse) };
    case 'tar':
    case 'dir':
      return { kind: scheme, path: checkPath(rest, scheme, refuse) };
  }
  const other = scheme.toLowerCase();
  const known = Object.hasOwn(otherSpellings, other) ? otherSpellings[other] : undefined;
  if (known !== undefined || rest.startsWith('//')) {
    const lower = `${scheme.toLowerCase()}:`;
    if (scheme !== '' && lower !== `${scheme}:`) throw refuse('a scheme is written in lower case', `try ${lower}`);
    throw refuse('no such kind of image', known ?? `there are ${schemes}`);
  }
  throw refuse('it says nothing of where the image is', suggest(text));
}

function suggest(text: string): string {
  try {
    parseRegistryReference(`docker://${text}`);
    return `docker://${showReference(text)} for an image of a registry; others: ${schemes}`;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return `there are ${schemes}`;
  }
}

type Refuse = (why: string, hint: string) => Failure;

function checkPath(path: string, scheme: string, refuse: Refuse): string {
  if (path === '') throw refuse('it names no file', `${scheme}:PATH`);
  if (/^\/\/[^/]/.test(path))
    throw refuse(`${scheme}: is not followed by //`, `${scheme}:${showReference(path.slice(2))}`);
  return path;
}

/** enroot's check, and `@` for digests. The name becomes a path, and an argument of a program where the daemon is reached by ssh. */
function checkDaemonImage(image: string, scheme: string, refuse: Refuse): string {
  const hint = `${scheme}://IMAGE[:TAG]`;
  if (image === '') throw refuse('it names no image', hint);
  if (!/^[A-Za-z0-9][A-Za-z0-9/._:@+-]*$/.test(image)) {
    throw refuse('an image has letters, digits and / . _ : @ + -', hint);
  }
  return image;
}
