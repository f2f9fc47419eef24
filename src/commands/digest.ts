// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { Failure } from '../failure.ts';
import { addSourceOptions, type SourceFlags, startSession } from '../importing/source-options.ts';

/** Defines `bundler digest`. */
export function defineDigest(program: Command): void {
  const command = program
    .command('digest')
    .summary('print the manifest digest of an image of a registry')
    .description(
      "Prints the digest of an image's manifest for one platform, as docker://IMAGE@DIGEST takes it. Nothing but manifests is downloaded.",
    )
    .argument('<image>', 'docker://[USER@][REGISTRY#]IMAGE[:TAG]');
  addSourceOptions(command).action(async (text: string, flags: SourceFlags) => {
    const { parseImageUri } = await import('../reference/image-uri.ts');
    const uri = parseImageUri(text);
    if (uri.kind !== 'docker') {
      throw new Failure(`cannot get the digest of ${text}: only images of registries have one that others know`, {
        hint: 'docker://IMAGE[:TAG]',
      });
    }
    const { request, reporter, view } = await startSession(flags);
    const { openRegistrySource } = await import('../importing/open-image.ts');
    const { resolveManifest } = await import('../source/registry.ts');
    const source = await openRegistrySource(uri.reference, request);
    try {
      const { digest } = await resolveManifest(uri.reference, source);
      if (flags.json === true) view.finish({ digest });
      else reporter.result(digest);
    } finally {
      source.client.close();
      source.cache.close();
    }
  });
}
