// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { buildDir, root, run, runStep } from './step.ts';

export const maxLauncherBytes = 2_500_000;

export interface Variant {
  readonly name: 'launcher' | 'launcher-asan';
  readonly compiler: string;
  readonly compile: readonly string[];
  readonly link: readonly string[];
}

const warnings = '-Wall -Wextra -Werror -Wshadow -Wswitch-enum -Wmissing-prototypes -Wstrict-prototypes'.split(' ');
const language = ['-std=gnu17', '-D_GNU_SOURCE', '-pthread', '-Inative', '-Istub'];
// Static archives by exact name, so that no shared library slips in. zstd before lzma and z: libsquashfs uses all of them.
const archives = ['-l:libsquashfs.a', '-l:libzstd.a', '-l:liblz4.a', '-l:liblzma.a', '-l:libz.a'];

/** The launcher of every .run: static, hardened, and linked so that any warning (dlopen, NSS, iconv) is an error. */
export const release: Variant = {
  name: 'launcher',
  compiler: 'gcc',
  compile: [
    ...['-O2', '-g0', '-ffunction-sections', '-fdata-sections', '-fPIE'],
    ...['-fstack-protector-strong', '-fstack-clash-protection', '-U_FORTIFY_SOURCE', '-D_FORTIFY_SOURCE=2'],
  ],
  link: [
    ...['-static-pie', '-pthread', '-s', '-Wl,--gc-sections', '-Wl,--fatal-warnings', '-Wl,--build-id=none'],
    ...['-Wl,-z,relro,-z,now,-z,noexecstack', ...archives],
  ],
};

/** The same sources under the address and undefined-behaviour sanitizers. These need the shared C library. */
export const sanitized: Variant = {
  name: 'launcher-asan',
  compiler: 'clang',
  compile: ['-O1', '-g', '-fno-omit-frame-pointer', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'],
  link: ['-pthread', '-fsanitize=address,undefined', ...archives],
};

/** Compiles stub/*.c and native/*.c and links them: build/launcher or build/launcher-asan. */
export async function buildLauncher(variant: Variant, version: string): Promise<string> {
  const output = `${buildDir}${variant.name}`;
  const objectDir = `${buildDir}obj/${variant.name}/`;
  mkdirSync(objectDir, { recursive: true });
  const flags = [...language, ...warnings, ...variant.compile, `-DBUNDLER_VERSION="${version}"`];
  // Recorded paths must not depend on where the repository lies.
  flags.push(`-ffile-prefix-map=${root}=`);
  const compilerId = run(variant.compiler, ['--version']).split('\n', 1)[0];
  const objects = await compileAll(
    listSources(),
    objectDir,
    variant.compiler,
    flags,
    `${compilerId} ${flags.join(' ')}`,
  );
  const step = { name: variant.name, files: objects, values: [compilerId, variant.link], outputs: [output] };
  runStep(step, () => {
    run(variant.compiler, ['-o', `${output}.new`, ...objects, ...variant.link]);
    renameSync(`${output}.new`, output);
  });
  const sizeBytes = statSync(output).size;
  if (variant === release && sizeBytes > maxLauncherBytes) {
    throw new Error(`the launcher has ${sizeBytes} bytes, at most ${maxLauncherBytes} are allowed`);
  }
  return output;
}

/** Relative paths of the C sources, sorted so that the link is the same everywhere. */
export function listSources(): string[] {
  const inDir = (dir: string) =>
    readdirSync(`${root}${dir}`)
      .filter((name) => name.endsWith('.c'))
      .map((name) => `${dir}/${name}`);
  return [...inDir('stub'), ...inDir('native')].sort();
}

async function compileAll(
  sources: string[],
  dir: string,
  compiler: string,
  flags: string[],
  id: string,
): Promise<string[]> {
  const jobs = sources.map((source) => ({
    source,
    object: `${dir}${source.replaceAll('/', '_').replace(/\.c$/, '.o')}`,
  }));
  const waiting = jobs.filter((job) => !isCurrent(job.object, id));
  const failures: string[] = [];
  const work = async () => {
    for (let job = waiting.shift(); job; job = waiting.shift()) {
      const failed = await compile(compiler, [...flags, '-MD', '-c', '-o', job.object, job.source]);
      if (failed === '') writeFileSync(`${job.object}.key`, objectKey(job.object, id));
      else failures.push(failed);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  if (failures.length > 0) throw new Error(failures.join('\n'));
  return jobs.map((job) => job.object);
}

function isCurrent(object: string, id: string): boolean {
  const key = `${object}.key`;
  return existsSync(object) && existsSync(key) && readFileSync(key, 'utf8') === objectKey(object, id);
}

/** SHA-256 over the compiler, its flags and every file that the compiler read (the .d file it wrote). */
function objectKey(object: string, id: string): string {
  const hash = createHash('sha256').update(id);
  const rule = readFileSync(object.replace(/\.o$/, '.d'), 'utf8');
  for (const path of rule
    .replace(/^[^:]*:/, '')
    .split(/[\s\\]+/)
    .filter(Boolean)) {
    const full = path.startsWith('/') ? path : `${root}${path}`;
    hash.update(`\0${path}\0`).update(existsSync(full) ? readFileSync(full) : 'missing');
  }
  return hash.digest('hex');
}

/** Returns what the compiler printed when it failed, else ''. */
function compile(compiler: string, args: string[]): Promise<string> {
  return new Promise((resolve) => {
    const child = spawn(compiler, args, { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] });
    let text = '';
    child.stderr.on('data', (chunk) => {
      text += chunk;
    });
    child.on('error', (error) => resolve(`start ${compiler}: ${error.message} (to install it: npm run setup)`));
    child.on('close', (status) => resolve(status === 0 ? '' : text || `${compiler}: status ${status}`));
  });
}
