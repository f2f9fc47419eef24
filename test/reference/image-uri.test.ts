// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Failure } from '../../src/failure.ts';
import { defaultName, formatProvenance, formatReference } from '../../src/reference/format.ts';
import { type ImageUri, isImageUri, parseImageUri } from '../../src/reference/image-uri.ts';
import type { RegistryReference } from '../../src/reference/registry-reference.ts';

const hub = 'registry-1.docker.io';
const hex = '0123456789abcdef'.repeat(4);
const digest = `sha256:${hex}`;

function parseReference(text: string): RegistryReference {
  const uri = parseImageUri(text);
  if (uri.kind !== 'docker') throw new Error(`${text} is of kind ${uri.kind}`);
  return uri.reference;
}

function refusal(text: string): Failure {
  try {
    parseImageUri(text);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error(`${text} was read`);
}

describe('an image of a registry', () => {
  // User, registry, repository and tag (the digest where there is one) are what enroot's own parser gives, except where a comment says otherwise.
  test.each<[text: string, user: string, registry: string, repository: string, tag: string, digest: string]>([
    ['docker://ubuntu', '', hub, 'library/ubuntu', 'latest', ''],
    ['docker://ubuntu:24.04', '', hub, 'library/ubuntu', '24.04', ''],
    ['docker://docker.io#ubuntu', '', hub, 'library/ubuntu', 'latest', ''],
    ['docker://docker.io/ubuntu', '', hub, 'library/ubuntu', 'latest', ''],
    ['docker://index.docker.io#library/ubuntu:24.04', '', hub, 'library/ubuntu', '24.04', ''],
    ['docker://registry-1.docker.io/a/b', '', hub, 'a/b', 'latest', ''],
    ['docker://nvidia/cuda:12.8', '', hub, 'nvidia/cuda', '12.8', ''],
    ['docker://a/b/c/d:1', '', hub, 'a/b/c/d', '1', ''],
    ['docker://nvcr.io#nvidia/pytorch:25.06-py3', '', 'nvcr.io', 'nvidia/pytorch', '25.06-py3', ''],
    ['docker://nvcr.io/nvidia/pytorch:25.06-py3', '', 'nvcr.io', 'nvidia/pytorch', '25.06-py3', ''],
    ['docker://$oauthtoken@nvcr.io#nvidia/x', '$oauthtoken', 'nvcr.io', 'nvidia/x', 'latest', ''],
    ['docker://me@example.com@host.example.com#a/b:c', 'me@example.com', 'host.example.com', 'a/b', 'c', ''],
    ['docker://me%40example.com@host.example.com/a/b:c', 'me%40example.com', 'host.example.com', 'a/b', 'c', ''],
    ['docker://DOMAIN\\me@host.example.com/a', 'DOMAIN\\me', 'host.example.com', 'a', 'latest', ''],
    ['docker://robot$ci+pull@host.example.com/a', 'robot$ci+pull', 'host.example.com', 'a', 'latest', ''],
    ['docker://me@ubuntu:20.04', 'me', hub, 'library/ubuntu', '20.04', ''],
    ['docker://me@a/b', 'me', hub, 'a/b', 'latest', ''],
    ['docker://localhost:5000/a/b', '', 'localhost:5000', 'a/b', 'latest', ''],
    ['docker://localhost:5000#a/b:c', '', 'localhost:5000', 'a/b', 'c', ''],
    ['docker://localhost#a', '', 'localhost', 'a', 'latest', ''],
    ['docker://gpu01#a', '', 'gpu01', 'a', 'latest', ''],
    ['docker://my_registry:5000/a', '', 'my_registry:5000', 'a', 'latest', ''],
    ['docker://[::1]:5000#a', '', '[::1]:5000', 'a', 'latest', ''],
    ['docker://[2001:db8::1]/a:v', '', '[2001:db8::1]', 'a', 'v', ''],
    ['docker://a__b/c-d--e.f_g:_V.1-x', '', hub, 'a__b/c-d--e.f_g', '_V.1-x', ''],
    [`docker://ubuntu@${digest}`, '', hub, 'library/ubuntu', '', digest],
    [`docker://u@nvcr.io/a/b@${digest}`, 'u', 'nvcr.io', 'a/b', '', digest],
    [`docker://nvcr.io#a/b@sha512:${hex}${hex}`, '', 'nvcr.io', 'a/b', '', `sha512:${hex}${hex}`],
    // enroot forgets the tag.
    [`docker://ubuntu:24.04@${digest}`, '', hub, 'library/ubuntu', '24.04', digest],
    // enroot takes localhost for a namespace of Docker Hub, as it does not for localhost:5000.
    ['docker://localhost/a', '', 'localhost', 'a', 'latest', ''],
    // Names of hosts have no case.
    ['docker://HOST.example/a', '', 'host.example', 'a', 'latest', ''],
  ])('%s is read', (text, user, registry, repository, tag, digest) => {
    expect(parseReference(text)).toEqual({ user, registry, repository, tag, digest });
  });

  test.each<[text: string, says: string, hints: string]>([
    ['docker://', 'the name of the image is missing', 'docker://ubuntu'],
    ['docker://me@', 'the name of the image is missing', 'USER@IMAGE'],
    ['docker://@ubuntu', 'no user before the @', 'leave the @ out'],
    ['docker://#ubuntu', 'the name of the registry is empty', ''],
    ['docker:///ubuntu', 'the name of the registry is empty', ''],
    ['docker://nvcr.io/', 'the name of the image is missing', ''],
    ['docker://Ubuntu', 'upper case letters', 'try ubuntu'],
    ['docker://nvcr.io/Nvidia/x', 'upper case letters', 'try nvidia/x'],
    ['docker://https://nvcr.io/x', 'without http://', 'docker://REGISTRY/IMAGE'],
    ['docker://nvcr.io//x', 'empty part', 'one /'],
    ['docker://-x', '-x cannot be a part', 'lower case'],
    ['docker://a.._b/c', 'no name of a host', 'HOST[:PORT]'],
    ['docker://a___b', 'cannot be a part', 'lower case'],
    ['docker://ubuntu/', 'empty part', ''],
    ['docker://a b', 'cannot be a part', ''],
    ['docker://nvcr.io#a#b', 'more than one #', ''],
    ['docker://ubuntu:', 'the tag after the : is empty', 'latest'],
    ['docker://ubuntu:1:2', 'more than one tag', ''],
    ['docker://ubuntu:v1/x', 'no port number', 'at the end'],
    ['docker://nvcr.io/a:1/b', 'the tag stands before the end', 'IMAGE:TAG'],
    ['docker://nvcr.io/a:1/b:2', 'a tag before the end', 'IMAGE:TAG'],
    ['docker://ubuntu:-x', 'the tag -x', 'letters, digits'],
    ['docker://ubuntu:a+b', 'the tag a+b', 'letters, digits'],
    [`docker://ubuntu:${'x'.repeat(129)}`, 'longer than 128', ''],
    [`docker://${'x'.repeat(256)}`, 'longer than 255', ''],
    ['docker://host:99999/x', 'no port number', ''],
    ['docker://host:0#x', 'no port number', ''],
    ['docker://999.1.1.1/x', 'no name of a host, nor an address', 'HOST[:PORT]'],
    ['docker://registry.1#x', 'no name of a host, nor an address', ''],
    ['docker://[:::::]/x', 'no name of a host, nor an address', ''],
    ['docker://[::1/x', 'no name of a host', 'brackets'],
    ['docker://ubuntu@sha256:abc', 'this has 3', 'whole digest'],
    [`docker://ubuntu@sha256:${hex.toUpperCase()}`, 'other characters', 'whole digest'],
    [`docker://ubuntu@SHA256:${hex}`, 'kind SHA256 are not supported', 'lower case'],
    [`docker://ubuntu@sha1:${hex.slice(24)}`, 'kind sha1 are not supported', 'sha256'],
    [`docker://ubuntu@blake3:${hex}`, 'kind blake3 are not supported', 'sha256'],
    [`docker://ubuntu@constructor:${hex}`, 'kind constructor are not supported', 'sha256'],
    ['docker://nvcr.io/x:1@latest', 'what follows the last @ is no digest', ':TAG'],
    ['docker://a b@x', 'the user has a character', ''],
  ])('%s is refused: %s', (text, says, hints) => {
    const { message, hint } = refusal(text);
    expect(message).toContain(says);
    expect(hint).toContain(hints);
  });

  test.each([
    'docker://me:hunter2@nvcr.io/x',
    'docker://me:hunter2@ubuntu:24',
    'docker://me:hun@ter2@nvcr.io#a/b',
    'docker://me:hunter2/@Host/B',
    `docker://me:hunter2@ubuntu:1@${digest}`,
    'dockerd://me:hunter2@Host b',
    'foo://me:hunter2@host',
    'me:hunter2@nvcr.io/x',
  ])('a password in %s is refused without being shown', (text) => {
    const { message, hint } = refusal(text);
    expect(`${message} ${hint}`).not.toMatch(/hunter2|ter2|hun@/);
  });

  test('control characters never reach a message', () => {
    const { message, hint } = refusal('docker://a\x1b[31m\nb/c:\x9b');
    expect(`${message}${hint}`).not.toMatch(/[\x00-\x1f\x7f-\x9f]/);
  });
});

describe('other places', () => {
  test.each<[string, ImageUri]>([
    ['-', { kind: 'stdin' }],
    ['dockerd://ubuntu:24.04', { kind: 'dockerd', image: 'ubuntu:24.04' }],
    ['podman://localhost/a/b', { kind: 'podman', image: 'localhost/a/b' }],
    [`podman://b@${digest}`, { kind: 'podman', image: `b@${digest}` }],
    ['oci:dir', { kind: 'oci', location: 'dir' }],
    ['oci-archive:/x/np.tar:v1', { kind: 'oci-archive', location: '/x/np.tar:v1' }],
    ['docker-archive:f.tar:a/b:1', { kind: 'docker-archive', location: 'f.tar:a/b:1' }],
    ['docker-archive:///x/f.tar', { kind: 'docker-archive', location: '///x/f.tar' }],
    ['tar:a:b.tar', { kind: 'tar', path: 'a:b.tar' }],
    ['dir:/', { kind: 'dir', path: '/' }],
  ])('%s is read', (text, uri) => {
    expect(isImageUri(text)).toBe(true);
    expect(parseImageUri(text)).toEqual(uri);
  });

  test.each<[text: string, says: string, hints: string]>([
    ['', 'the image is empty', 'docker://ubuntu'],
    ['ubuntu', 'nothing of where', 'docker://ubuntu for'],
    ['nvcr.io/nvidia/cuda:12', 'nothing of where', 'docker://nvcr.io/nvidia/cuda:12 for'],
    ['./Some File', 'nothing of where', 'there are docker://'],
    ['docker:ubuntu', 'no such kind', 'docker://IMAGE'],
    ['Docker://ubuntu', 'lower case', 'docker:'],
    ['docker-daemon:ubuntu:24.04', 'no such kind', 'dockerd://IMAGE'],
    ['containers-storage:x', 'no such kind', 'podman://IMAGE'],
    ['https://nvcr.io/x', 'no such kind', 'docker://REGISTRY/IMAGE'],
    ['foo://bar', 'no such kind', 'there are docker://'],
    ['constructor:x', 'nothing of where', 'docker://'],
    ['oci:', 'it names no file', 'oci:PATH'],
    ['oci://dir', 'not followed by //', 'oci:dir'],
    ['tar:', 'it names no file', 'tar:PATH'],
    ['dockerd://', 'it names no image', 'dockerd://IMAGE'],
    ['dockerd://-v', 'an image has letters', ''],
    ['podman://a b', 'an image has letters', 'podman://IMAGE'],
    ['oci:a\0b', 'NUL', ''],
  ])('%j is refused: %s', (text, says, hints) => {
    const { message, hint } = refusal(text);
    expect(message).toContain(says);
    expect(hint).toContain(hints);
  });

  test.each(['np.sqsh', './np.run', '/x/np.sqsh', 'my-container', 'oci', 'a:b'])('%s is a path or a name', (text) => {
    expect(isImageUri(text)).toBe(false);
  });
});

describe('names', () => {
  test.each<[text: string, provenance: string, name: string]>([
    ['docker://ubuntu', `docker://${hub}#library/ubuntu:latest`, 'ubuntu+latest'],
    ['docker://u@docker.io/ubuntu:24.04', `docker://${hub}#library/ubuntu:24.04`, 'ubuntu+24.04'],
    ['docker://nvcr.io/nvidia/cuda:12', 'docker://nvcr.io#nvidia/cuda:12', 'nvidia+cuda+12'],
    ['docker://nvcr.io/library/x:1', 'docker://nvcr.io#library/x:1', 'library+x+1'],
    [`docker://ubuntu@${digest}`, `docker://${hub}#library/ubuntu@${digest}`, `ubuntu+sha256+${hex}`],
    [`docker://a/b:1@${digest}`, `docker://${hub}#a/b:1@${digest}`, `a+b+sha256+${hex}`],
  ])('%j comes from %s and is called %s', (text, provenance, name) => {
    const reference = parseReference(text);
    expect(formatProvenance(reference)).toBe(provenance);
    expect(defaultName(reference)).toBe(name);
  });

  test('are short for people', () => {
    expect(formatReference(parseReference('docker://ubuntu'))).toBe('ubuntu:latest');
    expect(formatReference(parseReference('docker://u@nvcr.io#a/b:1'))).toBe('nvcr.io/a/b:1');
  });
});

describe('whatever is given', () => {
  const part = fc.stringMatching(/^[a-z0-9]+(([._]|__|-{1,3})[a-z0-9]+){0,2}$/, { maxLength: 20 });
  const registry = fc.constantFrom(hub, 'nvcr.io', 'localhost', 'localhost:5000', '[::1]:5000', 'a-b.example.com:1');
  const anyReference = fc.record({
    user: fc.constant(''),
    registry,
    repository: fc.array(part, { minLength: 2, maxLength: 4 }).map((parts) => parts.join('/')),
    tag: fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/),
    digest: fc.constantFrom('', digest),
  });
  const pieces = fc.constantFrom(
    'docker://',
    'oci:',
    '@',
    ':',
    '/',
    '#',
    'a',
    'B',
    '.',
    'sha256:',
    hex,
    '[',
    ']',
    '-',
    '\n',
  );

  test('a provenance is read back as it was', () => {
    fc.assert(
      fc.property(anyReference, (reference) => {
        expect(parseReference(formatProvenance(reference))).toEqual(reference);
      }),
    );
  });

  test('is read, or refused by a Failure; what is read has a provenance that is read alike', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(pieces, { maxLength: 12 }).map((all) => all.join('')),
      fc.array(pieces, { maxLength: 12 }).map((all) => `docker://${all.join('')}`),
    );
    fc.assert(
      fc.property(text, (given) => {
        let uri: ImageUri;
        try {
          uri = parseImageUri(given);
        } catch (error) {
          expect(error).toBeInstanceOf(Failure);
          return;
        }
        expect(isImageUri(given)).toBe(true);
        if (uri.kind !== 'docker') return;
        expect(defaultName(uri.reference)).toMatch(/^[^/:\x00-\x20\x7f-\x9f\u2028\u2029]+$/);
        expect(parseReference(formatProvenance(uri.reference))).toEqual({ ...uri.reference, user: '' });
      }),
      { numRuns: 3000 },
    );
  });
});
