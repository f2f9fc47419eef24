// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import type { ImageFacts } from '../src/format/manifest.ts';
import { makeProfile, type Profile, printCommand } from './apparmor.ts';
import {
  appArmorCure,
  type Cause,
  explainFuse,
  explainNamespaces,
  explainOverlay,
  explainOverlayMount,
} from './causes.ts';
import type { Check } from './check.ts';
import { Failure } from './failure.ts';
import type { DeviceReport, DeviceReporter } from './gpu/report.ts';
import { checkCgroup, checkGpu, checkPackages, checkProbe, checkVsyscall } from './host-checks.ts';
import { checkCommandLine, checkKernelConfig, checkParameters, readKernelConfig } from './kernel-config.ts';
import type { LaunchInput } from './launch-input.ts';
import { layersQuestion } from './layer.ts';
import type { Observer } from './observer.ts';
import {
  choosePayload,
  imageOf,
  neededBytes,
  type Payload,
  type Place,
  placesQuestion,
  readPlaces,
} from './payload.ts';
import { judgePlace, type PlaceVerdict } from './place-verdict.ts';
import type { Request } from './request.ts';
import { explainRung, type Rung, rungs, rungsQuestion } from './rungs.ts';
import { describeSandbox, seenFrom } from './sandbox.ts';

/** What --verify found. docs/verify.md describes it as JSON; change the number there and here when a field changes its meaning. */
export interface Verdict {
  readonly schema: 1;
  /** Can the bundle run here? Of the tool itself: can bundles? */
  readonly ok: boolean;
  readonly file: Bytes;
  /** The bundle's name; null for the tool. */
  readonly name: Bytes | null;
  readonly kernel: {
    readonly release: string;
    readonly machine: string;
    /** /proc/version. */
    readonly version: Bytes;
    /** Where its configuration was found; null when nowhere. */
    readonly config: Bytes | null;
  };
  readonly checks: readonly Check[];
  /** Candidate directories for the runtime and for unpacking, best first. */
  readonly places: readonly PlaceVerdict[];
  /** What unpacking the image takes. */
  readonly needBytes: number;
  /** What a start would use; null when there can be none. */
  readonly uses: Uses | null;
  /** GPUs and HCAs; null where the host has none and none are asked for. */
  readonly devices: DeviceReport | null;
  /** In one sentence; and what would change it, when it is bad. */
  readonly result: Bytes;
  readonly cure: Bytes;
}

export interface Uses {
  readonly driver: 'fuse' | 'extract' | 'kernel';
  /** Where it is unpacked; '' in memory, or not unpacked at all. */
  readonly place: Bytes;
  /** The rung of docs/sandbox.md; `degraded` tells what differs on it, '' where nothing does. */
  readonly sandbox: Rung;
  readonly degraded: Bytes;
  readonly runtime: { readonly from: string; readonly dir: Bytes };
  /** Where --rw writes to: `memory`, `disk`, the `directory` of --overlay, or `copy`, the unpacked image itself; and the room there. Null: not at all. */
  readonly rw: {
    readonly in: 'memory' | 'disk' | 'directory' | 'copy';
    readonly place: Bytes;
    readonly sizeBytes: number;
  } | null;
}

/** Of a tool, which has no image: what a start needs whatever the image. */
const noImage: ImageFacts = {
  compressor: '',
  blockSizeBytes: 0,
  inodes: 0,
  usedBytes: 0,
  sizeBytes: 0,
  digest: '',
  unpackedBytes: 0,
};

/** Judges the host, or asks first. Everything that is only of use here is read here. */
export function verifyHost(
  given: LaunchInput,
  observer: Observer,
  reportDevices: DeviceReporter,
): Verdict | { readonly ask: readonly string[] } {
  const input = { ...given, manifest: { ...given.manifest, image: given.manifest.image ?? noImage } };
  const { request, host } = input;
  const placesText = host.answers[placesQuestion(imageOf(input))];
  if (placesText === undefined) return { ask: [placesQuestion(imageOf(input))] };
  const places = readPlaces(placesText);
  const questions = [
    ...places.filter(({ usable }) => usable).map(({ path }) => `exec ${path}`),
    ...(explainOverlayMount(host) === null ? [layersQuestion] : []),
  ].filter((question) => host.answers[question] === undefined);
  const asksRungs = explainNamespaces(host) !== null && host.answers[rungsQuestion] === undefined;
  if (asksRungs) questions.push(rungsQuestion);
  if (questions.length > 0) return { ask: questions };
  const chosen = attempt(input);
  if ('ask' in chosen) return chosen;
  const written = attempt({ ...input, settings: { ...input.settings, rw: true } });
  if ('ask' in written) return written;
  const where = 'payload' in written ? writtenDirectory(written.payload) : '';
  const room = `dir 0 ${where}`;
  if (where !== '' && host.answers[room] === undefined) return { ask: [room] };
  const devices = reportDevices(input, 'payload' in chosen ? chosen.payload.sandbox.rung : 'userns');
  if (devices !== null && 'ask' in devices) return devices;
  const config = readKernelConfig(observer, request.kernel);
  const profile = profileOf(request);
  const cured = (cause: Cause | null) =>
    cause?.cure === appArmorCure ? { ...cause, cure: profile.command } : (cause ?? { cause: '', cure: '' });
  const deviceFailure =
    devices === null || devices.wouldBe || devices.problem === '' ? null : new Failure(devices.problem, devices.cure);
  const failure = 'failure' in chosen ? chosen.failure : deviceFailure;
  const vsyscall = checkVsyscall(observer);
  return {
    schema: 1,
    ok: failure === null,
    file: request.exe,
    name: given.manifest.image === undefined ? null : input.manifest.name,
    kernel: {
      release: request.kernel,
      machine: request.machine,
      version: observer.readFile('/proc/version')?.trim() ?? '',
      config: config?.path ?? null,
    },
    checks: [
      ...(config === null ? [] : checkKernelConfig(config.text, vsyscall.ok)),
      ...checkCommandLine(observer, vsyscall.ok),
      ...checkParameters(observer, profile.command),
      ...checkPackages(observer, request),
      ...checkTried('payload' in chosen ? seenFrom(chosen.payload.sandbox, input) : input, failure === null, cured),
      vsyscall,
      checkCgroup(observer, host.memoryAvailableBytes),
      checkGpu(observer),
    ],
    places: places.map((place) => judgePlace(place, host.answers[`exec ${place.path}`] ?? '', observer)),
    needBytes: neededBytes(imageOf(input)),
    devices,
    uses: 'payload' in chosen ? describeUses(input, chosen.payload, written, places, observer) : null,
    result: failure === null ? '' : failure.message,
    cure: failure === null ? '' : cured({ cause: '', cure: failure.hint }).cure,
  };
}

/** The AppArmor profile for the file that was started; `bundler run FILE` starts bundler itself. */
export function profileOf(request: Request): Profile {
  const program = request.program === '' ? request.exe : request.program;
  const words =
    program !== request.exe
      ? [program, 'run', request.exe, '--apparmor']
      : request.sections.some(({ name }) => name === 'payload')
        ? [program, '--apparmor']
        : [program, 'doctor', '--apparmor'];
  return makeProfile(program, printCommand(words));
}

/** What devices a start would get, on the rung that it would take. */
export function reportLaunch(given: LaunchInput, reportDevices: DeviceReporter): ReturnType<DeviceReporter> {
  const input = { ...given, manifest: { ...given.manifest, image: given.manifest.image ?? noImage } };
  const chosen = attempt(input);
  if ('ask' in chosen) return chosen;
  return reportDevices(input, 'payload' in chosen ? chosen.payload.sandbox.rung : 'userns');
}

type Attempt = { readonly payload: Payload } | { readonly failure: Failure } | { readonly ask: readonly string[] };

/** What a start would do. */
function attempt(input: LaunchInput): Attempt {
  try {
    const payload = choosePayload(input);
    return 'ask' in payload ? payload : { payload };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { failure: error };
  }
}

function checkTried(input: LaunchInput, runs: boolean, cured: (cause: Cause | null) => Cause): Check[] {
  const { host } = input;
  const group = 'tried';
  const namespaces = cured(explainNamespaces(host));
  const fuse = explainFuse(host);
  const overlay = explainOverlay(host);
  const hasUserns = host.probes.userns === 'ok';
  const hasMount = host.probes.mount === 'ok';
  const need = runs ? 'another sandbox is used' : '';
  const [bad, good] = [
    { ok: false, need, note: namespaces.cause, cure: namespaces.cure },
    { ok: true, need: '', note: '', cure: '' },
  ];
  const skipped = { ok: false, need, note: 'not tried, because no user namespace can be had', cure: '' };
  return [
    { id: 'userns', group, name: 'user namespace', ...(hasUserns ? good : bad) },
    { id: 'mount', group, name: 'mounts in a user namespace', ...(hasMount ? good : hasUserns ? bad : skipped) },
    ...(hasUserns && hasMount ? [] : rungs.slice(1).map((rung) => checkRung(rung, input))),
    {
      id: 'fuse',
      group,
      name: 'squashfs through /dev/fuse',
      ok: fuse === null,
      need: 'required to start in place',
      note: fuse === null ? '' : `${fuse.cause}; the image is unpacked at every start`,
      cure: fuse?.cure ?? '',
    },
    {
      id: 'overlay',
      group,
      name: 'overlay in memory',
      ok: overlay === null,
      need: 'required for --rw in memory',
      note: overlay?.cause ?? '',
      cure: overlay?.cure ?? '',
    },
    checkProbe(
      host,
      'seccomp',
      'seccomp filters',
      'required for --root',
      'chown and its like fail there',
      'use a kernel with CONFIG_SECCOMP_FILTER',
    ),
    checkProbe(
      host,
      'pidfd',
      'pidfd_open',
      'required to share a mount',
      'an unpacked image is watched in another way',
      'use a kernel of at least 5.3',
    ),
    checkProbe(
      host,
      'openat2',
      'openat2',
      'optional',
      'paths are resolved step by step',
      'use a kernel of at least 5.6',
    ),
    checkProbe(host, 'loop', 'loop devices', 'BUNDLER_DRIVER=kernel only', 'only root can have them', ''),
  ];
}

/** What there is besides user namespaces; looked at only where those cannot be had. */
function checkRung(rung: Rung, input: LaunchInput): Check {
  const why = explainRung(rung, input);
  const shared = {
    id: `sandbox-${rung}`,
    group: 'tried',
    name: `without user namespaces: ${rung}`,
    need: 'optional',
  } as const;
  return { ...shared, ok: why === null, note: why?.cause ?? '', cure: why?.cure ?? '' };
}

function describeUses(
  input: LaunchInput,
  payload: Payload,
  written: Attempt,
  places: readonly Place[],
  observer: Observer,
): Uses {
  const { request } = input;
  return {
    driver: payload.driver,
    place: payload.driver === 'extract' ? payload.target || payload.place : '',
    sandbox: payload.sandbox.rung,
    degraded: /^degraded: (.*)/.exec(describeSandbox(payload.sandbox))?.[1] ?? '',
    runtime: { from: request.runtimeFrom, dir: request.cacheDir },
    rw: 'payload' in written ? describeWritten(input, written.payload, places, observer) : null,
  };
}

/** A directory that the user named and that is written to: that of --overlay, or the target of --keep. '' without one. */
function writtenDirectory(payload: Payload): Bytes {
  if (payload.driver === 'kernel') return '';
  if (payload.layer?.in === 'directory') return payload.layer.dir;
  return payload.driver === 'extract' ? payload.target : '';
}

function describeWritten(
  input: LaunchInput,
  payload: Payload,
  places: readonly Place[],
  observer: Observer,
): Uses['rw'] {
  const { settings, host } = input;
  const layer = payload.driver === 'kernel' ? null : payload.layer;
  const named = writtenDirectory(payload);
  if (named !== '') {
    const [{ freeBytes } = { freeBytes: 0 }] = readPlaces(host.answers[`dir 0 ${named}`] ?? '');
    return { in: layer === null ? 'copy' : 'directory', place: named, sizeBytes: freeBytes };
  }
  if (layer !== null && layer.in === 'disk') return { in: 'disk', place: layer.place, sizeBytes: layer.freeBytes };
  if (payload.driver === 'extract') {
    const { freeBytes } = places.find(({ path }) => path === payload.place) ?? { freeBytes: host.memoryAvailableBytes };
    return { in: 'copy', place: payload.place, sizeBytes: Math.max(0, freeBytes - neededBytes(imageOf(input))) };
  }
  // tmpfs(5): half of the physical memory, unless another size is given.
  const [, kib = '0'] = /^MemTotal:\s+(\d+) kB$/m.exec(observer.readFile('/proc/meminfo') ?? '') ?? [];
  return { in: 'memory', place: '', sizeBytes: settings.layerSizeBytes || Number(kib) * 512 };
}
