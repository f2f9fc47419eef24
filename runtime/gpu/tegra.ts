// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { Bytes } from '../../src/format/bytes.ts';
import { Failure } from '../failure.ts';
import type { SourceKind } from '../launch-input.ts';
import type { Access, Observer } from '../observer.ts';
import { type Bind, type Edits, type Link, type Missing, type NamedLibrary, noEdits } from './edits.ts';
import { readDynamic } from './elf-dynamic.ts';

/** A Jetson's GPU, which is part of the processor, and the files that NVIDIA lists for it; plain data. */
export interface TegraFacts {
  /** Is there /etc/nv_tegra_release, by which programs tell the version of Jetson Linux? */
  readonly hasRelease: boolean;
  /** Those of the system first. */
  readonly lists: readonly TegraList[];
}

export interface TegraList {
  readonly path: Bytes;
  /** Is it the system's, for every container? Others give away the host's CUDA, cuDNN and so on. */
  readonly isBase: boolean;
  /** What it names, and no list before it. */
  readonly entries: readonly TegraEntry[];
  /** The numbers of lines that are not understood. */
  readonly unclear: readonly number[];
}

export type TegraEntry =
  | { readonly type: 'dev'; readonly path: Bytes; readonly access: Access }
  /** soname: of a shared library; '' for any other file. */
  | { readonly type: 'dir' | 'lib'; readonly path: Bytes; readonly kind: SourceKind; readonly soname: Bytes }
  /** target: the link's text; null when it is none. */
  | { readonly type: 'sym'; readonly path: Bytes; readonly target: Bytes | null };

export interface CsvLine {
  readonly type: TegraEntry['type'];
  readonly path: Bytes;
}

const release = '/etc/nv_tegra_release';
const listDir = '/etc/nvidia-container-runtime/host-files-for-container.d';
/** All memory of the GPU comes from here, so nothing works without it. */
const memoryDevice = '/dev/nvmap';

/**
 * Looks for a Jetson, and at every path that its lists name; null, after two lookups, on any other host. The lists are those of
 * nvidia-container-runtime's csv mode (nvidia-container-toolkit, internal/platform-support/tegra); which are the system's is since
 * libnvidia-container 0.11.0+jetpack. Patterns in them are not expanded.
 */
export function readTegra(observer: Observer): TegraFacts | null {
  const hasRelease = observer.lookAt(release) === 'file';
  if (!hasRelease && !/^tegra/i.test(observer.readFile('/sys/devices/soc0/family') ?? '')) return null;
  const names = observer.list(listDir).filter((name) => name.endsWith('.csv'));
  const ordered = [...names.filter(isBase), ...names.filter((name) => !isBase(name))];
  const seen = new Set<Bytes>();
  const lists = ordered.map((name): TegraList => {
    const { lines, unclear } = parseCsv(observer.readFile(`${listDir}/${name}`) ?? '');
    const entries: TegraEntry[] = [];
    for (const line of lines) {
      if (!seen.has(line.path)) entries.push(lookUp(observer, line));
      seen.add(line.path);
    }
    return { path: `${listDir}/${name}`, isBase: isBase(name), entries, unclear };
  });
  return { hasRelease, lists };
}

function isBase(name: Bytes): boolean {
  return ['devices.csv', 'drivers.csv', 'l4t.csv'].includes(name);
}

function lookUp(observer: Observer, { type, path }: CsvLine): TegraEntry {
  if (type === 'dev') return { type, path, access: observer.access(path) };
  if (type === 'sym') return { type, path, target: observer.readLink(path) };
  const kind = observer.lookAt(path);
  return { type, path, kind, soname: kind === 'file' ? readSoname(observer, path) : '' };
}

/** Most libraries here have no version in their names, and those have their names as sonames. */
function readSoname(observer: Observer, path: Bytes): Bytes {
  const name = posix.basename(path);
  if (!isLibrary(name)) return '';
  return (name.endsWith('.so') ? '' : observer.lookInside(path, readDynamic)?.soname) || name;
}

/** Lists call other files `lib`, too: settings, programs, plug-ins. */
function isLibrary(name: Bytes): boolean {
  return /^lib.+\.so(\.|$)/.test(name);
}

/**
 * The lines `TYPE, PATH` of a list; blanks around both do not count, nor do empty lines and those that begin with `#`. A path must be
 * absolute, without `..`, and below /dev for a device. unclear: the numbers, from 1, of all other lines.
 */
export function parseCsv(text: Bytes): { lines: CsvLine[]; unclear: number[] } {
  const lines: CsvLine[] = [];
  const unclear: number[] = [];
  for (const [index, whole] of text.split('\n').entries()) {
    // trim() would take a byte of some letters in UTF-8 for a blank.
    const line = whole.replace(/^[ \t\r]+|[ \t\r]+$/g, '');
    if (line === '' || line.startsWith('#')) continue;
    const [, type = '', path = ''] = /^(dev|dir|lib|sym)[ \t]*,[ \t]*(\/.+)$/.exec(line) ?? [];
    const isInside = /^\/+[^/]/.test(path) && !path.split('/').includes('..');
    if (isType(type) && isInside && (type !== 'dev' || path.startsWith('/dev/'))) lines.push({ type, path });
    else unclear.push(index + 1);
  }
  return { lines, unclear };
}

function isType(text: string): text is CsvLine['type'] {
  return ['dev', 'dir', 'lib', 'sym'].includes(text);
}

/**
 * Shows what a Jetson's lists name, at the same paths, with links as the host has them. They serve all boards, so what is not there is
 * only noted. `none` gives the files without the devices. isExplicit: the caller asked for the GPU, not only the image. allLists: not only
 * the system's, as images ask for with NVIDIA_REQUIRE_JETPACK=csv-mounts=all.
 *
 * @throws Failure for another GPU than 0, and for an explicit request where there are no lists.
 */
export function planTegra(
  devices: 'all' | 'none' | readonly Bytes[],
  facts: TegraFacts,
  isExplicit: boolean,
  allLists = false,
): Edits {
  const unknown = typeof devices === 'string' ? undefined : devices.find((id) => id !== '0');
  if (unknown !== undefined) {
    throw new Failure(`cannot choose the GPU ${unknown}: a Jetson has one, with index 0`, 'ask for all or 0');
  }
  const lists = facts.lists.filter((list) => list.isBase || allLists);
  if (lists.length === 0) {
    if (isExplicit) throw explainNoLists();
    return { ...noEdits, missing: [{ what: `${listDir}/*.csv`, follows: 'the GPU is not shown' }] };
  }
  const entries = lists.flatMap((list) => list.entries);
  const nodes = entries.flatMap((entry) => (entry.type === 'dev' && entry.access !== 'missing' ? [entry] : []));
  const paths = nodes.map(({ path }) => path);
  const libraries = entries.flatMap((entry) => ('soname' in entry && entry.soname !== '' ? [entry] : []));
  const links = planLinks(entries);
  const isDenied = devices !== 'none' && nodes.some(({ path, access }) => path === memoryDevice && access !== 'ok');
  return {
    ...noEdits,
    devices: devices === 'none' ? [] : paths,
    // All that is in /dev/nvgpu belongs to the GPU, and its subdirectories cannot be hidden in part.
    hidden: devices === 'none' ? [...new Set(paths.map((path) => path.replace(/^(\/dev\/nvgpu)\/.*/, '$1')))] : [],
    binds: planBinds(entries, facts.hasRelease),
    named: nameLibraries([...libraries, ...links.map(({ path }) => ({ path, soname: posix.basename(path) }))]),
    libraryDirs: [...new Set(libraries.map(({ path }) => posix.dirname(path)))],
    links,
    missing: listMissing(lists, facts.hasRelease),
    warnings: isDenied
      ? [`no permission to open ${memoryDevice}, and so no GPU: join its group (sudo usermod -aG video USER)`]
      : [],
  };
}

function explainNoLists(): Failure {
  return new Failure(
    `cannot show the Jetson's GPU: there is no list of its devices and libraries in ${listDir}`,
    'sudo apt install --reinstall -o Dpkg::Options::=--force-confmiss nvidia-l4t-init',
  );
}

function planBinds(entries: readonly TegraEntry[], hasRelease: boolean): Bind[] {
  const binds: Bind[] = hasRelease ? [{ source: release, target: release, kind: 'file' }] : [];
  for (const entry of entries) {
    if (entry.type === 'dev' || entry.type === 'sym' || entry.path === release) continue;
    const { path, kind } = entry;
    if (kind === 'file' || kind === 'dir') binds.push({ source: path, target: path, kind });
  }
  return binds;
}

/** As the lists say; and a library's soname beside it where they forget that, as ldconfig would make it. */
function planLinks(entries: readonly TegraEntry[]): Link[] {
  const links = new Map<Bytes, Bytes>();
  for (const entry of entries) if (entry.type === 'sym' && entry.target !== null) links.set(entry.path, entry.target);
  const listed = new Set(entries.filter(isThere).map(({ path }) => path));
  for (const entry of entries) {
    if (!('soname' in entry) || entry.soname === '') continue;
    const path = `${posix.dirname(entry.path)}/${entry.soname}`;
    if (!listed.has(path) && !links.has(path)) links.set(path, posix.basename(entry.path));
  }
  return [...links].map(([path, target]) => ({ path, target }));
}

/** Each name once, for the first that has it. */
function nameLibraries(found: readonly { readonly soname: Bytes; readonly path: Bytes }[]): NamedLibrary[] {
  const named = new Map<Bytes, Bytes>();
  for (const { soname, path } of found) if (isLibrary(soname) && !named.has(soname)) named.set(soname, path);
  return [...named].map(([soname, path]) => ({ soname, path, abi: '64' }));
}

function isThere(entry: TegraEntry): boolean {
  if (entry.type === 'dev') return entry.access !== 'missing';
  if (entry.type === 'sym') return entry.target !== null;
  return entry.kind === 'file' || entry.kind === 'dir';
}

function listMissing(lists: readonly TegraList[], hasRelease: boolean): Missing[] {
  const missing: Missing[] = [];
  if (!hasRelease) missing.push({ what: release, follows: 'programs cannot tell the version of Jetson Linux' });
  for (const { path: list, entries, unclear } of lists) {
    for (const entry of entries) {
      if (isThere(entry)) continue;
      missing.push({ what: entry.path, follows: 'only programs that need it; the lists name more than a board has' });
    }
    for (const line of unclear) {
      missing.push({ what: `${list}:${line}`, follows: 'the line is not understood, so what it names is not shown' });
    }
  }
  return missing;
}
