// SPDX-License-Identifier: Apache-2.0
import { chmodSync, copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { sealLoader } from '../seal-loader.ts';
import { collectLibraries, findLoader } from './libraries.ts';
import { fixedSeed } from './node.ts';
import { buildProotDirectory } from './proot.ts';
import { makeSampleHost } from './sample-host.ts';
import { sampleLaunch } from './sample-launch.ts';
import { buildDir, root, run, runStep } from './step.ts';

/** Everything the same on every machine: no owners, times or attributes of the build machine. zstd, because unpacking it is quick. */
const imageOptions = [
  ...['-comp', 'zstd', '-Xcompression-level', '19', '-b', '1M', '-all-root', '-no-xattrs', '-all-time', '0'],
  ...['-mkfs-time', '0', '-root-mode', '0755', '-no-progress', '-quiet', '-no-recovery'],
];

/**
 * The runtime section: the single executable, the loader, every library it needs, the planner with its code cache, and proot. What seldom
 * changes is compressed once (25 s on two cores); the planner is appended to a copy of that image, which takes a fraction of a second.
 */
export function buildRuntimeImage(
  program: string,
  node: string,
  scripts: readonly string[],
  notices: string,
): { image: string; rawSizeBytes: number } {
  const base = buildBaseImage(program);
  const image = `${buildDir}runtime.sqfs`;
  const proot = buildProotDirectory();
  const added = [...warmCodeCache(node, scripts), notices];
  const files = [base, ...added, ...proot.files];
  runStep({ name: 'runtime.sqfs', files, values: [imageOptions], outputs: [image] }, () => {
    copyFileSync(base, `${image}.new`);
    run('mksquashfs', [...added, proot.dir, `${image}.new`, ...imageOptions]);
    renameSync(`${image}.new`, image);
  });
  return { image, rawSizeBytes: sumFileSizes(image) };
}

function buildBaseImage(program: string): string {
  const dir = `${buildDir}runtime/`;
  const image = `${buildDir}runtime-base.sqfs`;
  const loader = findLoader(program);
  const libraries = collectLibraries(program);
  const files = [program, loader, `${root}scripts/seal-loader.ts`, ...libraries.values()];
  runStep({ name: 'runtime-base.sqfs', files, values: [imageOptions, [...libraries.keys()]], outputs: [image] }, () => {
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(`${dir}lib`, { recursive: true });
    copyFileSync(program, `${dir}runtime`);
    run('strip', ['-s', '-o', `${dir}ld.so`, loader]);
    sealFile(`${dir}ld.so`);
    for (const [name, path] of libraries) run('strip', ['--strip-unneeded', '-o', `${dir}lib/${name}`, path]);
    for (const name of ['runtime', 'ld.so']) chmodSync(`${dir}${name}`, 0o755);
    run('chmod', ['-R', 'u=rwX,go=rX', dir]);
    run('mksquashfs', [dir, `${image}.new`, '-noappend', ...imageOptions]);
    renameSync(`${image}.new`, image);
  });
  return image;
}

function sealFile(path: string): void {
  const loader = readFileSync(path);
  sealLoader(loader);
  writeFileSync(path, loader);
}

/** Wraps the planner's scripts as boot.cjs expects them and lets them plan sample launches, after which V8 gives its code caches. All these files. */
function warmCodeCache(node: string, scripts: readonly string[]): string[] {
  const dir = `${buildDir}planner/`;
  const warm = `${root}scripts/build/warm-cache.cjs`;
  const sources = ['sample-launch.ts', 'sample-host.ts', 'make-elf.ts'].map((name) => `${root}scripts/build/${name}`);
  const outputs = scripts.flatMap((path) => {
    const wrapped = `${dir}${basename(path)}`;
    return [wrapped, wrapped.replace(/\.cjs$/, '.cache')];
  });
  runStep({ name: 'planner', files: [node, ...scripts, warm, ...sources], values: [], outputs }, () => {
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir, { recursive: true });
    for (const path of scripts) {
      const code = readFileSync(path, 'utf8');
      writeFileSync(`${dir}${basename(path)}`, `(function(exports,require,module,loadScript){${code}\n})`);
    }
    makeSampleHost(`${dir}host`);
    writeFileSync(`${dir}launch`, sampleLaunch());
    writeFileSync(`${dir}gpu-launch`, sampleLaunch(`${dir}host`));
    run(node, [fixedSeed, warm, dir, `${dir}reply`, `${dir}launch`, `${dir}gpu-launch`]);
    for (const path of outputs) chmodSync(path, 0o644);
  });
  return outputs;
}

/** The tool's script as load-tool.ts expects it, after a command line of it was run for V8's code cache: the content of the `tool` section. */
export function buildToolSection(node: string, tool: string): string {
  const dir = `${buildDir}tool/`;
  const [script, cache, section] = [`${dir}tool.cjs`, `${dir}tool.cache`, `${dir}section`];
  const warm = `${root}scripts/build/warm-tool.cjs`;
  runStep({ name: 'tool', files: [node, tool, warm], values: [], outputs: [section] }, () => {
    mkdirSync(dir, { recursive: true });
    const head = '(function(exports,require,module,__filename,__dirname){';
    writeFileSync(script, `${head}${readFileSync(tool, 'latin1')}\n})`, 'latin1');
    run(node, [fixedSeed, warm, script, cache, 'make', '/nonexistent.sqsh']);
    const size = Buffer.alloc(4);
    size.writeUInt32LE(readFileSync(script).length);
    writeFileSync(section, Buffer.concat([size, readFileSync(script), readFileSync(cache)]));
  });
  return section;
}

function sumFileSizes(image: string): number {
  const sizes = run('unsquashfs', ['-lln', image]).matchAll(/^-\S+\s+\S+\s+(\d+) /gm);
  return [...sizes].reduce((sum, match) => sum + Number(match[1]), 0);
}
