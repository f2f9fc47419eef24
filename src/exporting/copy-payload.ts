// SPDX-License-Identifier: Apache-2.0
import { readChunks, writeExactly } from '../bundle/copy.ts';
import { createOutput } from '../bundle/output.ts';
import { explain, Failure } from '../failure.ts';
import type { ExportSource } from './open-export.ts';

/** Copies the squashfs image in a bundle, byte for byte, into a file of its own. Throws Failure; then nothing is left behind. */
export async function copyPayload(source: ExportSource, path: string, force: boolean): Promise<{ sizeBytes: number }> {
  const { walked } = source;
  if (source.kind !== 'bundle' || 'directory' in walked) {
    throw new Failure(`cannot export ${source.name} as a squashfs image: it is one`, {
      hint: 'choose another --format',
    });
  }
  const output = await createOutput(path, { force, mode: 0o644 });
  try {
    await explain(`cannot write ${path}`, () =>
      readChunks(walked.descriptor, walked, (chunk, offset) => writeExactly(output.descriptor, chunk, offset)),
    );
    await output.commit();
    return { sizeBytes: walked.sizeBytes };
  } finally {
    output.discard();
  }
}
