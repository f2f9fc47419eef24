// SPDX-License-Identifier: Apache-2.0
import { Readable } from 'node:stream';
import { Failure } from '../failure.ts';
import { type Bytes, toText } from '../format/bytes.ts';
import { type TreeVisitor, type WalkedSource, walkTree } from '../launcher/walk.ts';
import { noXattrs } from '../layer/tar-entry.ts';
import { paddingOf } from '../layer/tar-header.ts';
import { encodeHeader, endOfArchive } from '../layer/write-tar.ts';

/**
 * A root filesystem, of an image or a directory, as the tar of a layer: every entry once, parents first, names in the order of bytes, owners and times as they
 * are. The same tree gives the same bytes. `select` stands between the walk and the tar. Errors of the walk are the stream's; destroying it ends the walk. Sockets are left
 * out, as no tar has them.
 */
export function openTreeTar(
  source: WalkedSource,
  select: (visitor: TreeVisitor) => TreeVisitor = (all) => all,
): Readable {
  let started = false;
  let wake: (() => void) | null = null;
  let full = false;
  const stream = new Readable({
    highWaterMark: 1 << 20,
    read() {
      full = false;
      wake?.();
      wake = null;
      if (started) return;
      started = true;
      void walk();
    },
    destroy(error, done) {
      wake?.();
      done(error);
    },
  });
  const push = (bytes: Buffer): void => {
    if (bytes.length > 0 && !stream.destroyed) full = !stream.push(bytes);
  };
  async function walk(): Promise<void> {
    let paddingBytes = 0;
    try {
      const visitor: TreeVisitor = {
        entry(entry, content) {
          refuseWhiteout(entry.path);
          push(encodeHeader(entry.kind === 'hardlink' ? { ...entry, xattrs: noXattrs } : entry));
          paddingBytes = content === 'follows' ? paddingOf(entry.sizeBytes) : 0;
        },
        data: push,
        end: () => push(Buffer.alloc(paddingBytes)),
        async drained() {
          if (full && !stream.destroyed) {
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          }
          if (stream.destroyed) throw new Error('the reader has gone');
        },
      };
      await walkTree(source, select(visitor));
      push(endOfArchive);
      stream.push(null);
    } catch (error) {
      stream.destroy(error as Error);
    }
  }
  return stream;
}

/** A layer cannot have a file of such a name: readers would take it for what hides another (OCI image-spec, layer.md). */
function refuseWhiteout(path: Bytes): void {
  const name = path.slice(path.lastIndexOf('/') + 1);
  if (!name.startsWith('.wh.')) return;
  throw new Failure(
    `cannot export ${JSON.stringify(toText(path))}: in a layer its name means that another file is removed`,
    {
      hint: 'rename or remove it',
    },
  );
}
