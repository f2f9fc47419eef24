// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The repository, with a slash at the end. */
export const root = fileURLToPath(new URL('../../', import.meta.url));
export const buildDir = `${root}build/`;

export interface Step {
  readonly name: string;
  /** Files whose content decides the result (a missing one counts as such), and other values: flags, versions. */
  readonly files: readonly string[];
  readonly values: readonly unknown[];
  readonly outputs: readonly string[];
}

/** Runs `make` unless its outputs exist and were made from the same inputs. Says what it did and how long it took. */
export function runStep(step: Step, make: () => void): void {
  const stamp = `${buildDir}stamps/${step.name.replaceAll('/', '_')}`;
  const key = inputKey(step);
  const isCurrent = existsSync(stamp) && readFileSync(stamp, 'utf8') === key;
  if (isCurrent && step.outputs.every((path) => existsSync(path))) return;
  const startMs = performance.now();
  make();
  mkdirSync(`${buildDir}stamps`, { recursive: true });
  writeFileSync(stamp, key);
  const sizes = step.outputs.length === 1 && step.outputs[0] ? `, ${megabytes(statSync(step.outputs[0]).size)}` : '';
  console.log(`build: ${step.name} (${((performance.now() - startMs) / 1000).toFixed(1)} s${sizes})`);
}

/** SHA-256 over the names and contents of the inputs, of which paths below the repository count as relative. */
function inputKey(step: Step): string {
  const hash = createHash('sha256').update(JSON.stringify([step.values, step.outputs]).replaceAll(root, ''));
  for (const path of step.files) hash.update(`\0${path.replace(root, '')}\0${contentDigest(path)}`);
  return hash.digest('hex');
}

const digests = new Map<string, { mtimeMs: number; digest: string }>();

/** A file is read once in a build unless a step writes it anew: Node's 120 MB take a tenth of a second. */
function contentDigest(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) return 'missing';
  const known = digests.get(path);
  if (known?.mtimeMs === stat.mtimeMs) return known.digest;
  const digest = createHash('sha256').update(readFileSync(path)).digest('hex');
  digests.set(path, { mtimeMs: stat.mtimeMs, digest });
  return digest;
}

/** Runs a program to its end; throws with what it printed when it fails. Returns its standard output. */
export function run(command: string, args: readonly string[], options: { cwd?: string } = {}): string {
  const result = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 64 << 20, ...options });
  if (result.error) throw new Error(`start ${command}: ${result.error.message} (to install it: npm run setup)`);
  if (result.status !== 0) {
    const how = result.signal ?? `status ${result.status}`;
    throw new Error(`${command} ${args.join(' ')}: ${how}\n${result.stdout}${result.stderr}`);
  }
  return result.stdout;
}

export function megabytes(sizeBytes: number): string {
  return `${(sizeBytes / 1e6).toFixed(sizeBytes < 1e6 ? 2 : 1)} MB`;
}
