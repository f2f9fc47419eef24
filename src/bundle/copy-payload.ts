// SPDX-License-Identifier: Apache-2.0
import { availableParallelism } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { FormatError } from '../format/format-error.ts';
import { buildTree, type HashTree, leafSizeBytes } from '../format/hash-tree.ts';

/** What a thread takes at once. */
const pieceSizeBytes = 4 << 20;
/** Below this a second thread costs more than it gives. */
const minSharedBytes = 32 << 20;

/** A copy that several threads work at: open descriptors, places in bytes, and memory that they share. */
interface SharedCopy {
  readonly source: number;
  readonly target: number;
  readonly targetAt: number;
  readonly sizeBytes: number;
  readonly pieceSizeBytes: number;
  readonly leafSizeBytes: number;
  /** [0]: the next piece that nobody has taken; [1]: pieces that are done. */
  readonly counters: Int32Array;
  /** The digests of the leaves, 32 bytes each. */
  readonly digests: Uint8Array;
}

export interface PayloadCopy {
  /** Works until the payload is copied; advance is told of the bytes that all threads have written. Gives the hash tree. */
  finish(advance: (bytes: number) => void): Promise<HashTree>;
  /** Has the other thread stop; needed when finish is not reached. */
  stop(): Promise<void>;
}

/**
 * Starts copying a whole file to an offset of another while hashing its leaves, in a second thread at once where there is a CPU
 * for it, and in the calling one as soon as that calls finish.
 */
export function startPayloadCopy(source: number, target: number, targetAt: number, sizeBytes: number): PayloadCopy {
  const leaves = Math.ceil(sizeBytes / leafSizeBytes);
  const copy: SharedCopy = {
    source,
    target,
    targetAt,
    sizeBytes,
    pieceSizeBytes,
    leafSizeBytes,
    counters: new Int32Array(new SharedArrayBuffer(8)),
    digests: new Uint8Array(new SharedArrayBuffer(leaves * 32)),
  };
  const other = sizeBytes >= minSharedBytes && availableParallelism() > 1 ? startThread(copy) : undefined;
  return {
    async finish(advance) {
      const { readSync, writeSync } = process.getBuiltinModule('node:fs');
      const { hash } = process.getBuiltinModule('node:crypto');
      let toldBytes = 0;
      const tell = (): void => {
        const doneBytes = Math.min(sizeBytes, Atomics.load(copy.counters, 1) * pieceSizeBytes);
        if (doneBytes > toldBytes) advance(doneBytes - toldBytes);
        toldBytes = Math.max(toldBytes, doneBytes);
      };
      while (copyPiece(copy, readSync, writeSync, hash)) {
        tell();
        // A signal, or a child that has something to say, gets its turn.
        await setImmediate();
      }
      await other?.ended;
      tell();
      if (toldBytes !== sizeBytes) throw new FormatError('the file became shorter while it was read');
      return buildTree(Buffer.from(copy.digests), sizeBytes);
    },
    async stop() {
      // Nothing is left to take; the piece under way ends by itself.
      Atomics.store(copy.counters, 0, 1 << 30);
      await other?.ended.catch(() => {});
    },
  };
}

/**
 * Takes the next piece, hashes its leaves and writes it: false when none is left, or the file has ended early. It is also the program of
 * the other thread, sent there as text, so it may use nothing but its parameters.
 */
function copyPiece(
  copy: SharedCopy,
  readSync: typeof import('node:fs').readSync,
  writeSync: typeof import('node:fs').writeSync,
  hash: typeof import('node:crypto').hash,
): boolean {
  // Four leaves stay in the CPU's cache between reading, hashing and writing: measured faster than larger pieces.
  const buffer = Buffer.allocUnsafeSlow(4 * copy.leafSizeBytes);
  const start = Atomics.add(copy.counters, 0, 1) * copy.pieceSizeBytes;
  if (start >= copy.sizeBytes) return false;
  const end = Math.min(copy.sizeBytes, start + copy.pieceSizeBytes);
  for (let at = start; at < end; at += buffer.length) {
    const chunk = buffer.subarray(0, Math.min(buffer.length, end - at));
    for (let done = 0; done < chunk.length; ) {
      const count = readSync(copy.source, chunk, done, chunk.length - done, at + done);
      if (count === 0) return false;
      done += count;
    }
    for (let leaf = 0; leaf < chunk.length; leaf += copy.leafSizeBytes) {
      const digest = hash('sha256', chunk.subarray(leaf, leaf + copy.leafSizeBytes), 'buffer');
      copy.digests.set(digest, ((at + leaf) / copy.leafSizeBytes) * 32);
    }
    for (let done = 0; done < chunk.length; ) {
      done += writeSync(copy.target, chunk, done, chunk.length - done, copy.targetAt + at + done);
    }
  }
  Atomics.add(copy.counters, 1, 1);
  return true;
}

/** Runs copyPiece in another thread until nothing is left; `ended` fails with the system's error. */
function startThread(copy: SharedCopy): { ended: Promise<void> } {
  const program = `
    const { workerData } = process.getBuiltinModule('node:worker_threads');
    const { readSync, writeSync } = process.getBuiltinModule('node:fs');
    const { hash } = process.getBuiltinModule('node:crypto');
    const copyPiece = ${copyPiece.toString()};
    while (copyPiece(workerData, readSync, writeSync, hash));`;
  const worker = new Worker(program, { eval: true, workerData: copy, trackUnmanagedFds: false });
  const ended = new Promise<void>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', () => resolve());
  });
  // Whoever finishes or stops the copy awaits it; until then it must not count as unhandled.
  ended.catch(() => {});
  return { ended };
}
