// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { Bytes } from '../../src/format/bytes.ts';
import type { Observer } from '../observer.ts';
import { readDynamic } from './elf-dynamic.ts';
import { ownVersions } from './nvidia-tables.ts';

/** One library of the driver. */
export interface HostLibrary {
  readonly path: Bytes;
  /** Without `lib` and what follows `.so`: `nvidia-ml`. */
  readonly stem: string;
  /** What follows `.so.`: of most the driver's version. */
  readonly version: string;
  readonly soname: Bytes;
  /** Other names that it has in its directory, as symlinks: `libcuda.so`. */
  readonly links: readonly Bytes[];
  readonly abi: Abi;
  /** `vdpau`, or ''. */
  readonly subdir: Bytes;
  /** The newest GLIBC_ symbol version that it needs; '' for none, or when it was not looked at. */
  readonly needsGlibc: string;
}

type Abi = '64' | '32';

/** What is known before a directory is read: abi null where each library must tell its own. */
interface Place {
  readonly dir: Bytes;
  readonly abi: Abi | null;
}

/** e_machine of elf(5). */
const machines: Readonly<Record<string, Readonly<Partial<Record<Abi, number>>>>> = {
  x86_64: { '64': 62, '32': 3 },
  aarch64: { '64': 183 },
};

/** The names of a driver's own libraries of whatever version, after `lib`. A regular expression. */
const anyVersion = `(?:cuda|nvidia-ml)\\.so\\.\\d+\\.\\d+(?:\\.\\d+)?|${ownVersions}`;

/** What symlinks to a library end with after `.so`. */
const suffixes = ['', '.0', '.1', '.2', '.3', '.4', '.5', '.6', '.7', '.8', '.9'];

/** The two libraries that every driver has. */
const everywhere = ['libcuda.so.1', 'libnvidia-ml.so.1'];

/** Where drivers are installed; looked through where the loader's cache names none. */
function usualDirs(machine: string): Bytes[] {
  const triplet = `${machine}-linux-gnu`;
  const multiarch = [`/usr/lib/${triplet}`, `/usr/lib/${triplet}/nvidia/current`, `/usr/lib/${triplet}/nvidia`];
  const i386 =
    machine === 'x86_64' ? ['/usr/lib/i386-linux-gnu', '/usr/lib/i386-linux-gnu/nvidia/current', '/usr/lib32'] : [];
  const others = ['/usr/lib64', '/usr/lib64/nvidia', '/usr/lib', '/usr/local/nvidia/lib64', '/run/opengl-driver/lib'];
  return [...multiarch, ...others, ...i386, '/lib64', `/lib/${triplet}`];
}

/**
 * The libraries of the driver with this version (that of the kernel module, or '' for whichever is there). The loader's cache names their directories; where
 * it does not, the usual ones are looked through. Libraries of another version are found too when there are none of the right one: the caller tells them
 * apart. needs: read from each which glibc it needs, which a start on a recent image can spare.
 */
export function findDriverLibraries(
  observer: Observer,
  version: string,
  machine: string,
  needs: boolean,
): HostLibrary[] {
  const read = (places: readonly Place[], wanted: string) => readPlaces(observer, places, wanted, machine, needs);
  const cached = findCached(observer, machine);
  const found = read(cached, version);
  if (found.some(({ stem }) => stem === 'cuda' || stem === 'nvidia-ml')) return found;
  const usual = usualDirs(machine).map((dir) => ({ dir, abi: null }));
  const others = read(usual, version);
  return others.length > 0 || version === '' ? others : read([...cached, ...usual], '');
}

/**
 * The directories where the loader's cache has the libraries that every driver has, and those where symlinks there lead. The paths are looked
 * for as text: whatever the format, each lies between two NUL bytes.
 */
function findCached(observer: Observer, machine: string): Place[] {
  const cache = observer.readFile('/etc/ld.so.cache') ?? '';
  const places = new Map<Bytes, Place>();
  for (const name of everywhere) {
    const end = `/${name}\0`;
    for (let at = cache.indexOf(end); at >= 0; at = cache.indexOf(end, at + 1)) {
      const path = `${cache.slice(cache.lastIndexOf('\0', at) + 1, at)}/${name}`;
      if (places.has(posix.dirname(path))) continue;
      const abi = observer.lookInside(path, (readAt) => readAbi(readAt(0, 20), machine));
      const real = observer.realPath(path);
      if (abi === null || real === null) continue;
      for (const dir of [posix.dirname(real), posix.dirname(path)]) {
        if (!dir.startsWith('/usr/lib/wsl/')) places.set(dir, { dir, abi });
      }
    }
  }
  return [...places.values()];
}

/** For which programs of this machine a library is, by the first bytes of its header (elf(5)); null for none. */
function readAbi(header: Buffer, machine: string): Abi | null {
  if (header.length < 20 || header.toString('latin1', 0, 4) !== '\x7fELF') return null;
  const abi = header[4] === 2 ? '64' : '32';
  return machines[machine]?.[abi] === header.readUInt16LE(18) ? abi : null;
}

function readPlaces(
  observer: Observer,
  places: readonly Place[],
  version: string,
  machine: string,
  needs: boolean,
): HostLibrary[] {
  const found = new Map<Bytes, HostLibrary>();
  const seen = new Set<Bytes>();
  for (const { dir, abi } of places) {
    // Where /lib64 is a link to /usr/lib64, once is enough.
    const real = observer.realPath(dir);
    if (real === null || seen.has(real)) continue;
    seen.add(real);
    for (const subdir of ['', 'vdpau']) {
      for (const library of readDir(observer, { dir: real, abi }, subdir, version, machine, needs)) {
        const key = `${library.abi} ${library.subdir}/${posix.basename(library.path)}`;
        if (!found.has(key)) found.set(key, library);
      }
    }
  }
  return [...found.values()];
}

function readDir(
  observer: Observer,
  { dir: root, abi: known }: Place,
  subdir: Bytes,
  version: string,
  machine: string,
  needs: boolean,
): HostLibrary[] {
  const dir = subdir === '' ? root : `${root}/${subdir}`;
  // The names as one text, which V8 searches faster than code that runs once goes through thousands of them.
  const listed = observer.listUnsorted(dir);
  const text = `${listed.join('\n')}\n`;
  const names =
    version === '' ? matchNames(text, anyVersion) : [...findNames(text, version), ...matchNames(text, ownVersions)];
  const all = new Set(names.length > 0 ? listed : []);
  const found: HostLibrary[] = [];
  for (const name of names) {
    const at = name.indexOf('.so.');
    const [base, stem, ownVersion] = [name.slice(0, at + 3), name.slice(3, at), name.slice(at + 4)];
    const others = suffixes.map((suffix) => base + suffix).filter((link) => all.has(link));
    // ldconfig makes a link of the soname; a library whose soname is its whole name needs none.
    const linked = others.findLast((link) => /\.so\.\d+$/.test(link)) ?? name;
    const path = `${dir}/${name}`;
    const facts = known === null || needs || linked === name ? observer.lookInside(path, readDynamic) : undefined;
    if (facts === null || (facts && machines[machine]?.[facts.abi] !== facts.machine)) continue;
    const soname = facts ? facts.soname : linked;
    const abi = facts?.abi ?? known ?? '64';
    const further = others.filter((link) => link !== soname && link !== name);
    found.push({
      path,
      stem,
      version: ownVersion,
      soname,
      links: further,
      abi,
      subdir,
      needsGlibc: facts?.needsGlibc ?? '',
    });
  }
  return found.sort((one, other) => (one.path < other.path ? -1 : 1));
}

/** The names that end with `.so.VERSION`. */
function findNames(text: Bytes, version: string): Bytes[] {
  const names: Bytes[] = [];
  const end = `.so.${version}\n`;
  for (let at = text.indexOf(end); at >= 0; at = text.indexOf(end, at + 1)) {
    const name = text.slice(text.lastIndexOf('\n', at) + 1, at + end.length - 1);
    if (name.startsWith('lib')) names.push(name);
  }
  return names;
}

function matchNames(text: Bytes, pattern: string): Bytes[] {
  return text.match(new RegExp(`^lib(?:${pattern})$`, 'gm')) ?? [];
}
