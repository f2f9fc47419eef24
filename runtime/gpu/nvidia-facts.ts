// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { Access, Entry, Observer } from '../observer.ts';
import { findDrm } from './drm.ts';
import { findDriverLibraries, type HostLibrary } from './nvidia-libraries.ts';
import { configRoots, driverProc, graphicsFiles, openclFile, programDirs, programs, sockets } from './nvidia-tables.ts';

/** What of NVIDIA's driver is on the host; plain data. */
export interface NvidiaFacts {
  /** Of the kernel module that is loaded: `580.95.05`; '' when none is. */
  readonly moduleVersion: string;
  /** Files of /proc/driver/nvidia that every container gets; '' where one is missing. */
  readonly proc: { readonly params: Bytes; readonly version: Bytes; readonly registry: Bytes };
  /** In the order of their bus ids, which is that of nvidia-smi's indexes. */
  readonly gpus: readonly NvidiaGpu[];
  readonly mig: readonly MigCapability[];
  /** The minor numbers of /proc/driver/nvidia/capabilities/mig/{config,monitor}; null without them. */
  readonly migAdmin: { readonly config: number | null; readonly monitor: number | null };
  /** Nodes below /dev that are the driver's, and whether the caller may use them. */
  readonly nodes: Readonly<Record<Bytes, Access>>;
  readonly libraries: readonly HostLibrary[];
  /** Paths by the name of the program: nvidia-smi, nvidia-modprobe and others. */
  readonly programs: Readonly<Record<string, Bytes>>;
  /** Those of the known sockets and configuration files that are there: where in the container, where on the host. */
  readonly files: Readonly<Record<Bytes, Bytes>>;
}

export interface NvidiaGpu {
  /** As /proc has it: `0000:65:00.0`. */
  readonly busId: string;
  readonly minor: number;
  /** '' while the driver hides it, which it does until the GPU was used. */
  readonly uuid: string;
  readonly model: Bytes;
  /** /dev/dri nodes. */
  readonly drm: readonly Bytes[];
}

/** A part of a GPU with MIG: gi alone is a GPU instance, with ci one of its compute instances. */
export interface MigCapability {
  /** The GPU's minor number. */
  readonly gpu: number;
  readonly gi: number;
  readonly ci: number | null;
  /** /dev/nvidia-caps/nvidia-cap<M>. */
  readonly capMinor: number;
}

export interface NvidiaLookOptions {
  /** The directory of the MPS daemon. */
  readonly mpsPipe: Bytes;
  /** The names in /dev. */
  readonly listDev: () => readonly Entry[];
  /** Of findDriverLibraries. */
  readonly needs: boolean;
  /** Look for the files of graphics, too. */
  readonly graphics: boolean;
}

/** Looks for NVIDIA's driver. null, after two lookups, on a host without. */
export function readNvidia(observer: Observer, machine: string, options: NvidiaLookOptions): NvidiaFacts | null {
  const version = observer.readFile(`${driverProc}/version`);
  if (version === null && observer.lookAt('/dev/nvidiactl') === 'missing') return null;
  const module = observer.readFile('/sys/module/nvidia/version')?.trim() ?? '';
  const moduleVersion = module || readModuleVersion(version ?? '');
  return {
    moduleVersion,
    proc: {
      version: version ?? '',
      params: observer.readFile(`${driverProc}/params`) ?? '',
      registry: observer.readFile(`${driverProc}/registry`) ?? '',
    },
    gpus: readGpus(observer),
    ...readMig(observer),
    nodes: readNodes(observer, options.listDev()),
    libraries: findDriverLibraries(observer, moduleVersion, machine, options.needs),
    programs: findPrograms(observer),
    files: findFiles(observer, options),
  };
}

/** `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue ..`; of the open modules `.. Kernel Module for x86_64  550.54.15 ..`. */
export function readModuleVersion(text: Bytes): string {
  return /Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s/.exec(text)?.[1] ?? '';
}

function readGpus(observer: Observer): NvidiaGpu[] {
  return observer.list(`${driverProc}/gpus`).flatMap((busId): NvidiaGpu[] => {
    const text = observer.readFile(`${driverProc}/gpus/${busId}/information`) ?? '';
    const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*?)[ \\t]*$`, 'm').exec(text)?.[1] ?? '';
    const minor = field('Device Minor');
    if (!/^\d+$/.test(minor) || field('GPU Excluded') === 'Yes') return [];
    const uuid = field('GPU UUID');
    return [
      {
        busId,
        minor: Number(minor),
        uuid: uuid.includes('?') ? '' : uuid,
        model: field('Model'),
        drm: findDrm(observer, busId),
      },
    ];
  });
}

/** The driver tells the device file of each part in a file `access`, as `DeviceFileMinor: 21`. */
function readMig(observer: Observer): Pick<NvidiaFacts, 'mig' | 'migAdmin'> {
  const root = `${driverProc}/capabilities`;
  const minorOf = (path: Bytes) => {
    const minor = /^DeviceFileMinor:[ \t]*(\d+)/m.exec(observer.readFile(path) ?? '')?.[1];
    return minor === undefined ? null : Number(minor);
  };
  const mig: MigCapability[] = [];
  for (const gpuName of observer.list(root)) {
    const gpu = numberAfter('gpu', gpuName);
    if (gpu === null) continue;
    for (const giName of observer.list(`${root}/${gpuName}/mig`)) {
      const gi = numberAfter('gi', giName);
      if (gi === null) continue;
      const dir = `${root}/${gpuName}/mig/${giName}`;
      const own = minorOf(`${dir}/access`);
      if (own !== null) mig.push({ gpu, gi, ci: null, capMinor: own });
      for (const ciName of observer.list(dir)) {
        const ci = numberAfter('ci', ciName);
        const capMinor = ci === null ? null : minorOf(`${dir}/${ciName}/access`);
        if (ci !== null && capMinor !== null) mig.push({ gpu, gi, ci, capMinor });
      }
    }
  }
  return { mig, migAdmin: { config: minorOf(`${root}/mig/config`), monitor: minorOf(`${root}/mig/monitor`) } };
}

function numberAfter(prefix: string, name: Bytes): number | null {
  const digits = name.startsWith(prefix) ? name.slice(prefix.length) : '';
  return /^\d{1,6}$/.test(digits) ? Number(digits) : null;
}

function readNodes(observer: Observer, listed: readonly Entry[]): Record<Bytes, Access> {
  const nodes: Record<Bytes, Access> = Object.create(null);
  const look = (path: Bytes) => {
    nodes[path] = observer.access(path);
  };
  for (const { name, kind } of listed) {
    if (kind === 'node' && (/^nvidia/.test(name) || name === 'gdrdrv')) look(`/dev/${name}`);
    if (kind === 'dir' && (name === 'nvidia-caps' || name === 'nvidia-caps-imex-channels')) {
      for (const below of observer.list(`/dev/${name}`)) look(`/dev/${name}/${below}`);
    }
  }
  return nodes;
}

function findPrograms(observer: Observer): Record<string, Bytes> {
  const found: Record<string, Bytes> = Object.create(null);
  const dirs = programDirs.filter((dir) => observer.lookAt(dir) === 'dir');
  for (const name of [...programs.map((program) => program.name), 'nvidia-modprobe']) {
    const path = dirs.map((dir) => `${dir}/${name}`).find((candidate) => observer.lookAt(candidate) === 'file');
    if (path !== undefined) found[name] = path;
  }
  return found;
}

function findFiles(observer: Observer, { mpsPipe, graphics }: NvidiaLookOptions): Record<Bytes, Bytes> {
  const found: Record<Bytes, Bytes> = Object.create(null);
  const look = (target: Bytes, sources: readonly Bytes[]) => {
    const source = sources.find((path) => observer.lookAt(path) !== 'missing');
    if (source !== undefined) found[target] = source;
  };
  for (const { path } of sockets) look(path, [path]);
  // The daemon's pipe: not any directory that somebody has named.
  if (observer.lookAt(`${mpsPipe}/control`) === 'file') found[mpsPipe] = mpsPipe;
  look(openclFile, [openclFile]);
  for (const [root, names] of graphics ? Object.entries(graphicsFiles) : []) {
    for (const name of names)
      look(
        `${root}/${name}`,
        [root, ...configRoots].map((dir) => `${dir}/${name}`),
      );
  }
  return found;
}
