// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { Op } from '../../src/format/plan.ts';
import { noDevices } from '../device-gate.ts';
import { Failure } from '../failure.ts';
import { isBind } from '../fstab.ts';
import type { LaunchInput } from '../launch-input.ts';
import { collectMounts } from '../mounts.ts';
import { printable } from '../options.ts';
import type { Rung } from '../rungs.ts';
import { planAmd } from './amd.ts';
import { applyEdits } from './apply.ts';
import { type Asked, asksForDevices, readAsked } from './asked.ts';
import { planCdi } from './cdi-plan.ts';
import type { DeviceFacts } from './collect.ts';
import type { Asking, DevicePlan, DeviceRoot } from './device-plan.ts';
import { combine, type Edits, noEdits } from './edits.ts';
import { infinibandDevices, planInfiniband } from './infiniband.ts';
import { planIntel } from './intel.ts';
import { planNvidiaLaunch } from './nvidia-launch.ts';
import { planTegra } from './tegra.ts';
import { planWsl } from './wsl.ts';

/**
 * Plans GPUs and HCAs for a launch whose environment is `environ`, or asks the launcher first. root: `served` for one in which our entries may
 * replace what the image has, `kept` for a directory that stays. Throws Failure when a device was asked for and cannot be had.
 */
export function planDevices(
  input: LaunchInput,
  environ: ReadonlyMap<string, Bytes>,
  root: DeviceRoot,
  rung: Rung,
  own = environ,
): DevicePlan | Asking {
  const facts = input.host.devices;
  if (facts === null) return noDevices;
  const asked = readAsked(input, environ);
  if (!asksForDevices(asked)) return noDevices;
  if (rung === 'chroot') return planForChroot(input, asked);
  const parts = planVendors(input, asked, facts);
  if ('ask' in parts) return parts;
  const edits = rung === 'proot' ? withoutMasks(combine(parts)) : combine(parts);
  const { settings, manifest, request } = input;
  const applied = applyEdits(edits, {
    rootfs: manifest.rootfs,
    machine: request.machine,
    cwd: request.cwd,
    root,
    isWritten: settings.rw,
    isPlain: rung === 'proot',
    isRoot: request.euid === 0,
    hasOwnDev:
      !collectMounts(input).some(({ entry }) => isBind(entry) && entry.target === '/dev' && entry.source === '/dev') ||
      (settings.hooks.includes('10-devices') && (settings.restrictDev || settings.unshare.ipc)),
    dev: facts.dev,
    environ: own,
  });
  return {
    shown: applied.shown,
    environ: applied.environ,
    edits: { asked: edits, applied },
    ops: [...applied.warnings.flatMap((text) => warn(input, text)), ...applied.ops],
  };
}

/** Each vendor's part; the errors of one that the user did not ask for himself become warnings. */
function planVendors(input: LaunchInput, asked: Asked, facts: DeviceFacts): Edits[] | Asking {
  const { nvidia: request, gpus } = asked;
  const platform = findPlatform(facts, asked.insists);
  const parts: Edits[] = [];
  if (request.cdi.length > 0)
    parts.push(planCdi(request.cdi, facts.cdi, input.request.groups, input.manifest.rootfs?.loader?.compat));
  if (asked.trouble !== null && platform !== null) throw asked.trouble;
  if (request.devices !== 'void') {
    const part = platform === null ? planWithoutNvidia(asked, facts) : planPlatform(input, asked, facts);
    if ('ask' in part) return part;
    parts.push(part);
  }
  // A list of indexes means NVIDIA's GPUs where there are any; all and none mean everybody's.
  const isList = Array.isArray(request.devices);
  const others = gpus === null || (isList && platform !== null) ? 'void' : request.devices;
  const amd = asked.amd !== '' && gpus === null ? readList(asked.amd) : others;
  if (Array.isArray(amd) && facts.amd === null && others === 'void') {
    throw new Failure(
      `AMD_VISIBLE_DEVICES=${printable(asked.amd)}: this host has no AMD GPU with a driver`,
      'set it to all, or leave it unset',
    );
  }
  if (amd !== 'void' && facts.amd !== null) parts.push(planAmd(amd, facts.amd));
  if (others !== 'void' && facts.intel !== null && !(isList && facts.amd !== null)) {
    parts.push(planIntel(others, facts.intel));
  }
  if (facts.infiniband !== null) {
    parts.push(planInfiniband(asked.mellanox, facts.infiniband));
    if (request.flags.mofed) parts.push({ ...noEdits, devices: infinibandDevices(facts.infiniband) });
  } else if (!['', 'void', 'none', 'all'].includes(asked.mellanox)) {
    throw new Failure(
      `MELLANOX_VISIBLE_DEVICES=${printable(asked.mellanox)}: this host has no InfiniBand device`,
      'set it to all, or leave it unset',
    );
  }
  return parts;
}

function readList(text: Bytes): 'void' | 'all' | 'none' | readonly Bytes[] {
  return text === 'all' || text === 'none' || text === 'void' ? text : text.split(',').map((element) => element.trim());
}

/** The device of WSL 2 is there for any GPU: without NVIDIA's libraries it is somebody else's. */
function findPlatform({ wsl, tegra, nvidia }: DeviceFacts, insists: boolean) {
  const hasCuda = wsl?.libraries.some(({ soname }) => soname.startsWith('libcuda.so'));
  return (hasCuda || insists ? wsl : null) ?? tegra ?? nvidia;
}

function planPlatform(input: LaunchInput, asked: Asked, facts: DeviceFacts): Edits | Asking {
  const { nvidia: request, gpus, insists } = asked;
  if (request.devices === 'void') return noEdits;
  // What is chosen is all that there is inside: programs there, this one among them, count anew.
  const told =
    gpus === null && !Array.isArray(request.devices)
      ? []
      : [`NVIDIA_VISIBLE_DEVICES=${request.devices === 'none' ? 'none' : 'all'}`];
  const plan = (): Edits | Asking => {
    if (facts.wsl !== null) return planWsl(request.devices as Exclude<typeof request.devices, 'void'>, facts.wsl);
    if (facts.tegra !== null && (facts.nvidia === null || facts.nvidia.gpus.length === 0)) {
      return planTegra(request.devices as Exclude<typeof request.devices, 'void'>, facts.tegra, insists);
    }
    return facts.nvidia === null ? noEdits : planNvidiaLaunch(input, asked, facts.nvidia);
  };
  // What an image says of itself must not keep it from starting; a list that names devices is more than that.
  if (insists || request.asked !== 'image-library') {
    const part = plan();
    return 'ask' in part ? part : { ...part, env: [...part.env, ...told] };
  }
  try {
    return plan();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { ...noEdits, warnings: [`no GPU: ${error.message}; to have it told in full: --gpus all`] };
  }
}

/** No driver of NVIDIA's: an error for who asked himself, unless another vendor's GPU is meant. */
function planWithoutNvidia({ nvidia: { devices, asked }, insists, gpus }: Asked, facts: DeviceFacts): Edits {
  const hasOther = facts.amd !== null || facts.intel !== null;
  if (devices === 'none' || (gpus !== null && hasOther)) return noEdits;
  const cause = facts.hasNvidiaCard
    ? 'there is an NVIDIA GPU, and its driver is not loaded'
    : 'this host has no GPU driver: neither /proc/driver/nvidia nor /dev/nvidiactl, /dev/dxg or /dev/kfd is there';
  if (insists) {
    throw new Failure(
      `cannot give the container a GPU: ${cause}`,
      facts.hasNvidiaCard
        ? 'sudo modprobe nvidia; where that finds no module, install the driver'
        : 'install the driver of the GPU, or start without one: --gpus none',
    );
  }
  if (asked === 'image-library') return noEdits;
  const short = facts.hasNvidiaCard ? 'the NVIDIA driver is not loaded' : 'this host has no NVIDIA driver';
  return { ...noEdits, warnings: [`no GPU, though the image asks for it: ${short} (--gpus none: without this line)`] };
}

/** Nothing can be mounted there, and libraries of that size are not copied. */
function planForChroot(input: LaunchInput, { insists, nvidia: { devices, cdi } }: Asked): DevicePlan {
  if (cdi.length === 0 && (devices === 'none' || devices === 'void')) return noDevices;
  if (insists || cdi.length > 0) {
    throw new Failure(
      'cannot give the container a GPU: in a chroot nothing can be mounted',
      'BUNDLER_SANDBOX=proot, or a host that allows mount namespaces',
    );
  }
  return { ...noDevices, ops: warn(input, 'degraded: no GPU, in a chroot nothing can be mounted') };
}

/** proot cannot cover a part of /proc. */
function withoutMasks(edits: Edits): Edits {
  const isShown = (path: Bytes) => !edits.masks.some((mask) => path.startsWith(`${mask}/`));
  return {
    ...edits,
    masks: [],
    binds: edits.binds.filter(({ target }) => isShown(target)),
    files: edits.files.filter(({ path }) => isShown(path)),
    links: edits.links.filter(({ path }) => isShown(path)),
  };
}

function warn({ options }: LaunchInput, text: Bytes): Op[] {
  return options.quiet ? [] : [{ op: 'warn', text: `bundler: ${text}\n` }];
}
