// SPDX-License-Identifier: Apache-2.0
import { type Bytes, fromText, toText } from '../src/format/bytes.ts';
import type { Manifest } from '../src/format/manifest.ts';
import { Failure } from './failure.ts';

/** Shape of each part, by a letter: s string, n number, b boolean, l list of strings, k list of skeleton entries, o loader's facts; upper case: may be null; with ?: may be missing. */
const shapes = {
  provenance: { bundler: 's', source: 's', createdSeconds: 'n' },
  image: {
    compressor: 's',
    blockSizeBytes: 'n',
    inodes: 'n',
    usedBytes: 'n',
    sizeBytes: 'n',
    digest: 's',
    unpackedBytes: 'n',
  },
  rootfs: {
    passwd: 's',
    group: 's',
    environment: 's',
    fstab: 's',
    osRelease: 's',
    loginDefs: 's',
    useradd: 's',
    rc: 'b',
    rcProvenance: 's',
    shell: 'b',
    debian: 'b',
    homes: 'l?',
    skeleton: 'k?',
    loader: 'o?',
  },
  config: { entrypoint: 'l', cmd: 'l', env: 'l', workdir: 's', user: 's', stopSignal: 's?' },
  options: { target: 's', env: 'l', rc: 'S', entrypoint: 'L' },
} as const;
const optional = ['image', 'rootfs', 'config'];

/** Parses the manifest section; every string of the result is a byte string (UTF-8). Unknown keys are kept: newer files stay readable. */
export function readManifest(section: Bytes): Manifest {
  let data: unknown;
  try {
    data = JSON.parse(toText(section), (_key, value) => (typeof value === 'string' ? fromText(value) : value));
  } catch (error) {
    throw new Failure(`the manifest is not JSON: ${(error as Error).message}`);
  }
  const wrong = (what: string) => new Failure(`the manifest's ${what} is not what this version of bundler understands`);
  if (!isObject(data) || data.manifestVersion !== 1) throw wrong('manifestVersion');
  for (const name of ['name', 'description']) if (typeof data[name] !== 'string') throw wrong(name);
  for (const [part, shape] of Object.entries(shapes)) {
    const value = data[part];
    if (value === undefined && optional.includes(part)) continue;
    if (!isObject(value)) throw wrong(part);
    for (const [key, letter] of Object.entries(shape)) if (!fits(value[key], letter)) throw wrong(`${part}.${key}`);
  }
  if (data.configuration !== undefined && !isConfiguration(data.configuration)) throw wrong('configuration');
  return data as unknown as Manifest;
}

const fileShape = { from: 's', path: 's', mode: 'n', builtin: 's', encoding: 's', content: 's' } as const;

function isConfiguration(value: unknown): boolean {
  if (!isObject(value) || !isObject(value.settings) || !Array.isArray(value.files)) return false;
  const isFile = (file: unknown) =>
    isObject(file) && Object.entries(fileShape).every(([key, letter]) => fits(file[key], letter));
  return Object.values(value.settings).every((text) => typeof text === 'string') && value.files.every(isFile);
}

const loaderShape = { glibcVersion: 's', cache: 's', muslPath: 's', directories: 'l', cuda: 's', compat: 'l' } as const;

function isLoaderFacts(value: unknown): boolean {
  if (!isObject(value) || !['glibc', 'musl', ''].includes(value.libc as string)) return false;
  return Object.entries(loaderShape).every(([key, letter]) => fits(value[key], letter));
}

function isSkeletonEntry(value: unknown): boolean {
  if (!isObject(value) || typeof value.path !== 'string' || !fits(value.mode, 'n') || !fits(value.content, 'S'))
    return false;
  return !value.path.split('/').some((part) => part === '' || part === '.' || part === '..');
}

function fits(value: unknown, letter: string): boolean {
  if (letter.endsWith('?')) return value === undefined || fits(value, letter.slice(0, -1));
  if (value === null) return letter === letter.toUpperCase();
  switch (letter.toLowerCase()) {
    case 's':
      return typeof value === 'string';
    case 'n':
      return Number.isSafeInteger(value) && (value as number) >= 0;
    case 'b':
      return typeof value === 'boolean';
    case 'k':
      return Array.isArray(value) && value.every(isSkeletonEntry);
    case 'o':
      return isLoaderFacts(value);
    default:
      return Array.isArray(value) && value.every((item) => typeof item === 'string');
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
