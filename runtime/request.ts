// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { type Fact, WireError } from '../src/format/wire.ts';

/** The request frame of docs/plan.md as data: who started the bundle, with what, and what the file holds. */
export interface Request {
  readonly argv: readonly Bytes[];
  readonly env: Readonly<Record<string, Bytes>>;
  readonly uid: number;
  readonly gid: number;
  readonly euid: number;
  readonly egid: number;
  readonly groups: readonly number[];
  readonly cwd: Bytes;
  /** Which of the descriptors 0 1 2 are terminals. */
  readonly tty: string;
  /** The file whose sections these are. */
  readonly exe: Bytes;
  /** The file that was executed: the same, unless bundler runs it (`bundler run FILE`). */
  readonly program: Bytes;
  readonly launcher: string;
  readonly kernel: string;
  readonly machine: string;
  readonly hostname: Bytes;
  readonly fileSizeBytes: number;
  readonly sections: readonly Section[];
  /** Where the runtime was unpacked; '' when nowhere. */
  readonly cacheDir: Bytes;
  readonly runtimeFrom: string;
  /** The runtime's own directory there; '' when nowhere. */
  readonly runtimeDir: Bytes;
  readonly cpus: number;
  /** The process that the user started. */
  readonly pid: number;
  /** /proc/self/cgroup, and what tells whose ids and processes we see: the inode numbers of our user and pid namespaces. */
  readonly cgroup: Bytes;
  readonly namespaces: string;
}

export interface Section {
  readonly name: string;
  readonly offset: number;
  readonly sizeBytes: number;
  readonly rawSizeBytes: number;
  readonly digest: string;
}

/**
 * Splits the request frame into the request and the manifest's bytes ('' when there is none). root: a directory that stands for the host, for the build
 * and for tests; '' in the launcher's.
 */
export function readRequest(facts: readonly Fact[]): { request: Request; manifest: Bytes; root: Bytes } {
  const last = new Map(facts);
  const all = (key: string) => facts.filter(([name]) => name === key).map(([, value]) => value);
  const text = (key: string) => last.get(key) ?? '';
  const number = (key: string) => {
    const value = Number(text(key));
    if (!Number.isSafeInteger(value)) throw new WireError(`the fact ${key} is not a number`);
    return value;
  };
  if (text('wire') !== '1') throw new WireError(`a request of version '${text('wire')}', not 1`);
  const request: Request = {
    argv: all('argv'),
    env: readEnvironment(all('env')),
    uid: number('uid'),
    gid: number('gid'),
    euid: number('euid'),
    egid: number('egid'),
    groups: text('groups').split(' ').filter(Boolean).map(Number),
    cwd: text('cwd'),
    tty: text('tty'),
    exe: text('exe'),
    program: text('program'),
    launcher: text('launcher'),
    kernel: text('kernel'),
    machine: text('machine'),
    hostname: text('hostname'),
    fileSizeBytes: number('file-size'),
    sections: all('section').map(readSection),
    cacheDir: text('cache-dir'),
    runtimeFrom: text('runtime-from'),
    runtimeDir: text('runtime-dir'),
    cpus: number('cpus'),
    pid: number('pid'),
    cgroup: text('cgroup'),
    namespaces: text('namespaces'),
  };
  return { request, manifest: text('manifest'), root: text('root') };
}

/** As getenv(3): of two variables with one name the first counts. Strings without '=' are no variables. */
export function readEnvironment(strings: readonly Bytes[]): Record<string, Bytes> {
  const env: Record<string, Bytes> = Object.create(null);
  for (const string of strings) {
    const at = string.indexOf('=');
    if (at > 0 && env[string.slice(0, at)] === undefined) env[string.slice(0, at)] = string.slice(at + 1);
  }
  return env;
}

function readSection(line: Bytes): Section {
  const [name = '', offset, size, raw, digest = ''] = line.split(' ');
  return { name, offset: Number(offset), sizeBytes: Number(size), rawSizeBytes: Number(raw), digest };
}
