// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { Bytes } from '../../src/format/bytes.ts';
import { Failure } from '../failure.ts';
import { byPathLinks } from './drm.ts';
import { type Bind, type DriverLibrary, type Edits, type Missing, noEdits } from './edits.ts';
import type { MigCapability, NvidiaFacts, NvidiaGpu } from './nvidia-facts.ts';
import { planProc } from './nvidia-proc.ts';
import type { NvidiaRequest } from './nvidia-request.ts';
import {
  type Capability,
  fixedLinks,
  graphicsFiles,
  isWanted,
  mandatory,
  openclFile,
  programs,
  sockets,
} from './nvidia-tables.ts';

/** What NVIDIA's GPUs add to a container. chosen: those of facts.gpus that it gets; migs: parts of them. compat: names in the image's /usr/local/cuda/compat. */
export function planNvidia(
  request: NvidiaRequest,
  facts: NvidiaFacts,
  chosen: readonly NvidiaGpu[],
  migs: readonly MigCapability[],
  compat: readonly string[],
): Edits {
  const wanted = request.capabilities;
  const others = facts.gpus.filter((gpu) => !chosen.includes(gpu));
  const isAll = request.devices === 'all';
  const migNode = ({ capMinor }: MigCapability) => `/dev/nvidia-caps/nvidia-cap${capMinor}`;
  const graphics = wanted.has('graphics') || wanted.has('display');
  const drm = graphics ? chosen.flatMap((gpu) => gpu.drm) : [];
  const libraries = planLibraries(request, facts);
  const shown = chosen.map(({ minor }) => `/dev/nvidia${minor}`);
  const forward = planForwardCompatibility(facts.moduleVersion, compat);
  const replaced = new Set(forward.map(({ soname }) => soname));
  return {
    ...noEdits,
    binds: [
      ...planPrograms(request, facts),
      ...planFiles(request, facts, graphics),
      ...planProc(facts, chosen, migs, request, isAll && others.length === 0),
    ],
    devices: [...planCommonDevices(request, facts), ...shown, ...migs.map(migNode), ...drm],
    hidden: [
      // Also those of GPUs that the driver leaves out.
      ...Object.keys(facts.nodes).filter((path) => /^\/dev\/nvidia\d+$/.test(path) && !shown.includes(path)),
      ...others.flatMap(({ drm: nodes }) => nodes),
      ...facts.mig.filter((one) => !migs.includes(one)).map(migNode),
      ...planHiddenChannels(request, facts),
    ],
    libraries: libraries.map((library) =>
      replaced.has(library.soname) ? { ...library, soname: '', links: [] } : library,
    ),
    named: forward,
    masks: facts.proc.version === '' ? [] : ['/proc/driver/nvidia'],
    files: facts.proc.version === '' ? [] : procFiles(facts),
    links: graphics ? chosen.flatMap(({ busId, drm: nodes }) => byPathLinks(busId, nodes)) : [],
    missing: listMissing(request, facts),
  };
}

/**
 * The files of /proc/driver/nvidia that every container has its own copies of. ModifyDeviceFiles tells the driver's libraries to make
 * device nodes, which cannot succeed here (nvidia-modprobe; nvidia-container-toolkit disables it in the same way).
 */
function procFiles({ proc }: NvidiaFacts): Edits['files'] {
  const params = proc.params.replace(/^(ModifyDeviceFiles:[ \t]*)1[ \t]*$/m, '$10');
  return [
    { path: '/proc/driver/nvidia/params', mode: 0o444, data: params },
    { path: '/proc/driver/nvidia/version', mode: 0o444, data: proc.version },
    { path: '/proc/driver/nvidia/registry', mode: 0o444, data: proc.registry },
  ].filter(({ data }) => data !== '');
}

/** Throws Failure where a library is not there without which nothing works. */
function planLibraries(
  { capabilities: wanted, devices }: NvidiaRequest,
  { libraries, moduleVersion }: NvidiaFacts,
): DriverLibrary[] {
  for (const [capability, stem] of Object.entries(mandatory)) {
    // Without a GPU nothing of a driver is needed.
    if (devices === 'none' || !wanted.has(capability as Capability)) continue;
    const found = libraries.filter((library) => library.stem === stem && library.abi === '64');
    if (moduleVersion === '' ? found.length > 0 : found.some(({ version }) => version === moduleVersion)) continue;
    const other = found[0]?.version;
    if (other !== undefined) {
      throw new Failure(
        `the NVIDIA driver's kernel module is version ${moduleVersion} and its libraries are version ${other}`,
        'the driver was updated and its old module is still loaded: reboot, or stop what uses the GPU and run "sudo modprobe -r nvidia_drm nvidia_modeset nvidia_uvm nvidia && sudo modprobe nvidia"',
      );
    }
    throw new Failure(
      `lib${stem}.so.${moduleVersion} of the NVIDIA driver is nowhere on this host, though its kernel module is`,
      `install the driver's libraries of version ${moduleVersion} (Debian and Ubuntu: libnvidia-compute-${moduleVersion.split('.')[0]}), or run "sudo ldconfig" if they lie in a directory of their own`,
    );
  }
  return libraries
    .filter(
      ({ stem, abi, version }) =>
        (moduleVersion === '' || devices !== 'none' || version === moduleVersion) &&
        isWanted(stem, wanted) &&
        (abi === '64' || wanted.has('compat32')),
    )
    .map(({ path, soname, links, abi, subdir, needsGlibc, stem, version }) => {
      const fixed = fixedLinks.filter((link) => link.stem === stem && link.path === posix.basename(link.path));
      const names = fixed
        .filter(({ target }) => target.replace('VERSION', version) === soname)
        .map((link) => link.path);
      return { source: path, soname, links: [...new Set([...links, ...names])], abi, subdir, needsGlibc };
    });
}

/**
 * Libraries of a newer CUDA in the image, for a kernel module that is older: used when their driver's major version is greater than the
 * module's (NVIDIA's CUDA compatibility; libnvidia-container, nvc_mount.c). More than one version there is none that can be chosen.
 */
export function planForwardCompatibility(moduleVersion: string, compat: readonly string[]): Edits['named'] {
  const versions = compat.flatMap((name) => /^libcuda\.so\.(\d+)\.\d+(?:\.\d+)?$/.exec(name)?.[1] ?? []);
  const [major, ...more] = versions.map(Number);
  const own = Number.parseInt(moduleVersion, 10);
  if (major === undefined || more.length > 0 || !(major > own)) return [];
  return compat
    .filter((name) => /^lib[\w.+-]+?\.so\.\d+$/.test(name))
    .map((soname) => ({ soname, path: `/usr/local/cuda/compat/${soname}`, abi: '64' as const }));
}

function planPrograms({ capabilities: wanted }: NvidiaRequest, facts: NvidiaFacts): Bind[] {
  return programs.flatMap(({ name, capability }): Bind[] => {
    const source = facts.programs[name];
    if (source === undefined || !wanted.has(capability)) return [];
    return [{ source, target: `/usr/bin/${name}`, kind: 'program' }];
  });
}

function planFiles(request: NvidiaRequest, { files }: NvidiaFacts, graphics: boolean): Bind[] {
  const wanted = request.capabilities;
  const bind = (target: Bytes, kind: Bind['kind']): Bind[] => {
    const source = files[target];
    return source === undefined ? [] : [{ source, target, kind }];
  };
  return [
    ...sockets.filter(({ capability }) => wanted.has(capability)).flatMap(({ path }) => bind(path, 'socket')),
    ...(wanted.has('compute') ? [...planMps(request, files), ...bind(openclFile, 'file')] : []),
    ...(graphics
      ? Object.entries(graphicsFiles).flatMap(([root, names]) =>
          names.flatMap((name) => bind(`${root}/${name}`, 'file')),
        )
      : []),
  ];
}

/** The directory of the MPS daemon's pipes, through which its clients talk to it. */
function planMps({ mpsPipe }: NvidiaRequest, files: NvidiaFacts['files']): Bind[] {
  if (files[mpsPipe] === undefined) return [];
  return [{ source: mpsPipe, target: mpsPipe, kind: 'dir', flags: ['nosuid', 'nodev', 'noexec'] }];
}

/** Nodes that belong to no single GPU. Throws Failure where one is missing or refused without which nothing works. */
function planCommonDevices(request: NvidiaRequest, { nodes }: NvidiaFacts): Bytes[] {
  const { capabilities: wanted, flags, imexChannels } = request;
  const compute = wanted.has('compute') || wanted.has('video');
  const named = [
    '/dev/nvidiactl',
    ...(compute ? ['/dev/nvidia-uvm', '/dev/nvidia-uvm-tools', '/dev/gdrdrv'] : []),
    ...(wanted.has('display') || wanted.has('graphics') ? ['/dev/nvidia-modeset'] : []),
    ...imexChannels.map((channel) => `/dev/nvidia-caps-imex-channels/channel${channel}`),
  ];
  const patterns = [
    ...(compute && imexChannels.length === 0 ? [/^\/dev\/nvidia-caps-imex-channels\//] : []),
    ...(flags.gds ? [/^\/dev\/nvidia-fs\d+$/] : []),
    ...(flags.nvswitch ? [/^\/dev\/nvidia-nvswitch/] : []),
  ];
  const found = Object.keys(nodes);
  const channel = imexChannels.find((one) => nodes[`/dev/nvidia-caps-imex-channels/channel${one}`] === undefined);
  if (channel !== undefined) {
    throw new Failure(
      `NVIDIA_IMEX_CHANNELS: this host has no channel ${channel}`,
      `those that it has: ${found.flatMap((path) => /channel(\d+)$/.exec(path)?.[1] ?? []).join(', ') || 'none; the administrator makes them: sudo nvidia-modprobe -s -i 0'}`,
    );
  }
  return [
    ...named.filter((path) => nodes[path] !== undefined),
    ...found.filter((path) => patterns.some((one) => one.test(path))),
  ];
}

/** Where the user named channels, no others are shown. */
function planHiddenChannels({ imexChannels }: NvidiaRequest, { nodes }: NvidiaFacts): Bytes[] {
  if (imexChannels.length === 0) return [];
  const shown = imexChannels.map((channel) => `/dev/nvidia-caps-imex-channels/channel${channel}`);
  return Object.keys(nodes).filter(
    (path) => path.startsWith('/dev/nvidia-caps-imex-channels/') && !shown.includes(path),
  );
}

/** What else of the driver this host lacks, for --verify; nothing fails for want of it. */
function listMissing({ capabilities: wanted }: NvidiaRequest, facts: NvidiaFacts): Missing[] {
  const missing: Missing[] = [];
  const has = (stem: string) => facts.libraries.some((library) => library.stem === stem);
  const need = (stem: string, capability: Capability, follows: string) => {
    if (wanted.has(capability) && !has(stem)) missing.push({ what: `lib${stem}.so`, follows });
  };
  need('nvidia-ptxjitcompiler', 'compute', 'kernels that come as PTX cannot be compiled');
  need('nvidia-nvvm', 'compute', 'programs that compile NVVM code by the driver fail');
  need('nvidia-opencl', 'compute', 'no OpenCL');
  need('nvidia-encode', 'video', 'no video encoding');
  need('nvcuvid', 'video', 'no video decoding');
  need('GLX_nvidia', 'graphics', 'no OpenGL');
  if (wanted.has('utility') && facts.programs['nvidia-smi'] === undefined)
    missing.push({ what: 'nvidia-smi', follows: 'it is not in the container either' });
  for (const { path, capability } of sockets) {
    const isFabric = path.includes('fabricmanager');
    if (wanted.has(capability) && facts.files[path] === undefined && !isFabric)
      missing.push({ what: path, follows: 'the daemon does not run; the first use of a GPU may take a second more' });
  }
  return missing;
}
