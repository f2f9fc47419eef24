// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { entryKinds, type Op, rootDrivers, rootFlags, serveFlags } from '../src/format/plan.ts';
import { type Command, planCommand } from './command.ts';
import { hasHostHooks } from './configuration.ts';
import { isSettled, noDevices, planNoDevices } from './device-gate.ts';
import { collectEnvironment, planEnvironment, toMap, variable } from './environment.ts';
import { Failure } from './failure.ts';
import type { DevicePlanner } from './gpu/device-plan.ts';
import { runHooks } from './hooks/index.ts';
import { planShadow } from './hooks/shadow.ts';
import { planHostHooks } from './host-hooks.ts';
import { type Identity, planIdentity } from './identity.ts';
import type { Launch, LaunchInput, Shown } from './launch-input.ts';
import type { Layer } from './layer.ts';
import { isInTmpfs, planMounts } from './mounts.ts';
import { planNamespaces, planPrivileges } from './namespaces.ts';
import { choosePayload, imageOf, type Payload } from './payload.ts';
import { planWithoutMounts } from './plain-root.ts';
import type { Rung } from './rungs.ts';
import { hasMounts } from './sandbox.ts';
import { planShare } from './share.ts';

/**
 * Turns what is known into the launch plan, or into the questions that come first. Pure: the same input gives the same plan.
 * planDevices: that of runtime/gpu, where the input has facts of devices.
 */
export function planLaunch(given: LaunchInput, planDevices: DevicePlanner = planNoDevices): Launch {
  const input = withKeptAccounts(given);
  const payload = choosePayload(input);
  if ('ask' in payload) return payload;
  if (input.options.extract) {
    return { plan: [extractOp(input, payload), { op: 'exit', status: 0, stdout: '', stderr: '' }] };
  }
  const shadow = planShadow(input);
  if ('ask' in shadow) return shadow;
  const identity = planIdentity(input);
  const namespaces = planNamespaces(input, identity, payload);
  if ('ask' in namespaces) return namespaces;
  const kept = isKept(payload);
  const collected = collectEnvironment(input);
  const hooks = runHooks({ input, shadow, environ: collected, kept });
  const mounts = planMounts(input, hooks.mounts, payload.driver === 'fuse');
  // With hooks of the host the command is known when they have run.
  const hosted = hasHostHooks(input) && input.resumed === null;
  const before = hosted ? [] : planEnvironment(input, shadow.account, collected, hooks.environ);
  // Hooks may decide about GPUs; what they cannot change is there when they run.
  const settled = isSettled(input);
  const root = kept ? 'kept' : input.resumed !== null && !settled && hasMounts(payload.sandbox) ? 'hooked' : 'served';
  const early = settled && hasHostHooks(input) ? collectEnvironment({ ...input, resumed: null }) : null;
  const environ = toMap(early === null ? before : [...writeItems(early), ...hooks.environ]);
  const own = hosted ? environ : toMap(before);
  const devices = hosted && !settled ? noDevices : planDevices(input, environ, root, payload.sandbox.rung, own);
  if ('ask' in devices) return devices;
  const environment = writeItems(toMap([...before, ...devices.environ]));
  const command = hosted ? null : { environment, ...planCommand(input, shadow.account, environment) };
  const privileges = planPrivileges(input, identity, namespaces);
  const deviceOps = [...devices.ops, ...repeatMounts(devices.ops, mounts.early)];
  const late = input.resumed === null || settled ? [] : [...writeOps(devices.shown, false), ...deviceOps];
  const finish = (known: FullCommand) => finishOps(input, privileges, payload, [...late, ...mounts.late], known);
  if (command !== null && input.resumed !== null && hasMounts(payload.sandbox)) return { plan: finish(command) };
  const home = input.settings.hooks.includes('10-shadow') ? shadow.home : null;
  const homeIsLate = home !== null && hasMounts(payload.sandbox) && isInTmpfs(home.path, mounts);
  const files = [
    ...hooks.shown,
    ...devices.shown,
    // A kept root is not given a directory that a tmpfs covers anyway.
    ...(home !== null && !(kept && homeIsLate) ? [home] : []),
    ...(home !== null && !kept && !homeIsLate ? shadow.skeleton : []),
    ...(command?.shown ?? []),
  ];
  if (!hasMounts(payload.sandbox)) {
    const parts = {
      rung: payload.sandbox.rung,
      identity,
      unpack: [...shadow.warnings.map((text): Op => ({ op: 'warn', text })), extractOp(input, payload)],
      write: writeOps([...files, ...mounts.shown], false),
      late,
      mounts: [...mounts.early, ...hooks.ops, ...deviceOps, ...mounts.late],
      command,
      hosted: hosted ? planHostHooks(input, hooks.environ) : [],
    };
    return { plan: planWithoutMounts(input, parts) };
  }
  return {
    plan: [
      ...shadow.warnings.map((text): Op => ({ op: 'warn', text })),
      ...(payload.driver === 'fuse' ? entryOps([...files, ...mounts.shown]) : []),
      ...rootOps(input, identity, payload, namespaces),
      ...(payload.driver === 'fuse' ? [] : writeOps([...files, ...mounts.shown], kept, ownFiles(input))),
      // Over our files, so that a layer that stays keeps only what the command writes.
      ...(payload.driver === 'extract' ? overlayOps(payload.layer) : []),
      ...mounts.early,
      // Before the user's mounts, so that it is never made in a directory of the host.
      ...(homeIsLate ? writeOps([home, ...shadow.skeleton], false) : []),
      ...hooks.ops,
      ...deviceOps,
      ...(command === null ? planHostHooks(input, hooks.environ) : finish(command)),
    ],
  };
}

/** What was mounted below /dev is gone when devices put another /dev together. */
function repeatMounts(ops: readonly Op[], early: readonly Op[]): Op[] {
  const isReplaced = ops.some((op) => op.op === 'mount' && op.target === '/dev' && op.type === 'tmpfs');
  return isReplaced ? early.filter((op) => op.op === 'mount' && op.target.startsWith('/dev/')) : [];
}

function writeItems(vars: ReadonlyMap<string, Bytes>): Bytes[] {
  return [...vars].map(([name, value]) => `${name}=${value}`);
}

type FullCommand = Command & { readonly environment: readonly Bytes[] };

/** From the late mounts to the command: the end of a plan in one part, or the second part after hooks of the host. */
function finishOps(
  input: LaunchInput,
  privileges: readonly Op[],
  payload: Payload,
  mounts: readonly Op[],
  { environment, argv, cwd, shown }: FullCommand,
): Op[] {
  const hosted = input.resumed !== null;
  // What a served root shows from the start cannot be added now.
  const script = hosted ? shown.map(({ path, mode, data }): Op => ({ op: 'inject', path, mode, content: data })) : [];
  const isReadonly = payload.driver === 'fuse' && !hosted;
  return [
    ...script,
    ...mounts,
    ...(isReadonly || input.settings.rw ? [] : [{ op: 'readonly' } as const]),
    { op: 'pivot' },
    cwd,
    ...privileges,
    { op: 'env', vars: environment },
    { op: 'exec', argv, search: variable(environment, 'PATH') },
  ];
}

/** Everything from the payload to a mounted root. The server and the janitor start before the namespaces exist. */
function rootOps(input: LaunchInput, identity: Identity, payload: Payload, namespaces: readonly Op[]): Op[] {
  const { uid, gid } = identity;
  const { offset, sizeBytes } = payloadSection(input);
  switch (payload.driver) {
    case 'fuse':
      return [
        ...layerOps(input, payload.sandbox.rung, payload.layer),
        ...planShare(input),
        {
          op: 'serve',
          file: '',
          offset,
          sizeBytes,
          uid,
          gid,
          threads: 0,
          cacheBytes: 0,
          // Real root is not alone: its daemons have users of their own.
          flags: input.settings.subuid || payload.sandbox.rung === 'root' ? serveFlags.owners : 0,
        },
        ...namespaces,
        { op: 'root', driver: rootDrivers.fuse, file: '', offset, sizeBytes, flags: rootFlags.readonly },
        ...overlayOps(payload.layer),
      ];
    case 'extract':
      return [
        ...layerOps(input, payload.sandbox.rung, payload.layer),
        extractOp(input, payload),
        ...namespaces,
        { op: 'root', driver: rootDrivers.directory, file: '', offset, sizeBytes, flags: 0 },
      ];
    case 'kernel':
      return [
        ...namespaces,
        { op: 'root', driver: rootDrivers.loop, file: '', offset, sizeBytes, flags: rootFlags.readonly },
        ...overlayOps({ in: 'memory', sizeBytes: input.settings.layerSizeBytes }),
      ];
  }
}

/** What a layer on disk needs before the namespaces exist. */
function layerOps(input: LaunchInput, rung: Rung, layer: Layer | null): Op[] {
  if (layer === null || layer.in === 'memory') return [];
  const { digest } = imageOf(input);
  const where = layer.in === 'disk' ? { place: layer.place, dir: '' } : { place: '', dir: layer.dir };
  // With one mapped id all files are the caller's on disk, root inside or not.
  const owners = rung === 'root' ? 'real' : input.settings.subuid ? 'ranges' : 'single';
  return [{ op: 'layer', ...where, digest, owners }];
}

function overlayOps(layer: Layer | null): Op[] {
  if (layer === null) return [];
  return [{ op: 'overlay', upper: '', work: '', sizeBytes: layer.in === 'memory' ? layer.sizeBytes : 0 }];
}

function extractOp(input: LaunchInput, payload: Payload): Op {
  if (payload.driver !== 'extract') throw new Failure('the image is not unpacked with this BUNDLER_DRIVER');
  const { offset, sizeBytes } = payloadSection(input);
  const { place, target, flags } = payload;
  return { op: 'extract', file: '', offset, sizeBytes, place, target, digest: imageOf(input).digest, flags };
}

function payloadSection({ request }: LaunchInput): { offset: number; sizeBytes: number } {
  const section = request.sections.find(({ name }) => name === 'payload');
  if (section === undefined) throw new Failure('this file holds no image to run');
  return { offset: section.offset, sizeBytes: section.sizeBytes };
}

/** The accounts of a root that an earlier run kept are those in it, and no longer the image's. */
function withKeptAccounts(input: LaunchInput): LaunchInput {
  const { manifest, host } = input;
  if (host.kept === null || manifest.rootfs === undefined) return input;
  return { ...input, manifest: { ...manifest, rootfs: { ...manifest.rootfs, ...host.kept } } };
}

/** Files of ours that a kept root gets as files when it is written to, with what they hold now: useradd replaces them, which no mount allows. */
function ownFiles({ settings, manifest }: LaunchInput): Map<Bytes, Bytes> {
  const { passwd, group } = manifest.rootfs ?? { passwd: '', group: '' };
  if (!settings.rw) return new Map();
  return new Map([
    ['/etc/passwd', passwd],
    ['/etc/group', group],
  ]);
}

/** A directory that stays, in which only mountpoints may be added. */
function isKept(payload: Payload): boolean {
  return payload.driver === 'extract' && payload.target !== '';
}

/** A served root shows our files as entries of its tree; the server makes missing parents. A path is named once: later ones of a kind that only fills gaps give way. */
function entryOps(shown: readonly Shown[]): Op[] {
  const ops = new Map<Bytes, Op>();
  for (const { kind, path, mode, data } of shown) {
    const fillsGap = kind === 'dir' || kind === 'mountpoint' || kind === 'default';
    if (fillsGap && ops.has(path)) continue;
    ops.set(path, { op: 'entry', kind: entryKinds[kind === 'default' ? 'mountpoint' : kind], path, mode, data });
  }
  return [...ops.values()];
}

/** A root that can be written gets our files as files; one that is kept shows them by mounts, and stays as the image made it. */
function writeOps(shown: readonly Shown[], kept: boolean, own: ReadonlyMap<Bytes, Bytes> = new Map()): Op[] {
  return shown.flatMap(({ kind, path, mode, data }): Op[] => {
    if (kept && own.has(path)) return own.get(path) === data ? [] : [{ op: 'file', path, mode, content: data }];
    if (kind === 'mountpoint') return [];
    if (kind === 'dir') {
      return [...parents(path).map((parent) => mkdir(parent, 0o755)), mkdir(path, mode)];
    }
    // An empty file is a mountpoint in place of a symlink; a kept root keeps its symlink and the mount follows it.
    if (kept) return kind === 'file' && data !== '' ? [{ op: 'inject', path, mode, content: data }] : [];
    if (kind === 'symlink') return [{ op: 'symlink', path, target: data }];
    return [...parents(path).map((parent) => mkdir(parent, 0o755)), { op: 'file', path, mode, content: data }];
  });
}

function mkdir(path: Bytes, mode: number): Op {
  return { op: 'mkdir', path, mode };
}

/** The directories above a path, `/` left out, topmost first. */
function parents(path: Bytes): Bytes[] {
  const parts = path.split('/').filter((part) => part !== '');
  return parts.slice(0, -1).map((_part, index) => `/${parts.slice(0, index + 1).join('/')}`);
}
