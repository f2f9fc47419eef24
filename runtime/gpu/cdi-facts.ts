// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { Bytes } from '../../src/format/bytes.ts';
import { Failure } from '../failure.ts';
import type { SourceKind } from '../launch-input.ts';
import type { Access, Observer } from '../observer.ts';
import { interpretHooks } from './cdi-hooks.ts';
import { type CdiMount, type CdiSpec, type ContainerEdits, parseSpec } from './cdi-spec.ts';
import { readDynamic } from './elf-dynamic.ts';

/** The host's specifications of the Container Device Interface, and what there is of what they name; plain data. */
export interface CdiFacts {
  /** Where files were looked for; a later directory wins. */
  readonly dirs: readonly Bytes[];
  /** In the order of directories, then of names. */
  readonly files: readonly CdiFile[];
  /** Device nodes by their path on the host. */
  readonly nodes: Readonly<Record<Bytes, Access>>;
  /** Sources of bind mounts by their path on the host. */
  readonly kinds: Readonly<Record<Bytes, SourceKind>>;
  /** Shared libraries among those, where a hook updates the loader's cache. */
  readonly libraries: Readonly<Record<Bytes, { readonly soname: Bytes; readonly abi: '64' | '32' }>>;
  /** /proc/driver/nvidia, where a hook changes it: the content of `params` and the names of the other entries. Null otherwise. */
  readonly driverProc: { readonly params: Bytes; readonly others: readonly Bytes[] } | null;
}

export interface CdiFile {
  readonly path: Bytes;
  /** The index of its directory. */
  readonly priority: number;
  /** As the file says; '' where a bad file does not even say that. */
  readonly kind: Bytes;
  /** Null for a bad file. */
  readonly spec: CdiSpec | null;
  /** What is wrong with a bad file; '' otherwise. */
  readonly error: Bytes;
}

const defaultDirs = ['/etc/cdi', '/var/run/cdi'];
/** The largest that was seen had some 100 kB. */
const maxSpecBytes = 16 << 20;
const driverProcDir = '/proc/driver/nvidia';

/**
 * Reads all specifications in the directories (not below), *.json, *.yaml and *.yml, and looks at every path of the host that they name.
 * dirs: lowest priority first (SPEC.md and pkg/cdi/spec-dirs.go of the Container Device Interface). Bad files are no error here: facts keep what is wrong.
 * This module brings the YAML parser, which takes a millisecond to set up: import() it when it is needed.
 */
export function readCdi(observer: Observer, dirs: readonly Bytes[] = defaultDirs): CdiFacts {
  const files = dirs.flatMap((dir, priority) =>
    observer
      .listKinds(dir)
      .filter(({ name, kind }) => kind !== 'dir' && /\.(json|ya?ml)$/.test(name))
      .map(({ name }) => readSpec(observer, `${dir}/${name}`, priority)),
  );
  const edits = files.flatMap(({ spec }) =>
    spec === null ? [] : [spec.edits, ...spec.devices.map((one) => one.edits)],
  );
  const nodes = new Set(edits.flatMap(({ deviceNodes }) => deviceNodes.map(({ hostPath }) => hostPath)));
  const sources = new Set(edits.flatMap(({ mounts }) => mounts.filter(isBind).map(({ hostPath }) => hostPath)));
  const { keepsNodes, libraryDirs } = interpretHooks(edits.flatMap(({ hooks }) => hooks));
  return {
    dirs,
    files,
    nodes: Object.fromEntries([...nodes].map((path) => [path, observer.access(path)])),
    kinds: Object.fromEntries([...sources].map((path) => [path, observer.lookAt(path)])),
    libraries: libraryDirs === null ? {} : readLibraries(observer, edits),
    driverProc: keepsNodes ? readDriverProc(observer) : null,
  };
}

function isBind({ type }: CdiMount): boolean {
  return type === 'bind';
}

function readSpec(observer: Observer, path: Bytes, priority: number): CdiFile {
  const bad = (kind: Bytes, error: Bytes): CdiFile => ({ path, priority, kind, spec: null, error });
  const content = observer.readFile(path);
  if (content === null) return bad('', 'cannot be read');
  if (content.length > maxSpecBytes) return bad('', `larger than ${maxSpecBytes} bytes`);
  try {
    const spec = parseSpec(content);
    return { path, priority, kind: spec.kind, spec, error: '' };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const [, kind = ''] = /(?:^|[\s{,])["']?kind["']?[ \t]*:[ \t]*["']?([\w.-]+\/[\w.-]+)/.exec(content) ?? [];
    return bad(kind, error.message);
  }
}

/** Of what is mounted as `lib*.so*`, the names by which programs know it: ldconfig would make links of them. */
function readLibraries(observer: Observer, edits: readonly ContainerEdits[]): CdiFacts['libraries'] {
  const found = new Map<Bytes, { soname: Bytes; abi: '64' | '32' }>();
  for (const mount of edits.flatMap(({ mounts }) => mounts)) {
    const { hostPath } = mount;
    if (!isBind(mount) || found.has(hostPath) || !/^lib.+\.so(\.|$)/.test(posix.basename(hostPath))) continue;
    const facts = observer.lookInside(hostPath, readDynamic);
    if (facts !== null && facts.soname !== '') found.set(hostPath, { soname: facts.soname, abi: facts.abi });
  }
  return Object.fromEntries(found);
}

function readDriverProc(observer: Observer): CdiFacts['driverProc'] {
  const params = observer.readFile(`${driverProcDir}/params`);
  if (params === null) return null;
  return { params, others: observer.list(driverProcDir).filter((name) => name !== 'params') };
}
