// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import { type Bytes, fromBuffer, fromText } from '../../src/format/bytes.ts';
import {
  insertLdCache,
  type LdCache,
  type LdCacheEntry,
  ldCacheFlags,
  writeLdCache,
} from '../../src/format/ld-cache.ts';
import { readLdCacheText } from '../../src/format/ld-cache-text.ts';
import type { LoaderFacts } from '../../src/format/manifest.ts';
import type { Bind, DriverLibrary, Link, MadeFile, NamedLibrary } from './edits.ts';
import { compareVersions } from './elf-dynamic.ts';

/** Where the image's loader finds libraries; without `loader` where the bundle does not tell. */
export interface LoaderImage {
  readonly debian: boolean;
  readonly loader?: LoaderFacts | undefined;
}

export interface LoaderPlan {
  readonly binds: readonly Bind[];
  readonly links: readonly Link[];
  readonly files: readonly MadeFile[];
  /** Where the 64-bit libraries are. */
  readonly directory: Bytes;
  readonly warnings: readonly Bytes[];
  /** LD_LIBRARY_PATH where nothing else can lead the loader to a directory; to be put before the container's own value. */
  readonly env: readonly Bytes[];
}

const nothing = { binds: [], links: [], files: [], warnings: [], env: [] };

export const cachePath = '/etc/ld.so.cache';
/** It sorts before what images bring, and ldconfig takes the first of several libraries of a name. */
const dropInPath = '/etc/ld.so.conf.d/00-bundler-gpu.conf';
/** Public CUDA images name these in their loader's configuration and leave them empty. */
const privateDirs: LibraryDirs = { '64': '/usr/local/nvidia/lib64', '32': '/usr/local/nvidia/lib' };
/** musl's ldso/dynlink.c, for images without a path file of their own. */
const muslDefaults = '/lib:/usr/local/lib:/usr/lib';

type LibraryDirs = Readonly<Record<'64' | '32', Bytes>>;

/**
 * Where a driver's libraries go in an image and what leads its loader to them: each at its file's name in one of the loader's own
 * directories, with symlinks of its soname and its further names; then glibc's /etc/ld.so.cache with them in the place of the image's
 * libraries of the same names, or musl's path file.
 *
 * named: libraries that have their place already; of the same soname they come before `libraries`, and the first before the others.
 * extraDirs: where those are, most important first. image: undefined for one that nothing is known about; without facts of its loader
 * it gets no cache. place: `private` where the image's directories cannot be added to.
 */
export function planLibraries(
  libraries: readonly DriverLibrary[],
  named: readonly NamedLibrary[],
  extraDirs: readonly Bytes[],
  image: LoaderImage | undefined,
  machine: string,
  place: 'root' | 'private',
): LoaderPlan {
  const facts = image?.loader;
  const isMusl = facts?.libc === 'musl';
  const isPrivate = place === 'private' || isMusl;
  const dirs = isPrivate ? privateDirs : defaultDirs(image, machine);
  const own = libraries.filter((library) => !hasNeutralName(library) && (library.abi === '64' || machine === 'x86_64'));
  const others = named.filter(({ soname, path }) => !isVendorNeutral(soname) && !isVendorNeutral(posix.basename(path)));
  const directory = dirs['64'];
  if (own.length + others.length + extraDirs.length === 0) return { ...nothing, directory };
  const { binds, links, names } = placeLibraries(own, dirs);
  const privateUsed = isPrivate ? [...new Set(own.map(({ abi }) => dirs[abi]))] : [];
  const newDirs = [...new Set([...extraDirs, ...privateUsed])];
  if (isMusl) {
    // Its file is the 64-bit loader's alone.
    const file = muslPathFile(
      facts,
      newDirs.filter((dir) => dir !== dirs['32']),
      machine,
    );
    return { binds, links, files: [file], directory, warnings: [muslWarning], env: [] };
  }
  const dropIn = { path: dropInPath, mode: 0o644, data: `${newDirs.join('\n')}\n` };
  const cache = facts?.libc === 'glibc' ? readCache(facts) : null;
  const files = [
    ...(cache ? [cacheFile(cache, [...others, ...names], machine)] : []),
    ...(newDirs.length > 0 ? [dropIn] : []),
  ];
  const isUnread = facts?.libc === 'glibc' && cache === null;
  const warnings = [...(isUnread ? [cacheWarning] : []), ...warnOfGlibc(own, facts?.glibcVersion ?? '')];
  const env = cache === null && newDirs.length > 0 ? [`LD_LIBRARY_PATH=${newDirs.join(':')}`] : [];
  return { binds, links, files, directory, warnings, env };
}

const neutral =
  /^(lib(GL|GLX|EGL|GLdispatch|OpenGL|GLESv1_CM|GLESv2|OpenCL|vulkan|drm|gbm|c|m|pthread|dl|rt|stdc\+\+|gcc_s)|ld-linux[^/]*)\.so(\.|$)/;

/** Is it a library that programs of any vendor share? The image's own must stay: the host's may need a newer glibc or dispatch to other drivers. */
export function isVendorNeutral(name: Bytes): boolean {
  return neutral.test(name);
}

function hasNeutralName({ source, soname }: DriverLibrary): boolean {
  return isVendorNeutral(soname) || isVendorNeutral(posix.basename(source));
}

/** Directories in which the image's loader looks by itself (libnvidia-container's nvc_container.c chooses alike). */
function defaultDirs(image: LoaderImage | undefined, machine: string): LibraryDirs {
  const present = new Set(image?.loader?.directories);
  const has = (...paths: string[]) => paths.some((path) => present.has(path));
  const triplet = `/usr/lib/${machine}-linux-gnu`;
  const isDebian = image?.debian === true;
  // Nothing is known of older bundles' images; those of other distributions mostly have /usr/lib64.
  const other = image?.loader === undefined || has('/usr/lib64', '/lib64') ? '/usr/lib64' : '/usr/lib';
  const triplet32 = '/usr/lib/i386-linux-gnu';
  const other32 = has('/usr/lib32') ? '/usr/lib32' : '/usr/lib';
  return {
    '64': isDebian || has(triplet) ? triplet : other,
    '32': isDebian || has(triplet32) ? triplet32 : other32,
  };
}

/** Binds and links, each path once, and the names by which the loader is asked for the libraries. */
function placeLibraries(libraries: readonly DriverLibrary[], dirs: LibraryDirs) {
  const placed = libraries.map((library) => {
    const base = dirs[library.abi];
    const file = posix.basename(library.source);
    return { ...library, directory: library.subdir === '' ? base : `${base}/${library.subdir}`, file };
  });
  const binds = new Map<Bytes, Bind>();
  for (const { source, directory, file } of placed) {
    const target = `${directory}/${file}`;
    if (!binds.has(target)) binds.set(target, { source, target, kind: 'file' });
  }
  const links = new Map<Bytes, Link>();
  const names: NamedLibrary[] = [];
  for (const { source, soname, links: further, abi, subdir, directory, file } of placed) {
    // Another library of the same file name stands there.
    if (binds.get(`${directory}/${file}`)?.source !== source) continue;
    for (const name of [soname === '' ? file : soname, ...further]) {
      const path = `${directory}/${name}`;
      if (!isFileName(name) || isVendorNeutral(name)) continue;
      if (!binds.has(path) && !links.has(path)) links.set(path, { path, target: file });
      // The loader does not look into subdirectories: programs name those libraries by their paths.
      if (subdir === '' && /^lib.*\.so/.test(name)) names.push({ soname: name, path, abi });
    }
  }
  return { binds: [...binds.values()], links: [...links.values()], names };
}

function isFileName(name: Bytes): boolean {
  return name !== '' && name !== '.' && name !== '..' && !name.includes('/');
}

/** The image's cache, an empty one where it has none; null when it cannot be read. */
function readCache({ cache }: LoaderFacts): LdCache | null {
  const entries = cache === '' ? [] : readLdCacheText(cache);
  return entries && { entries, generator: 'bundler' };
}

function cacheFile(cache: LdCache, libraries: readonly NamedLibrary[], machine: string): MadeFile {
  const added = new Map<Bytes, LdCacheEntry>();
  for (const { soname: name, path, abi } of libraries) {
    const flags = flagsOf(abi, machine);
    const key = `${flags} ${name}`;
    if (flags === undefined || added.has(key)) continue;
    added.set(key, { name, path, flags, osVersion: 0, hwcap: 0n, hwcapName: '' });
  }
  const { entries, generator } = insertLdCache(cache, [...added.values()]);
  return { path: cachePath, mode: 0o644, data: fromBuffer(writeLdCache(entries, generator)) };
}

function flagsOf(abi: '64' | '32', machine: string): number | undefined {
  if (abi === '32') return machine === 'x86_64' ? ldCacheFlags.i386 : undefined;
  return machine === 'x86_64' || machine === 'aarch64' ? ldCacheFlags[machine] : undefined;
}

/** The file replaces musl's defaults, so it names them too; the image's own libraries come first. */
function muslPathFile({ muslPath }: LoaderFacts, dirs: readonly Bytes[], machine: string): MadeFile {
  const own = fromText(muslPath)
    .split(/[:\n]/)
    .filter((dir) => dir !== '');
  const all = new Set([...(own.length > 0 ? own : muslDefaults.split(':')), ...dirs]);
  return { path: `/etc/ld-musl-${machine}.path`, mode: 0o644, data: `${[...all].join('\n')}\n` };
}

const muslWarning =
  "the image's C library is musl, but the driver's libraries need glibc: only programs with gcompat can load them (in Alpine, `apk add gcompat`), or use an image with glibc";

const cacheWarning = `the image's ${cachePath} cannot be read and stays as it is, so programs that ask \`ldconfig -p\` for the driver do not find it: make the image anew after running \`ldconfig\` in it`;

const maxNamed = 6;

function warnOfGlibc(libraries: readonly DriverLibrary[], version: string): Bytes[] {
  if (!/^\d+(\.\d+)*$/.test(version)) return [];
  const tooNew = libraries.filter(({ needsGlibc }) => compareVersions(needsGlibc, version) > 0);
  if (tooNew.length === 0) return [];
  const needed = tooNew
    .map(({ needsGlibc }) => needsGlibc)
    .sort(compareVersions)
    .at(-1);
  const names = tooNew.map(({ source }) => posix.basename(source));
  const more = names.length > maxNamed ? ` and ${names.length - maxNamed} more` : '';
  return [
    `the driver's ${names.slice(0, maxNamed).join(', ')}${more} need glibc ${needed}, but the image has ${version}: programs that load them fail; use an image of a newer distribution, or an older driver on this host`,
  ];
}
