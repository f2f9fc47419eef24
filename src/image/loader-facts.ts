// SPDX-License-Identifier: Apache-2.0
import { toBuffer, toText } from '../format/bytes.ts';
import { readLdCache } from '../format/ld-cache.ts';
import { writeLdCacheText } from '../format/ld-cache-text.ts';
import type { LoaderFacts } from '../format/manifest.ts';
import type { Fact } from '../format/wire.ts';

/** Where programs name the loader of glibc: the PT_INTERP of the psABIs of x86-64 and AArch64. */
const glibcLoaders = ['/lib64/ld-linux-x86-64.so.2', '/lib/ld-linux-aarch64.so.1'];

/** The loader of musl, and the file with its search path (musl's ldso/dynlink.c). */
const muslLoaders = [
  { loader: '/lib/ld-musl-x86_64.so.1', path: '/etc/ld-musl-x86_64.path' },
  { loader: '/lib/ld-musl-aarch64.so.1', path: '/etc/ld-musl-aarch64.path' },
];

/** Where Debian's kin, Red Hat's kin and others keep libraries; the most particular first. */
const directories = [
  '/usr/lib/x86_64-linux-gnu',
  '/lib/x86_64-linux-gnu',
  '/usr/lib/aarch64-linux-gnu',
  '/lib/aarch64-linux-gnu',
  '/usr/lib64',
  '/lib64',
  '/usr/lib/i386-linux-gnu',
  '/usr/lib32',
  '/lib32',
  '/usr/lib',
  '/lib',
  '/usr/local/nvidia',
];

/** Those of them that hold no C library of a 64-bit loader. */
const withoutLibc = /i386|lib32|nvidia/;
const libraries = directories
  .filter((directory) => !withoutLibc.test(directory))
  .map((directory) => `${directory}/libc.so.6`);

const cache = '/etc/ld.so.cache';
const compat = '/usr/local/cuda/compat';

/** What only a program that uses CUDA brings along; what tells most comes first. */
const cudaNames = ['libcudart.so', 'libcublas.so', 'libnvrtc.so', 'libcuda.so', 'libtorch_cuda.so'];

/** What must be asked of an image for readLoaderFacts (src/launcher/copy.ts has the meaning of each). */
export const loaderQuestion = {
  paths: [cache, ...muslLoaders.map(({ path }) => path)],
  heads: libraries,
  looks: [...glibcLoaders, ...muslLoaders.map(({ loader }) => loader), ...directories],
  names: [compat],
  prefixes: cudaNames,
} as const;

/** Interprets the launcher's answer to loaderQuestion (docs/plan.md, role copy). What was not answered is taken for absent. */
export function readLoaderFacts(answer: readonly Fact[]): LoaderFacts {
  const facts = new Map(answer);
  const isA = (kind: 'file' | 'dir', path: string): boolean =>
    (facts.get(`type.${path}`) ?? 'none').split(' ', 1)[0] === kind;
  const content = (path: string): string => facts.get(`content.${path}`) ?? '';
  const glibcVersion = findNewestVersion(libraries.map(content));
  const musl = muslLoaders.find(({ loader }) => isA('file', loader));
  const hasGlibcLoader = glibcLoaders.some((loader) => isA('file', loader));
  return {
    libc: chooseLibc(hasGlibcLoader, musl !== undefined, glibcVersion),
    glibcVersion,
    // One that is too large to be told is there all the same.
    cache: isA('file', cache) && !facts.has(`content.${cache}`) ? 'unreadable\n' : describeCache(content(cache)),
    muslPath: musl === undefined ? '' : toText(content(musl.path)),
    directories: directories.filter((directory) => isA('dir', directory)),
    cuda: findFirst(answer, cudaNames),
    compat: answer.filter(([key, name]) => key === `name.${compat}` && isLibrary(name)).map(([, name]) => toText(name)),
  };
}

/**
 * Where both loaders are, one of them is a guest: gcompat on musl, which has no libc.so.6 with versions (nor is a symlink of that name to
 * musl one), or musl's tools on a glibc.
 */
function chooseLibc(hasGlibcLoader: boolean, hasMuslLoader: boolean, glibcVersion: string): LoaderFacts['libc'] {
  if (hasGlibcLoader && (!hasMuslLoader || glibcVersion !== '')) return 'glibc';
  return hasMuslLoader ? 'musl' : '';
}

/** The greatest GLIBC_2.N or GLIBC_2.N.M among the NUL-terminated strings of some files' beginnings, where .dynstr lies; '' for none. */
function findNewestVersion(heads: readonly string[]): string {
  let newest: readonly number[] = [];
  for (const head of heads) {
    for (const [, text = ''] of head.matchAll(/GLIBC_(2\.\d{1,4}(?:\.\d{1,4})?)\0/g)) {
      const version = text.split('.').map(Number);
      if (compareVersions(version, newest) > 0) newest = version;
    }
  }
  return newest.join('.');
}

function compareVersions(one: readonly number[], other: readonly number[]): number {
  const at = [0, 1, 2].find((index) => (one[index] ?? -1) !== (other[index] ?? -1)) ?? 0;
  return (one[at] ?? -1) - (other[at] ?? -1);
}

/** As text (writeLdCacheText); '' where there is none. What cannot be read is a line that no reader takes for an entry. */
function describeCache(bytes: string): string {
  if (bytes === '') return '';
  const entries = readLdCache(toBuffer(bytes))?.entries;
  return entries === undefined ? 'unreadable\n' : toText(writeLdCacheText(entries));
}

function findFirst(answer: readonly Fact[], prefixes: readonly string[]): string {
  const found = prefixes.flatMap((prefix) => answer.filter(([key]) => key === `found.${prefix}`));
  return toText(found[0]?.[1] ?? '');
}

function isLibrary(name: string): boolean {
  return /^lib.+\.so(\.|$)/.test(name);
}
