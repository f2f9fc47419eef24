// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import type { DriverLibrary } from '../../runtime/gpu/edits.ts';
import { readDynamic } from '../../runtime/gpu/elf-dynamic.ts';
import { planLibraries } from '../../runtime/gpu/loader.ts';
import { Observer } from '../../runtime/observer.ts';
import { toBuffer } from '../../src/format/bytes.ts';
import { readLdCache } from '../../src/format/ld-cache.ts';
import { writeLdCacheText } from '../../src/format/ld-cache-text.ts';
import { testNeeding } from '../support/features.ts';

const inNamespace = testNeeding('userns');
const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'loader-'));
  const source = `
    #include <dlfcn.h>
    #include <stdio.h>
    int main(int argc, char **argv) {
      void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
      const char *(*who)(void) = library ? (const char *(*)(void))dlsym(library, "who") : NULL;
      puts(who ? who() : dlerror());
    }`;
  writeFileSync(join(dir, 'open.c'), source);
  execFileSync('gcc', ['-o', join(dir, 'open'), join(dir, 'open.c'), '-ldl']);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A library with a soname that says who it is. */
function makeLibrary(path: string, soname: string, who: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(join(dir, 'who.c'), `const char *who(void) { return "${who}"; }\n`);
  execFileSync('gcc', ['-shared', '-fPIC', `-Wl,-soname,${soname}`, '-o', path, join(dir, 'who.c')]);
}

function put(root: string, path: string, from: string): void {
  mkdirSync(dirname(root + path), { recursive: true });
  copyFileSync(from, root + path);
}

const inRoot = (root: string, ...argv: string[]) =>
  spawnSync('unshare', ['-r', 'chroot', root, ...argv], { encoding: 'utf8' }).stdout.trim();

/** An image with glibc, a program, and an older libcuda that its cache names. */
function makeImage(name: string): string {
  const root = join(dir, name);
  const needed = execFileSync('ldd', [join(dir, 'open')], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g);
  for (const [, path = ''] of needed) put(root, path, path);
  put(root, '/open', join(dir, 'open'));
  put(root, '/sbin/ldconfig', '/sbin/ldconfig');
  makeLibrary(`${root}/opt/cuda/libcuda.so.1`, 'libcuda.so.1', "the image's");
  mkdirSync(`${root}/etc`);
  writeFileSync(`${root}/etc/ld.so.conf`, 'include /etc/ld.so.conf.d/*.conf\n/opt/cuda\n');
  inRoot(root, '/sbin/ldconfig');
  return root;
}

/** A driver's library on the host, as a collector describes it. */
function makeDriver(stem: string, links: readonly string[] = []): DriverLibrary {
  const source = join(dir, `host/lib${stem}.so.580.95.05`);
  makeLibrary(source, `lib${stem}.so.1`, "the driver's");
  const facts = new Observer().lookInside(source, readDynamic);
  if (facts === null) throw new Error('no facts');
  return { source, links, subdir: '', ...facts };
}

describe.each(['root', 'private'] as const)('with libraries placed in: %s', (place) => {
  inNamespace("the image's loader and ldconfig find the driver in the place of the image's own", () => {
    const root = makeImage(place);
    expect(inRoot(root, '/open', 'libcuda.so.1')).toBe("the image's");
    const cache = writeLdCacheText(readLdCache(readFileSync(`${root}/etc/ld.so.cache`))?.entries ?? []);
    const libraries = [makeDriver('cuda', ['libcuda.so']), makeDriver('nvidia-ml')];
    const usual = [`/usr/lib/${machine}-linux-gnu`, '/usr/lib64', '/lib64'];
    const directories = usual.filter((path) => existsSync(path));
    const none = { muslPath: '', cuda: '', compat: [] };
    const loader = { libc: 'glibc', glibcVersion: '2.99', cache, directories, ...none } as const;
    const planned = planLibraries(libraries, [], [], { debian: false, loader }, machine, place);
    expect(planned.warnings).toEqual([]);
    for (const { source, target } of planned.binds) put(root, target, source);
    for (const { path, target } of planned.links) symlinkSync(target, root + path);
    for (const { path, data } of planned.files) {
      mkdirSync(dirname(root + path), { recursive: true });
      writeFileSync(root + path, toBuffer(data));
    }
    const opened = () => ['libcuda.so.1', 'libcuda.so', 'libnvidia-ml.so.1'].map((name) => inRoot(root, '/open', name));
    expect(opened()).toEqual(Array(3).fill("the driver's"));
    const listed = inRoot(root, '/sbin/ldconfig', '-p')
      .split('\n')
      .map((line) => line.trim());
    const entries = listed.filter((line) => line.includes('libcuda') || line.includes('nvidia'));
    expect(entries.map((line) => line.split(' => ')[1])).toEqual(
      ['libnvidia-ml.so.1', 'libcuda.so.1', 'libcuda.so'].map((name) => `${planned.directory}/${name}`),
    );
    if (place === 'private') {
      // The image's own tools may make the cache anew.
      inRoot(root, '/sbin/ldconfig');
      expect(opened()).toEqual(Array(3).fill("the driver's"));
    }
  });
});
