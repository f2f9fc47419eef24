// SPDX-License-Identifier: Apache-2.0
// Writes docs/cmd/*.md, but for run.md, from the definitions of the commands: node scripts/make-command-docs.ts
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { createProgram } from '../src/cli.ts';

const examples: Record<string, readonly string[]> = {
  make: [
    'bundler make np.sqsh',
    'bundler make -o bench.run --env OMP_NUM_THREADS=4 -d "norm benchmark" np.sqsh',
    'bundler make --entrypoint \'["python3", "-I"]\' np.sqsh',
    'SOURCE_DATE_EPOCH=0 bundler make -f -q np.sqsh',
    'bundler make -o ubuntu.run docker://ubuntu:24.04',
  ],
  import: [
    'bundler import docker://ubuntu:24.04',
    'bundler import -o cuda.sqsh docker://nvcr.io/nvidia/cuda:12.8.1-base-ubuntu24.04',
    'bundler import --user ann docker://registry.example/team/np:1',
    'bundler import --arch arm64 docker://registry.example/np@sha256:DIGEST',
    'bundler import podman://localhost/np',
    'docker save np | bundler import -o np.sqsh -',
  ],
  load: ['bundler load docker://ubuntu:24.04', 'bundler load --name np oci-archive:np.tar'],
  export: [
    'bundler export np',
    'bundler export --format docker-archive -o np.tar np.run && docker load -i np.tar',
    'bundler export --format oci --compression zstd -o layout np.sqsh',
    'bundler export --format docker://registry.example/team/np:1 np.sqsh',
  ],
  digest: ['bundler digest docker://ubuntu:24.04', 'bundler digest --arch arm64 docker://registry.example/np:1'],
  inspect: ['bundler inspect np.run', 'bundler inspect --json np.run', 'bundler inspect np.sqsh'],
  verify: ['bundler verify np.run', 'bundler verify --quiet np.run && ./np.run'],
  extract: ['bundler extract np.run', 'bundler extract -o /scratch/np np.sqsh'],
  doctor: ['bundler doctor', 'bundler doctor --json np.run', 'bundler doctor --apparmor np.run'],
  cache: [
    'bundler cache list',
    'bundler cache prune --older-than 30d',
    'bundler cache prune --max-size 20G --dry-run',
    'ENROOT_CACHE_PATH=/scratch/cache bundler cache prune --all -q',
  ],
  run: ['bundler run np.run', 'bundler run /mnt/noexec/np.run --env OMP_NUM_THREADS=8 python3 norm.py'],
};

/** Commands that take an image from anywhere say so on one page. */
const takeImages = ['import', 'load', 'make', 'digest'];

const statuses: Record<string, string> = {
  run: "The exit status is that of the bundle: the command's own, or 125, 126, 127 as described in [run](run.md).",
  verify: 'The exit status is 0, 1 or 125, as said above.',
  doctor:
    'The exit status is 0 or 1, as said above, and 125 when bundler itself fails. [verify](../verify.md) describes the output.',
};

/** The pages by their file names. `bundler run FILE` is run-file.md: run.md is about the options of a bundle. */
export function renderPages(): Map<string, string> {
  const commands = createProgram(() => {}).commands;
  return new Map(
    commands.map((command) => [`${command.name() === 'run' ? 'run-file' : command.name()}.md`, renderPage(command)]),
  );
}

function renderPage(command: Command): string {
  const lines = [
    '<!-- written by scripts/make-command-docs.ts from the definition of the command -->',
    `# bundler ${command.name()}`,
    '',
    command.description(),
    '',
    ...(command.commands.length === 0
      ? renderUsage(command)
      : command.commands.flatMap((part) => [
          `## bundler ${command.name()} ${part.name()}`,
          '',
          part.description(),
          '',
          ...renderUsage(part),
        ])),
    statuses[command.name()] ??
      'The exit status is 0 on success and 125 when bundler fails; the message on stderr says why and what to try.',
    '',
    ...(takeImages.includes(command.name())
      ? [
          '[images](../images.md) tells how images are named, and what becomes of credentials, layers and the cache.',
          '',
        ]
      : []),
    'Examples:',
    '',
    ...(examples[command.name()] ?? []).map((line) => `    ${line}`),
    '',
  ];
  return lines.join('\n');
}

/** The synopsis and the tables of a command without commands of its own. */
function renderUsage(command: Command): string[] {
  const help = command.createHelp();
  const above = command.parent?.parent ? `${command.parent.name()} ` : '';
  return [
    `    bundler ${above}${command.name()} ${command.usage()}`,
    '',
    ...renderTable(
      'argument',
      help.visibleArguments(command).map((argument) => [help.argumentTerm(argument), argument.description]),
    ),
    ...renderTable(
      'option',
      help.visibleOptions(command).map((option) => [help.optionTerm(option), option.description]),
    ),
  ];
}

function renderTable(title: string, rows: readonly (readonly [string, string])[]): string[] {
  if (rows.length === 0) return [];
  const cell = (text: string) => text.replaceAll('|', '\\|');
  return [`| ${title} | |`, '|---|---|', ...rows.map(([term, text]) => `| \`${cell(term)}\` | ${cell(text)} |`), ''];
}

if (process.argv[1] === import.meta.filename) {
  const dir = resolve(import.meta.dirname, '../docs/cmd');
  mkdirSync(dir, { recursive: true });
  for (const [name, page] of renderPages()) writeFileSync(join(dir, name), page);
}
