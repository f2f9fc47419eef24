// SPDX-License-Identifier: Apache-2.0
import { chmodSync, copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { collectLibraries } from './libraries.ts';
import { buildDir, root, run, runStep } from './step.ts';

const prootPath = '/usr/bin/proot';
/** native/proot_filter.c and tracer/ are fitted to this one, which Debian has had since 2018. */
const prootVersion = '5.1.0';
const magic = Buffer.from('\x7fELF', 'latin1');

const flags = [
  ...['-std=gnu17', '-D_GNU_SOURCE', '-O2', '-g0', '-fPIC', '-shared', '-fvisibility=hidden', '-Itracer', '-Inative'],
  ...'-Wall -Wextra -Werror -Wshadow -Wswitch-enum -Wmissing-prototypes -Wstrict-prototypes'.split(' '),
  ...['-fstack-protector-strong', '-U_FORTIFY_SOURCE', '-D_FORTIFY_SOURCE=2'],
  ...['-s', '-Wl,--build-id=none', '-Wl,-z,relro,-z,now,-z,noexecstack', '-Wl,-soname,libbundler-tracer.so'],
];
const sources = [
  ...['tracer/attach.c', 'tracer/command.c', 'tracer/detach.c'],
  ...['native/descriptors.c', 'native/exec.c', 'native/fault.c', 'native/wire.c'],
];
const headers = [
  'tracer/tracer.h',
  'native/detach.c',
  'native/detach.h',
  'native/exec.h',
  'native/fault.h',
  'native/wire.h',
];

/**
 * The directory `proot` of the runtime section: Debian's proot with the libraries that only it needs, the loaders that are
 * embedded in it (it would write them to /tmp and execute them there), and our library that goes in front of its calls.
 * Nothing else in the section needs it. Returns its path and the libraries of the system that it uses.
 */
export function buildProotDirectory(): { dir: string; files: string[] } {
  const dir = `${buildDir}proot/`;
  const version = run('dpkg-query', ['-W', '-f', '$' + '{Version}', 'proot']);
  if (!version.startsWith(`${prootVersion}-`)) {
    throw new Error(`proot ${version} is installed; the build knows ${prootVersion} (scripts/build/proot.ts)`);
  }
  const tracer = buildTracer();
  const libraries = [...collectLibraries(prootPath)].filter(([name]) => /^libtalloc/.test(name));
  const outputs = [
    'proot',
    'loader',
    'loader32',
    'lib/libbundler-tracer.so',
    ...libraries.map(([name]) => `lib/${name}`),
  ];
  const files = outputs.map((name) => `${dir}${name}`);
  const inputs = [prootPath, tracer, ...libraries.map(([, path]) => path), `${root}scripts/build/proot.ts`];
  runStep({ name: 'proot', files: inputs, values: [outputs], outputs: files }, () => {
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(`${dir}lib`, { recursive: true });
    const [loader, loader32] = findLoaders(readFileSync(prootPath));
    writeFileSync(`${dir}loader`, loader);
    writeFileSync(`${dir}loader32`, loader32);
    copyFileSync(prootPath, `${dir}proot`);
    copyFileSync(tracer, `${dir}lib/libbundler-tracer.so`);
    for (const [name, path] of libraries) run('strip', ['--strip-unneeded', '-o', `${dir}lib/${name}`, path]);
    for (const name of ['proot', 'loader', 'loader32']) chmodSync(`${dir}${name}`, 0o755);
    run('chmod', ['-R', 'u=rwX,go=rX', dir]);
  });
  return { dir: dir.replace(/\/$/, ''), files };
}

function buildTracer(): string {
  const output = `${buildDir}libbundler-tracer.so`;
  const files = [...sources, ...headers].map((name) => `${root}${name}`);
  runStep(
    { name: 'libbundler-tracer.so', files, values: [flags, run('gcc', ['--version'])], outputs: [output] },
    () => {
      run('gcc', [...flags, `-ffile-prefix-map=${root}=`, '-o', `${output}.new`, ...sources], { cwd: root });
      renameSync(`${output}.new`, output);
    },
  );
  return output;
}

/** The ELF files embedded in proot: the loader for 64-bit programs, then that for 32-bit ones. */
function findLoaders(proot: Buffer): [Buffer, Buffer] {
  const found: Buffer[] = [];
  for (let at = proot.indexOf(magic, 1); at >= 0; at = proot.indexOf(magic, at + 1)) {
    const part = proot.subarray(at);
    const bits = part[4] === 2 ? 64 : part[4] === 1 ? 32 : 0;
    if (bits === 0) continue;
    // elf(5): objcopy, which embedded them, keeps the section headers at the end.
    const sizeBytes =
      bits === 64
        ? Number(part.readBigUInt64LE(40)) + part.readUInt16LE(58) * part.readUInt16LE(60)
        : part.readUInt32LE(32) + part.readUInt16LE(46) * part.readUInt16LE(48);
    found.push(part.subarray(0, sizeBytes));
  }
  const [loader, loader32] = found;
  if (found.length !== 2 || !loader || !loader32 || loader[4] !== 2 || loader32[4] !== 1) {
    throw new Error(`${prootPath}: ${found.length} embedded loaders, not one for 64-bit and one for 32-bit programs`);
  }
  return [loader, loader32];
}
