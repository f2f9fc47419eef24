// SPDX-License-Identifier: Apache-2.0
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Failure } from '../failure.ts';
import { findSection } from '../format/sections.ts';

interface DoctorOptions {
  json?: boolean;
  apparmor?: boolean;
}

/** Defines `bundler doctor`. The judging is the planner's: the launcher starts it, for a bundle or for bundler's own file. */
export function defineDoctor(program: Command): void {
  program
    .command('doctor')
    .summary('verify that this host can run bundles, and tell what would improve it')
    .description(
      'Tries what starting a bundle needs: namespaces, mounts, FUSE, overlays, directories that programs can be executed from. Names the cause of ' +
        'everything that is missing, and one command that helps. With a bundle it judges for that one, as its own --verify does. The exit status is 0 ' +
        'when bundles can run here, 1 when they cannot.',
    )
    .argument('[file]', 'a bundle')
    .option('--json', 'print it as JSON (docs/verify.md)')
    .option('--apparmor', 'print the AppArmor profile that lets the bundle, or bundler, make user namespaces')
    .action(async (file: string | undefined, options: DoctorOptions) => {
      const { findSelf } = await import('../launcher/self.ts');
      const { startBundle } = await import('../launcher/start-bundle.ts');
      const path = file === undefined ? findSelf() : await checkBundle(file, findSelf());
      const flags = (['json', 'apparmor'] as const).filter((name) => options[name] === true).map((name) => `--${name}`);
      process.exitCode = await startBundle(path, ['--verify', ...flags]);
    });
}

/** The absolute path of a file that is a bundle, or of bundler itself: nothing else is executed. */
async function checkBundle(file: string, self: string): Promise<string> {
  const { openBundle } = await import('../bundle/open.ts');
  const opened = await openBundle(file);
  opened.file.close();
  if (opened.kind === 'bundle') return findSection(opened.table, 'payload') === undefined ? self : resolve(file);
  throw new Failure(`cannot judge ${file}: a plain squashfs image cannot be started`, {
    hint: `"bundler make ${file}" makes a bundle of it; "bundler doctor" alone judges the host`,
  });
}
