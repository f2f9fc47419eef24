// SPDX-License-Identifier: Apache-2.0
import { collectEnvironment } from '../environment.ts';
import { Failure } from '../failure.ts';
import type { LaunchInput } from '../launch-input.ts';
import type { Entry, Observer } from '../observer.ts';
import { type AmdFacts, readAmd } from './amd.ts';
import { type Asked, asksForDevices, readAsked } from './asked.ts';
import { hasNvidiaCard } from './card.ts';
import type { CdiFacts } from './cdi-facts.ts';
import { type DevFacts, readDev } from './dev.ts';
import { type InfinibandFacts, readInfiniband } from './infiniband.ts';
import { type IntelFacts, readIntel } from './intel.ts';
import { type NvidiaFacts, readNvidia } from './nvidia-facts.ts';
import { readTegra, type TegraFacts } from './tegra.ts';
import { readWsl, type WslFacts } from './wsl.ts';

/** The devices of the host and what their drivers have there; plain data. null: not there, or nobody asks. */
export interface DeviceFacts {
  readonly wsl: WslFacts | null;
  readonly tegra: TegraFacts | null;
  readonly nvidia: NvidiaFacts | null;
  readonly amd: AmdFacts | null;
  readonly intel: IntelFacts | null;
  readonly infiniband: InfinibandFacts | null;
  readonly cdi: CdiFacts | null;
  /** An NVIDIA GPU is in the machine, whether or not a driver has it; looked at only where there is no driver. */
  readonly hasNvidiaCard: boolean;
  readonly dev: DevFacts;
}

/** glibc 2.28, of 2018, which RHEL 8 and Debian 10 have. */
const recentGlibcMinor = 28;

/** May some devices of the host be hidden? Not where the container gets all that there are. */
function mayHide({ nvidia: request, amd, mellanox }: Asked, nvidia: NvidiaFacts | null): boolean {
  const isAll = request.devices === 'all' && request.cdi.length === 0 && request.imexChannels.length === 0;
  const nodes = Object.entries(nvidia?.nodes ?? {}).filter(([path]) => /^\/dev\/nvidia\d+$/.test(path));
  const hasAll = nodes.length === (nvidia?.gpus.length ?? 0) && nodes.every(([, access]) => access !== 'refused');
  return !(isAll && hasAll && ['', 'all', 'void'].includes(amd) && ['', 'void'].includes(mellanox));
}

/** Looks at the devices of the host that a launch asks for, or at all of them; null when it asks for none. environ: when hooks have changed it. */
export async function readDevices(
  observer: Observer,
  input: LaunchInput,
  everything: boolean,
  environ = collectEnvironment(input),
): Promise<DeviceFacts | null> {
  let asked: Asked;
  try {
    asked = readAsked(input, environ);
  } catch (error) {
    // A report tells it later, of all that there is.
    if (!everything || !(error instanceof Failure)) throw error;
    asked = readAsked(
      {
        ...input,
        options: { ...input.options, gpus: 'all', env: [], envFiles: [] },
        request: { ...input.request, env: {} },
        settings: { ...input.settings, configured: {} },
      },
      new Map(),
    );
  }
  if (!everything && !asksForDevices(asked)) return null;
  const { nvidia: request, gpus } = asked;
  const wantsNvidia = everything || request.devices !== 'void';
  const wantsAll = everything || gpus !== null;
  // The driver's libraries are made for old systems: only an older image than these can be too old for them.
  const [, minor = '0'] = /^2\.(\d+)/.exec(input.manifest.rootfs?.loader?.glibcVersion ?? '') ?? [];
  const needs = everything || Number(minor) < recentGlibcMinor;
  const graphics = everything || request.capabilities.has('graphics') || request.capabilities.has('display');
  let listed: readonly Entry[] | undefined;
  const listDev = () => {
    listed ??= observer.listKinds('/dev');
    return listed;
  };
  const wsl = wantsNvidia ? readWsl(observer) : null;
  const tegra = wantsNvidia && wsl === null ? readTegra(observer) : null;
  const nvidia =
    wantsNvidia && wsl === null
      ? readNvidia(observer, input.request.machine, { listDev, mpsPipe: request.mpsPipe, needs, graphics })
      : null;
  const amd = wantsAll || asked.amd !== '' ? readAmd(observer) : null;
  const intel = wantsAll ? readIntel(observer) : null;
  const wantsInfiniband = everything || asked.mellanox !== '' || request.flags.mofed;
  const infiniband = wantsInfiniband ? readInfiniband(observer) : null;
  const wantsCdi = request.cdi.length > 0;
  const found = [wsl, tegra, nvidia, amd, intel, infiniband].some((facts) => facts !== null);
  return {
    wsl,
    tegra,
    nvidia,
    amd,
    intel,
    infiniband,
    // Its parser of YAML takes a while to load.
    cdi: wantsCdi ? (await import('./cdi-facts.ts')).readCdi(observer) : null,
    hasNvidiaCard:
      wantsNvidia && nvidia === null && wsl === null && request.asked !== 'image-library' && hasNvidiaCard(observer),
    dev: found || wantsCdi ? readDev(observer, listDev(), mayHide(asked, nvidia)) : { entries: [], hasOpenPtmx: false },
  };
}
