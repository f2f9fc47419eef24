// SPDX-License-Identifier: Apache-2.0
import { Failure } from '../failure.ts';
import { FormatError } from '../format/format-error.ts';
import { decompress, detectCompression } from '../source/compression.ts';
import type { Layer } from '../source/image.ts';
import { peek } from '../source/spool.ts';
import { TarReader, type TarVisitor } from './read-tar.ts';

/** What detectCompression needs. */
const compressionHeadBytes = 8;

/**
 * Reads a layer from its first to its last byte, so that its digest is checked too. pause is awaited after each piece (up to 1 MiB): the consumer's
 * way to slow the reader down. Throws Failure, naming the layer, for what is wrong with its content; what the layer's own stream and pause throw passes.
 */
export async function readLayer(layer: Layer, visitor: TarVisitor, pause: () => Promise<void>): Promise<void> {
  const stored = await layer.open();
  let isLayerAtFault = true;
  try {
    const { head, all } = await peek(stored, compressionHeadBytes);
    const plain = decompress(all, detectCompression(head), nameOf(layer));
    const reader = new TarReader(visitor);
    for await (const piece of plain) {
      reader.write(piece as Buffer);
      isLayerAtFault = false;
      await pause();
      isLayerAtFault = true;
    }
    reader.end();
  } catch (error) {
    stored.destroy();
    if (isLayerAtFault) await verifyWhole(layer);
    throw nameLayer(layer, error);
  }
}

/** Damaged bytes may be refused as content before their end, where the digest tells what they are: then that is the error to show. */
async function verifyWhole(layer: Layer): Promise<void> {
  if (layer.digest === '') return;
  for await (const _ of await layer.open());
}

/** The same error with the layer's digest in front, where it is about the content. */
export function nameLayer(layer: Pick<Layer, 'digest'>, error: unknown): unknown {
  if (!(error instanceof FormatError)) return error;
  return new Failure(`cannot read ${nameOf(layer)}: ${error.message}`, { hint: error.hint, cause: error });
}

function nameOf({ digest }: Pick<Layer, 'digest'>): string {
  return digest === '' ? 'the archive' : `layer ${digest}`;
}
