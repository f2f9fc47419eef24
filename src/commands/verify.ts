// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { SectionVerdict } from '../bundle/verify.ts';
import { exitStatus, explain, Failure } from '../failure.ts';
import { FormatError, NotBundleError } from '../format/format-error.ts';
import { createReporter, type Reporter } from '../ui/reporter.ts';

interface VerifyOptions {
  quiet?: boolean;
  json?: boolean;
}

/** Defines `bundler verify`. */
export function defineVerify(program: Command): void {
  program
    .command('verify')
    .summary('compare every byte of a bundle with its digests')
    .description(
      'Reads a whole bundle and compares every section with its digest, the payload leaf by leaf. The exit status is 0 when all is well, ' +
        '1 when something is damaged, 125 when the file cannot be read. Digests prove that the file is what was made, not who made it.',
    )
    .argument('<file>', 'the bundle')
    .option('-q, --quiet', 'print nothing, only give the exit status')
    .option('--json', 'print what was found as JSON')
    .action(async (file: string, options: VerifyOptions) => {
      const reporter = createReporter({ quiet: options.quiet === true });
      const found = await verifyFile(file, reporter, options);
      if (options.json === true) reporter.json({ file, ...found });
      else reporter.result(formatVerdicts(file, found));
      if (!found.ok) process.exitCode = exitStatus.damaged;
    });
}

interface Findings {
  readonly ok: boolean;
  /** Set when the table itself cannot be used. */
  readonly problem?: string;
  readonly sections: readonly SectionVerdict[];
}

async function verifyFile(path: string, reporter: Reporter, options: VerifyOptions): Promise<Findings> {
  const { openBundle } = await import('../bundle/open.ts');
  const { verifySections } = await import('../bundle/verify.ts');
  try {
    const opened = await openBundle(path);
    if (opened.kind === 'image') {
      throw new Failure(`cannot verify ${path}: a plain squashfs image carries no digests`, {
        hint: `"bundler inspect ${path}" prints its digest; a bundle made of it can be verified`,
      });
    }
    const progress = options.json === true ? reporter.silence() : reporter.progress('verifying', opened.file.sizeBytes);
    const sections = await explain(`cannot read ${path}`, () =>
      verifySections(opened.file.descriptor, opened.table, (bytes) => progress.advance(bytes)),
    ).finally(() => progress.end());
    opened.file.close();
    return { ok: sections.every((section) => section.ok), sections };
  } catch (error) {
    if (!(error instanceof FormatError) || error instanceof NotBundleError) throw error;
    return { ok: false, problem: error.message, sections: [] };
  }
}

function formatVerdicts(path: string, found: Findings): string {
  if (found.problem !== undefined) return `BAD ${found.problem}`;
  const lines = found.sections.map((section) =>
    section.ok ? `ok  ${section.name}` : `BAD ${section.name}: ${section.problem}`,
  );
  return [...lines, found.ok ? `${path} is whole` : `${path} is damaged`].join('\n');
}
