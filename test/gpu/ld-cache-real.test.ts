// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  insertLdCache,
  type LdCache,
  type LdCacheEntry,
  ldCacheFlags,
  readLdCache,
  writeLdCache,
} from '../../src/format/ld-cache.ts';
import { testNeeding } from '../support/features.ts';

const inNamespace = testNeeding('userns');
const machineFlags = process.arch === 'arm64' ? ldCacheFlags.aarch64 : ldCacheFlags.x86_64;
const level = 1n << 62n;

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ld-cache-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A library whose function answer() gives a number. */
function makeLibrary(path: string, answer = 1): void {
  writeFileSync(join(dir, 'source.c'), `int answer(void) { return ${answer}; }\n`);
  execFileSync('gcc', ['-shared', '-fPIC', '-o', path, join(dir, 'source.c')]);
}

/** What ldconfig says of a cache, without the line that names the file. */
function show(cache: Uint8Array): string {
  const path = join(dir, 'shown.cache');
  writeFileSync(path, cache);
  const text = execFileSync('/sbin/ldconfig', ['-p', '-C', path], { encoding: 'latin1' });
  return text.replaceAll(path, 'FILE');
}

function read(cache: Uint8Array): LdCache {
  const found = readLdCache(cache);
  if (found === null) throw new Error('the cache cannot be read');
  return found;
}

function entry(name: string, more: Partial<LdCacheEntry> = {}): LdCacheEntry {
  return { name, path: `/lib/${name}`, flags: machineFlags, osVersion: 0, hwcap: 0n, hwcapName: '', ...more };
}

const names = [
  ...['libfoo.so.1', 'libfoo.so.10', 'libfoo.so.2', 'libfoo.so', 'libfoo2.so.1', 'libfoo10.so.1'],
  ...['libFoo.so.1', 'lib10a.so', 'lib9a.so', 'lib9.so.9', 'libfoo-1.so', 'libfoo_1.so', 'libfoo+.so.1', 'lib~.so'],
  ...['libfoo.so.1.2', 'libfoo.so.1.10', 'libfoo.so.1a', 'libfoo.so.a1', 'libfo.so.1', 'libfooo.so.1', 'lib.so'],
  ...['liba.so.99999999999', 'liba.so.4294967297', 'liba.so.2147483648', 'liba.so.3', 'liba0.so', 'liba00.so.1'],
  ...['libz.so.1', 'libZ.so.1', 'lib-z.so.1', 'lib_z.so.1', 'libnvidia-ml.so.1', 'libnvidia-ml.so.580.95.05'],
  // C's char is unsigned on other architectures.
  ...(process.arch === 'x64' ? ['libäther.so.1', 'libazther.so.1'] : []),
];
const inSubdirectory = { 'x86-64-v3': ['libfoo.so.1', 'libz.so.1'], 'x86-64-v4': ['libfoo.so.1'], odd: ['lib9a.so'] };

/** Runs ldconfig on a root with the libraries of these names, and gives the cache that it writes. */
function runLdconfig(format: 'new' | 'compat' | 'old'): Buffer {
  const root = join(dir, 'root');
  rmSync(root, { recursive: true, force: true });
  for (const part of ['etc', 'lib', 'opt']) mkdirSync(join(root, part), { recursive: true });
  const library = join(dir, 'library');
  makeLibrary(library);
  for (const name of names) cpSync(library, join(root, 'lib', name));
  for (const [subdir, members] of Object.entries(inSubdirectory)) {
    mkdirSync(join(root, 'lib/glibc-hwcaps', subdir), { recursive: true });
    for (const name of members) cpSync(library, join(root, 'lib/glibc-hwcaps', subdir, name));
  }
  cpSync(library, join(root, 'opt/libfoo.so.2'));
  writeFileSync(join(root, 'etc/ld.so.conf'), '/opt\n/lib\n');
  const options = ['-r', root, '-X', '-c', format, '-C', '/etc/written'];
  execFileSync('unshare', ['-r', '/sbin/ldconfig', ...options]);
  return readFileSync(join(root, 'etc/written'));
}

describe('a cache of a real ldconfig', () => {
  test('says the same when it was read and written again', () => {
    const cache = readFileSync('/etc/ld.so.cache');
    const { entries, generator } = read(cache);
    expect(entries.length).toBeGreaterThan(10);
    expect(generator).toContain('ldconfig');
    expect(show(writeLdCache(entries, generator))).toBe(show(cache));
  });

  inNamespace('keeps the subdirectories of glibc-hwcaps', () => {
    const cache = runLdconfig('new');
    const { entries, generator } = read(cache);
    expect(entries.filter(({ hwcapName }) => hwcapName === 'x86-64-v3')).toHaveLength(2);
    expect(show(writeLdCache(entries, generator))).toBe(show(cache));
  });

  inNamespace('is found behind a part in the old format, and alone that part is none', () => {
    expect(read(runLdconfig('compat'))).toEqual(read(runLdconfig('new')));
    expect(readLdCache(runLdconfig('old'))).toBeNull();
  });

  inNamespace('has the order that entries get here, from whichever order and in however many steps', () => {
    const { entries, generator } = read(runLdconfig('new'));
    expect(entries).toHaveLength(names.length + 5);
    const order = ({ name, hwcapName, flags }: LdCacheEntry) => `${name} ${hwcapName} ${flags}`;
    const all = entries.map(order);
    const shuffled = fc.shuffledSubarray([...entries], { minLength: entries.length });
    fc.assert(
      fc.property(shuffled, fc.nat(entries.length), (given, count) => {
        const early = insertLdCache({ entries: [], generator }, given.slice(0, count));
        // An added entry replaces others of its name, so names that lie in several directories are added at once.
        const late = entries.filter((one) => given.slice(count).some(({ name }) => name === one.name));
        const merged = insertLdCache(early, late);
        expect(merged.entries.map(order)).toEqual(all);
        expect(read(writeLdCache(merged.entries, generator)).entries.map(order)).toEqual(all);
      }),
    );
  });
});

describe('a merged cache', () => {
  const program = () => {
    const source = `
      #include <dlfcn.h>
      #include <stdio.h>
      int main(int argc, char **argv) {
        void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
        int (*answer)(void) = library ? (int (*)(void))dlsym(library, "answer") : NULL;
        if (answer) printf("%d", answer());
        return answer ? 0 : 1;
      }`;
    writeFileSync(join(dir, 'open.c'), source);
    execFileSync('gcc', ['-o', join(dir, 'open'), join(dir, 'open.c'), '-ldl']);
    return join(dir, 'open');
  };
  /** What a program gets that opens a library by its name, with a cache in the place of the machine's. */
  const openWith = (cache: Uint8Array, name: string) => {
    writeFileSync(join(dir, 'used.cache'), cache);
    const script = 'mount --bind "$1" /etc/ld.so.cache && exec "$2" "$3"';
    const argv = ['-rm', 'sh', '-c', script, 'sh', join(dir, 'used.cache'), program(), name];
    const ran = spawnSync('unshare', argv, { encoding: 'utf8' });
    return { status: ran.status, stdout: ran.stdout };
  };

  inNamespace('leads the real loader to a library that only it names', () => {
    const machine = read(readFileSync('/etc/ld.so.cache'));
    makeLibrary(join(dir, 'libbundler-only.so.7.1'), 42);
    const added = [entry('libbundler-only.so.7', { path: join(dir, 'libbundler-only.so.7.1') })];
    const merged = insertLdCache(machine, added);
    const written = writeLdCache(merged.entries, merged.generator);
    expect(openWith(writeLdCache(machine.entries, machine.generator), 'libbundler-only.so.7').status).toBe(1);
    expect(openWith(written, 'libbundler-only.so.7')).toEqual({ status: 0, stdout: '42' });
    expect(show(written)).toContain(`libbundler-only.so.7.1\n`);
  });

  const help = spawnSync('/lib64/ld-linux-x86-64.so.2', ['--help'], { encoding: 'utf8' }).stdout ?? '';
  const withLevel2 = help.includes('x86-64-v2 (supported') ? inNamespace : test.skip;
  withLevel2('leads it to the subdirectory of glibc-hwcaps that the processor can use', () => {
    for (const answer of [1, 2, 3]) makeLibrary(join(dir, `libbundler-level.so.${answer}`), answer);
    const level2 = { path: join(dir, 'libbundler-level.so.2'), hwcap: level, hwcapName: 'x86-64-v2' };
    const unknown = { path: join(dir, 'libbundler-level.so.3'), hwcap: level, hwcapName: 'a-processor-to-come' };
    const plain = { path: join(dir, 'libbundler-level.so.1') };
    const added = [plain, level2, unknown].map((more) => entry('libbundler-level.so', more));
    const merged = insertLdCache(read(readFileSync('/etc/ld.so.cache')), added);
    expect(openWith(writeLdCache(merged.entries, ''), 'libbundler-level.so').stdout).toBe('2');
    const without = insertLdCache(merged, [added[0] as LdCacheEntry]);
    expect(openWith(writeLdCache(without.entries, ''), 'libbundler-level.so').stdout).toBe('1');
  });
});
