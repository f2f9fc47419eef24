// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import { Failure } from '../failure.ts';
import type { Access, Observer } from '../observer.ts';
import { type Edits, type Missing, type NamedLibrary, noEdits } from './edits.ts';

/** The GPUs of Windows, as WSL 2 shows them to Linux; plain data. */
export interface WslFacts {
  /** May the caller use /dev/dxg, the one device for all GPUs? */
  readonly access: Access;
  /** Directories that Windows unpacked NVIDIA's driver into: most often one, and more for a while after an update. */
  readonly stores: readonly Bytes[];
  /** By the name a program loads it under; of the same name in several directories, the one that the loader takes. */
  readonly libraries: readonly NamedLibrary[];
  /** The path of nvidia-smi; '' without it. */
  readonly smi: Bytes;
  /** What no program can use an NVIDIA GPU without: the files that are not there. Empty on a machine that is set up. */
  readonly lacking: readonly Bytes[];
}

const device = '/dev/dxg';
const libraryDir = '/usr/lib/wsl/lib';
const storeRoot = '/usr/lib/wsl/drivers';

/**
 * Looks for the GPUs of WSL 2; null, after one lookup, on any other host. Windows mounts /usr/lib/wsl: its lib has the interface to Windows
 * (libdxcore) and small libraries that load the driver proper from the driver store. Which directory of the store that is only libdxcore
 * knows, which would have to be loaded; a directory is taken for it when it has the name of one of NVIDIA's packages and libcuda.so.1.1
 * (nvidia-container-toolkit, pkg/nvcdi/driver-wsl.go; libnvidia-container, src/dxcore.c).
 */
export function readWsl(observer: Observer): WslFacts | null {
  const access = observer.access(device);
  if (access === 'missing') return null;
  const places = new Map([[libraryDir, observer.list(libraryDir)]]);
  for (const name of observer.list(storeRoot)) {
    if (!/^nv.*\.inf_[a-z0-9]+_/.test(name)) continue;
    const names = observer.list(`${storeRoot}/${name}`);
    if (names.includes('libcuda.so.1.1')) places.set(`${storeRoot}/${name}`, names);
  }
  const stores = [...places.keys()].slice(1);
  const libraries = nameLibraries(places);
  const smiDir = [...places].find(([, names]) => names.includes('nvidia-smi'))?.[0];
  const has = (soname: Bytes) => libraries.some((library) => library.soname === soname);
  const needed = ['libdxcore.so', 'libcuda.so.1'].filter((soname) => !has(soname));
  return {
    access,
    stores,
    libraries,
    smi: smiDir === undefined ? '' : `${smiDir}/nvidia-smi`,
    lacking: needed.map((soname) => `${libraryDir}/${soname}`),
  };
}

/**
 * The libraries by name. File names are taken for sonames: Windows has no symlinks here, so each soname is a file of that name. Only the
 * driver's libcuda.so.1.1 has another one, which counts where the first directory has no libcuda.so.1.
 */
function nameLibraries(places: ReadonlyMap<Bytes, readonly Bytes[]>): NamedLibrary[] {
  const named = new Map<Bytes, Bytes>();
  for (const [dir, names] of places) {
    for (const name of names) if (isLibrary(name) && !named.has(name)) named.set(name, `${dir}/${name}`);
  }
  const driver = named.get('libcuda.so.1.1');
  if (driver !== undefined && !named.has('libcuda.so.1')) named.set('libcuda.so.1', driver);
  return [...named].map(([soname, path]) => ({ soname, path, abi: '64' }));
}

function isLibrary(name: Bytes): boolean {
  return /^lib.+\.so(\.\d+)*$/.test(name);
}

/**
 * Shows the GPUs of WSL 2: the device, and the directories of Windows at their own paths, since libdxcore gives absolute ones. /proc needs
 * nothing. `none` gives the driver without the device, as NVIDIA_VISIBLE_DEVICES=none does elsewhere.
 *
 * @throws Failure for a choice of GPUs, which one device cannot offer, and for `all` where the driver is missing (`facts.lacking`).
 */
export function planWsl(devices: 'all' | 'none' | readonly Bytes[], facts: WslFacts): Edits {
  if (typeof devices !== 'string') {
    throw new Failure(
      `cannot choose the GPU ${devices.join(',')}: WSL has one device, ${device}, for all GPUs`,
      'ask for all, and choose in the program: CUDA_VISIBLE_DEVICES=N',
    );
  }
  const isAll = devices === 'all';
  if (isAll && facts.lacking.length > 0) throw explainLacking(facts.lacking);
  const dirs = [libraryDir, ...facts.stores];
  const isDenied = isAll && facts.access !== 'ok';
  return {
    ...noEdits,
    devices: isAll ? [device] : [],
    hidden: isAll ? [] : [device],
    binds: dirs.map((dir) => ({ source: dir, target: dir, kind: 'dir' })),
    named: facts.libraries,
    libraryDirs: dirs,
    links: facts.smi === '' ? [] : [{ path: '/usr/bin/nvidia-smi', target: facts.smi }],
    missing: listMissing(facts),
    warnings: isDenied ? [`no permission to open ${device}, and so no GPU: sudo chmod a+rw ${device}`] : [],
  };
}

function explainLacking(lacking: readonly Bytes[]): Failure {
  return new Failure(
    `WSL shows no NVIDIA driver: ${lacking.join(' and ')} ${lacking.length > 1 ? 'do' : 'does'} not exist`,
    "install NVIDIA's driver in Windows (none in Linux), then in PowerShell: wsl --update; wsl --shutdown",
  );
}

function listMissing(facts: WslFacts): Missing[] {
  const missing: Missing[] = facts.lacking.map((what) => ({ what, follows: 'GPU programs do not start' }));
  if (facts.stores.length === 0) {
    missing.push({ what: `${storeRoot}/nv*/libcuda.so.1.1`, follows: 'CUDA finds no driver' });
  }
  if (facts.smi === '') missing.push({ what: 'nvidia-smi', follows: 'GPUs cannot be listed' });
  return missing;
}
