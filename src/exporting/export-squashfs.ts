// SPDX-License-Identifier: Apache-2.0
import { createOutput } from '../bundle/output.ts';
import { explain } from '../failure.ts';
import type { PackSettings } from '../importing/pack-settings.ts';
import { startPacker } from '../launcher/pack.ts';
import { walkTree } from '../launcher/walk.ts';
import { placeEntry } from '../layer/apply-layer.ts';
import { emitTree } from '../layer/emit-tree.ts';
import { createTree } from '../layer/rootfs-tree.ts';
import { storeContents } from '../layer/store-content.ts';
import type { ExportSource } from './open-export.ts';
import { selectEntries } from './select-entries.ts';

export interface SquashfsRequest {
  readonly output: string;
  readonly force: boolean;
  readonly packing: PackSettings;
  /** The image's time. */
  readonly createdSeconds: number;
  readonly sourceDateSeconds: number | null;
}

/** Writes a container's root filesystem as a squashfs image, which appears when it is whole. Throws Failure; then nothing is left behind. */
export async function exportSquashfs(source: ExportSource, request: SquashfsRequest): Promise<{ sizeBytes: number }> {
  const output = await createOutput(request.output, { force: request.force, mode: 0o644 });
  try {
    const { options, noXattrs, allRoot } = request.packing;
    const packer = startPacker(
      output.descriptor,
      { ...options, createdSeconds: request.createdSeconds },
      request.output,
    );
    try {
      const { record, visitor } = storeContents(packer, () => true);
      const all = {
        ...visitor,
        entry: (entry: Parameters<typeof visitor.entry>[0]) => void visitor.entry(entry),
        drained: () => packer.drained(),
      };
      await walkTree(source.walked, selectEntries(all, source.selection));
      const tree = createTree(request.createdSeconds);
      for (const [i, entry] of record.entries.entries()) {
        if (entry.path === '') tree.root.inode.meta = entry;
        else placeEntry(tree, entry, record.contents[i] as number, 0);
      }
      const { inodes, root } = await emitTree(tree, packer, {
        latestSeconds: request.sourceDateSeconds,
        noXattrs,
        allRoot,
      });
      const { sizeBytes } = await explain(`cannot write ${request.output}`, () => packer.finish(inodes, root));
      await output.commit();
      return { sizeBytes };
    } catch (error) {
      await packer.abort();
      throw error;
    }
  } finally {
    output.discard();
  }
}
