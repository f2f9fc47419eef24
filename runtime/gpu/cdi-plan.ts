// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { Bytes } from '../../src/format/bytes.ts';
import { Failure } from '../failure.ts';
import type { CdiFacts } from './cdi-facts.ts';
import { interpretHooks } from './cdi-hooks.ts';
import { adviseRefresh, type Chosen, chooseDevices } from './cdi-select.ts';
import type { CdiMount } from './cdi-spec.ts';
import { type Bind, combine, type Edits, type Link, type MountFlag, type NamedLibrary, noEdits } from './edits.ts';
import { planForwardCompatibility } from './nvidia-plan.ts';

const flagNames: readonly MountFlag[] = ['ro', 'nosuid', 'nodev', 'noexec'];
/** Where ldconfig looks without being told, in the layouts of Debian and of the others (ldconfig(8)). */
const usualDirs = /^(\/usr)?\/lib(64|32)?(\/\w+-linux-gnu\w*)?$/;
/** What comes and goes with a daemon, as the socket of nvidia-persistenced does. */
const daemonState = /^\/(run|var\/run|tmp)\//;
const driverProcDir = '/proc/driver/nvidia';
const noFacts: CdiFacts = { dirs: [], files: [], nodes: {}, kinds: {}, libraries: {}, driverProc: null };

/**
 * What CDI devices add to a container (SPEC.md of github.com/cncf-tags/container-device-interface): each specification's own edits once,
 * then each device's; of several things at one place the last stays. Device nodes of other devices of the same kinds are hidden.
 *
 * request: qualified names, VENDOR/CLASS=NAME. facts: null where nothing was looked at. groups: the caller's. compat: names in the image's
 * /usr/local/cuda/compat. Throws Failure as chooseDevices does, and for a path of the host that is needed and not there; that of a daemon
 * may be missing.
 */
export function planCdi(
  request: readonly Bytes[],
  facts: CdiFacts | null,
  groups: readonly number[],
  compat: readonly string[] = [],
): Edits {
  const known = facts ?? noFacts;
  const { chosen, others } = chooseDevices(request, known);
  const { links, libraryDirs, compatDriver, keepsNodes, unknown } = interpretHooks(
    chosen.flatMap(({ edits }) => edits.hooks),
  );
  const mounts = chosen.flatMap((one) => planMounts(one, known));
  const nodes = chosen.flatMap((one) => planNodes(one, known));
  const used = new Set(nodes.flatMap(({ source, target }) => [source, target]));
  const names = libraryDirs === null ? [] : nameLibraries(mounts, libraryDirs, known);
  const forward = planForwardCompatibility(compatDriver, compat);
  const replaced = new Set(forward.map(({ soname }) => soname));
  const isFree = ({ path }: Link) => mounts.every(({ target }) => target !== path);
  const edits: Edits = {
    ...noEdits,
    binds: [...mounts, ...nodes.filter((node) => !isPlain(node))],
    devices: nodes.filter(isPlain).map(({ target }) => target),
    hidden: others.filter((path) => path.startsWith('/dev/') && !used.has(path) && known.nodes[path] !== 'missing'),
    named: [...names.map(({ named }) => named).filter(({ soname }) => !replaced.has(soname)), ...forward],
    libraryDirs: libraryDirs ?? [],
    links: [...names.map(({ link }) => link), ...links].filter(isFree),
    env: chosen.flatMap((one) => one.edits.env),
    missing: chosen
      .flatMap((one) => listAbsent(one, known))
      .map((what) => ({ what, follows: 'nobody asks its daemon' })),
    warnings: [...warnOfEdits(chosen, known, groups), ...warnOfHooks(unknown)],
  };
  return combine([edits, keepsNodes ? planParams(known) : noEdits]);
}

function isBind({ type }: CdiMount): boolean {
  return type === 'bind';
}

function isPlain({ source, target }: Bind): boolean {
  return source === target && target.startsWith('/dev/');
}

function planNodes(one: Chosen, { nodes }: CdiFacts): Bind[] {
  return one.edits.deviceNodes.map(({ path, hostPath }) => {
    if (nodes[hostPath] === 'missing') throw explainStale(one, hostPath);
    return { source: hostPath, target: path, kind: 'device' };
  });
}

function planMounts(one: Chosen, { kinds }: CdiFacts): Bind[] {
  return one.edits.mounts.filter(isBind).flatMap(({ hostPath, containerPath, options }): Bind[] => {
    const found = kinds[hostPath] ?? 'missing';
    if (found === 'missing' && daemonState.test(hostPath)) return [];
    if (found === 'missing') throw explainStale(one, hostPath);
    if (found === 'denied') {
      throw new Failure(
        `${hostPath}, which ${one.file.path} names for the CDI device ${one.device}, cannot be reached: permission denied`,
        'ask the administrator to let you read it',
      );
    }
    const bind = { source: hostPath, target: containerPath, kind: found } as const;
    const flags = flagNames.filter((flag) => options.includes(flag));
    return [flags.join() === 'ro,nosuid,nodev' ? bind : { ...bind, flags }];
  });
}

function listAbsent({ edits }: Chosen, { kinds }: CdiFacts): Bytes[] {
  return edits.mounts
    .filter((mount) => isBind(mount) && (kinds[mount.hostPath] ?? 'missing') === 'missing')
    .map(({ hostPath }) => hostPath);
}

function explainStale({ device, file }: Chosen, path: Bytes): Failure {
  return new Failure(
    `${path}, which ${file.path} names for the CDI device ${device}, is not there: the specification is stale`,
    adviseRefresh(file),
  );
}

/** ldconfig would make links by the names that libraries have for programs; older specifications count on that. */
function nameLibraries(
  mounts: readonly Bind[],
  dirs: readonly Bytes[],
  { libraries }: CdiFacts,
): { named: NamedLibrary; link: Link }[] {
  return mounts.flatMap(({ source, target }) => {
    const library = libraries[source];
    const dir = posix.dirname(target);
    if (library === undefined || !(dirs.includes(dir) || usualDirs.test(dir))) return [];
    const path = `${dir}/${library.soname}`;
    return [{ named: { ...library, path }, link: { path, target: posix.basename(target) } }];
  });
}

/**
 * /proc/driver/nvidia with a copy of `params` that forbids making device nodes, which cannot succeed without privileges, and all else as it is:
 * nothing can be put over a single file of it before there is a file system of ours.
 */
function planParams({ driverProc }: CdiFacts): Edits {
  const params = driverProc?.params.replace(/^(ModifyDeviceFiles:[ \t]*)1[ \t]*$/m, '$10') ?? '';
  if (driverProc === null || params === driverProc.params) return noEdits;
  return {
    ...noEdits,
    masks: [driverProcDir],
    files: [{ path: `${driverProcDir}/params`, mode: 0o444, data: params }],
    binds: driverProc.others.map((name): Bind => {
      const path = `${driverProcDir}/${name}`;
      return { source: path, target: path, kind: 'proc' };
    }),
  };
}

function warnOfEdits(chosen: readonly Chosen[], facts: CdiFacts, groups: readonly number[]): Bytes[] {
  const kinds = new Set(chosen.map(({ file }) => file.kind));
  const all = chosen.map(({ edits }) => edits);
  const list = (items: readonly (Bytes | number)[]) => [...new Set(items)].join(', ');
  const foreign = all.flatMap(({ mounts }) => mounts.filter((mount) => !isBind(mount)));
  const gids = all.flatMap((edits) => edits.additionalGids).filter((gid) => gid !== 0 && !groups.includes(gid));
  const privileged = all.flatMap((edits) => edits.privileged);
  // Cards are for who sits in front of the screen; computing and rendering need none.
  const closed = all
    .flatMap(({ deviceNodes }) => deviceNodes.map(({ hostPath }) => hostPath))
    .filter((path) => !path.startsWith('/dev/dri/card') && ['denied', 'refused'].includes(facts.nodes[path] ?? ''));
  return [
    ...facts.files
      .filter(({ kind, spec }) => spec === null && kinds.has(kind))
      .map(({ path, error }) => `the CDI specification ${path} is left out: ${error}`),
    ...(foreign.length === 0
      ? []
      : [`CDI: only files of the host are mounted; left out: ${list(foreign.map((mount) => mount.containerPath))}`]),
    ...(gids.length === 0
      ? []
      : [`CDI: the device wants the groups ${list(gids)}, which only root can join; sudo usermod -aG GROUP USER`]),
    ...(privileged.length === 0 ? [] : [`CDI: only root can honour ${list(privileged)}`]),
    ...(closed.length === 0 ? [] : [`CDI: no permission to open ${list(closed)}`]),
  ];
}

function warnOfHooks(unknown: readonly Bytes[]): Bytes[] {
  return unknown.length === 0 ? [] : [`CDI: hooks are not run; without: ${[...new Set(unknown)].join('; ')}`];
}
