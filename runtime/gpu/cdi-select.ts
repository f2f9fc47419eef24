// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import { Failure } from '../failure.ts';
import { printable } from '../options.ts';
import type { CdiFacts, CdiFile } from './cdi-facts.ts';
import type { CdiDevice, CdiSpec, ContainerEdits } from './cdi-spec.ts';

/** Edits that are to be made, and why. */
export interface Chosen {
  /** The device that asked for them first: `nvidia.com/gpu=0`. */
  readonly device: Bytes;
  readonly file: CdiFile;
  readonly edits: ContainerEdits;
}

export interface Choice {
  /** In the order of the request; a specification's own before those of its first device. */
  readonly chosen: readonly Chosen[];
  /** Paths on the host of the device nodes of all other devices of the same kinds. */
  readonly others: readonly Bytes[];
}

/** VENDOR/CLASS=NAME, whose parts are checked by looking for them. */
const qualifiedName = /^([^/=]+\/[^/=]+)=(.+)$/s;

/**
 * Finds devices by their qualified names. Of files in several directories the one of the last counts; two in the same make the device
 * unusable, as for the reference implementation (pkg/cdi/cache.go). Throws Failure for a name that is none, that nothing describes, or that
 * two files do; the message tells of bad files that may have done so.
 */
export function chooseDevices(request: readonly Bytes[], facts: CdiFacts): Choice {
  const chosen: Chosen[] = [];
  const taken = new Set<CdiSpec | CdiDevice>();
  const kinds = new Set<Bytes>();
  for (const device of new Set(request)) {
    const [, kind, name] = qualifiedName.exec(device) ?? [];
    if (kind === undefined || name === undefined) {
      throw new Failure(
        `not the name of a CDI device: ${printable(device)}`,
        'write VENDOR/CLASS=NAME, as nvidia.com/gpu=all',
      );
    }
    const { file, spec, found } = findDevice(device, kind, name, facts);
    if (!taken.has(spec)) chosen.push({ device, file, edits: spec.edits });
    chosen.push({ device, file, edits: found.edits });
    taken.add(spec).add(found);
    kinds.add(kind);
  }
  const others = facts.files
    .filter(({ kind }) => kinds.has(kind))
    .flatMap(({ spec }) => spec?.devices ?? [])
    .filter((device) => !taken.has(device))
    .flatMap(({ edits }) => edits.deviceNodes.map(({ hostPath }) => hostPath));
  return { chosen, others };
}

/** How to bring a file up to date. */
export function adviseRefresh({ kind, path }: CdiFile): Bytes {
  if (kind.startsWith('nvidia.com/')) return `bring it up to date: sudo nvidia-ctk cdi generate --output=${path}`;
  if (kind.startsWith('amd.com/')) return `bring it up to date: sudo amd-ctk cdi generate --output=${path}`;
  return 'bring it up to date with the program of the vendor that made it, or remove it';
}

function findDevice(
  device: Bytes,
  kind: Bytes,
  name: Bytes,
  facts: CdiFacts,
): { file: CdiFile; spec: CdiSpec; found: CdiDevice } {
  const candidates = facts.files
    .filter((file) => file.kind === kind)
    .flatMap((file) => {
      const found = file.spec?.devices.find((one) => one.name === name);
      return file.spec === null || found === undefined ? [] : [{ file, spec: file.spec, found }];
    });
  const priority = Math.max(...candidates.map(({ file }) => file.priority));
  const [first, second] = candidates.filter(({ file }) => file.priority === priority);
  if (first === undefined) throw explainAbsence(device, kind, facts);
  if (second !== undefined) {
    throw new Failure(
      `two specifications describe the CDI device ${printable(device)}: ${first.file.path} and ${second.file.path}`,
      'remove one of them',
    );
  }
  return first;
}

function explainAbsence(device: Bytes, kind: Bytes, { dirs, files }: CdiFacts): Failure {
  const bad = files.filter((file) => file.spec === null && (file.kind === kind || file.kind === ''));
  const names = new Set(files.flatMap(({ spec }) => (spec?.devices ?? []).map((one) => `${spec?.kind}=${one.name}`)));
  const places = dirs.length === 0 ? 'this host' : dirs.join(' or ');
  const broken = bad.map(({ path, error }) => `; ${path} is bad: ${printable(error)}`).join('');
  const maker = kind.startsWith('amd.com/') ? 'amd-ctk' : 'nvidia-ctk';
  return new Failure(
    `no specification in ${places} describes the CDI device ${printable(device)}${broken}`,
    names.size > 0
      ? `choose among ${[...names].sort().join(', ')}`
      : `make one: sudo ${maker} cdi generate --output=/etc/cdi/${kind.replace(/\..*/s, '')}.yaml`,
  );
}
