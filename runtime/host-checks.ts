// SPDX-License-Identifier: Apache-2.0
import { readFailure } from './causes.ts';
import type { Check } from './check.ts';
import { hasNvidiaCard } from './gpu/card.ts';
import type { HostFacts } from './launch-input.ts';
import type { Observer } from './observer.ts';
import type { Request } from './request.ts';

const families = {
  debian: ['debian', 'ubuntu'],
  fedora: ['fedora', 'rhel', 'centos'],
  suse: ['suse', 'opensuse'],
  arch: ['arch'],
  alpine: ['alpine'],
} as const;
type Family = keyof typeof families;

/** The family of distributions that the host belongs to (os-release(5)); '' where it is not known. */
function familyOf(observer: Observer): Family | '' {
  const text = observer.readFile('/etc/os-release') ?? '';
  const words = [...text.matchAll(/^(?:ID|ID_LIKE)="?([^"\n]*)/gm)].flatMap(([, value = '']) => value.split(' '));
  const names = Object.keys(families) as Family[];
  return names.find((name) => families[name].some((id) => words.includes(id))) ?? '';
}

const installers = {
  debian: 'sudo apt-get install',
  fedora: 'sudo dnf install',
  suse: 'sudo zypper install',
  arch: 'sudo pacman -S',
  alpine: 'sudo apk add',
} as const;

/** The command that installs a program with this host's package manager; '' where it is not known. names: of the package, by family. */
function installCommand(observer: Observer, names: Readonly<Record<Family, string>>): string {
  const family = familyOf(observer);
  return family === '' ? '' : `${installers[family]} ${names[family]}`;
}

/** Is a program in the PATH or in a system directory? It is only looked for. */
function hasProgram(observer: Observer, request: Request, name: string): boolean {
  const dirs = [...(request.env.PATH ?? '').split(':'), '/usr/bin', '/usr/sbin', '/bin', '/sbin'];
  return [...new Set(dirs)].some((dir) => dir.startsWith('/') && observer.lookAt(`${dir}/${name}`) === 'file');
}

/** Programs of the host that something can be done with; nothing needs them. */
export function checkPackages(observer: Observer, request: Request): Check[] {
  const group = 'packages';
  const hasNewuidmap = hasProgram(observer, request, 'newuidmap');
  const hasNvidia = hasProgram(observer, request, 'nvidia-container-cli');
  const uidmap = { debian: 'uidmap', fedora: 'shadow-utils', suse: 'shadow', arch: 'shadow', alpine: 'shadow-uidmap' };
  return [
    {
      id: 'newuidmap',
      group,
      name: 'newuidmap',
      ok: hasNewuidmap,
      need: 'required for a range of ids',
      note: '',
      cure: hasNewuidmap ? '' : installCommand(observer, uidmap),
    },
    {
      id: 'nvidia-container-cli',
      group,
      name: 'nvidia-container-cli',
      ok: hasNvidia,
      need: 'not needed by bundler',
      note: '',
      cure: '',
    },
  ];
}

/** A probe that is told by its name alone. */
export function checkProbe(host: HostFacts, id: string, name: string, need: string, follows: string, cure = ''): Check {
  const failed = readFailure(host.probes[id]);
  if (failed === null) return { id, group: 'tried', name, ok: true, need, note: '', cure: '' };
  const why = failed.step === 'skipped' ? 'not tried' : `${failed.step}: ${failed.errno}`;
  return { id, group: 'tried', name, ok: false, need, note: `${why}; ${follows}`, cure };
}

/** The page of the first x86-64 system calls, which old C libraries jump to (vsyscall in the kernel's kernel-parameters.txt). */
export function checkVsyscall(observer: Observer): Check {
  const ok = (observer.readFile('/proc/self/maps') ?? '').includes('[vsyscall]');
  const family = familyOf(observer);
  const cure =
    family === 'debian'
      ? `sudo sed -i 's/^GRUB_CMDLINE_LINUX="/&vsyscall=emulate /' /etc/default/grub && sudo update-grub && sudo reboot`
      : family === 'fedora'
        ? 'sudo grubby --update-kernel=ALL --args=vsyscall=emulate && sudo reboot'
        : 'boot with vsyscall=emulate on the kernel command line';
  return {
    id: 'vsyscall',
    group: 'tried',
    name: 'vsyscall page',
    ok,
    need: 'required if glibc <= 2.13',
    note: '',
    cure,
  };
}

/** Which cgroup the process is in and how much memory that leaves it: cgroups(7), the kernel's cgroup-v2.rst. */
export function checkCgroup(observer: Observer, memoryAvailableBytes: number): Check {
  const lines = (observer.readFile('/proc/self/cgroup') ?? '').split('\n').filter((line) => line !== '');
  const unified = lines.find((line) => line.startsWith('0::'))?.slice(3);
  const legacy = lines.filter((line) => /^[1-9]\d*:[^:=]+:/.test(line)).length;
  const version = unified === undefined ? 'v1' : legacy > 0 ? 'v1 and v2' : 'v2';
  const path = unified ?? lines.find((line) => /:memory:/.test(line))?.split(':')[2] ?? '';
  const ok = lines.length > 0;
  const memory = memoryAvailableBytes > 0 ? `, ${gigabytes(memoryAvailableBytes)} of memory available` : '';
  return {
    id: 'cgroup',
    group: 'tried',
    name: 'cgroup',
    ok,
    need: 'required to see job limits',
    note: ok ? `${version}${path === '' ? '' : ` ${path}`}${memory}` : '/proc/self/cgroup is not there or empty',
    cure: '',
  };
}

/** Which driver there is for a GPU. None is no fault where there is no GPU either. */
export function checkGpu(observer: Observer): Check {
  const found: string[] = [];
  const nvidia = observer.readFile('/proc/driver/nvidia/version');
  // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar ..", of the open modules "..Kernel Module for x86_64  550.."
  if (nvidia !== null) found.push(`NVIDIA ${/\b(\d+\.\d+(?:\.\d+)?)\b/.exec(nvidia)?.[1] ?? ''}`.trim());
  if (observer.lookAt('/dev/dxg') === 'file') found.push('WSL (/dev/dxg)');
  if (observer.lookAt('/dev/kfd') === 'file') found.push('AMD (/dev/kfd)');
  const check = { id: 'gpu', group: 'tried', name: 'GPU driver' } as const;
  if (found.length > 0) return { ...check, ok: true, need: '', note: found.join(', '), cure: '' };
  if (!hasNvidiaCard(observer)) return { ...check, ok: true, need: '', note: 'no NVIDIA or AMD GPU found', cure: '' };
  return {
    ...check,
    ok: false,
    need: 'required for GPU support',
    note: 'there is an NVIDIA GPU, and its driver is not loaded',
    cure: 'sudo modprobe nvidia',
  };
}

export function gigabytes(sizeBytes: number): string {
  return sizeBytes < 1e9 ? `${Math.floor(sizeBytes / 1e6)} MB` : `${(Math.floor(sizeBytes / 1e8) / 10).toFixed(1)} GB`;
}
