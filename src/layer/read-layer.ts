// SPDX-License-Identifier: Apache-2.0
import type { Readable } from 'node:stream';
import { Failure } from '../failure.ts';
import { FormatError } from '../format/format-error.ts';
import type { Layer } from '../source/image.ts';
import { decompress } from './decompress.ts';
import { TarReader, type TarVisitor } from './read-tar.ts';

/**
 * Reads a layer from its first to its last byte, so that its digest is checked too. pause is awaited after each piece (up to 1 MiB): the consumer's
 * way to slow the reader down. Throws Failure, naming the layer, for what is wrong with its content; what the layer's own stream throws passes.
 */
export async function readLayer(layer: Layer, visitor: TarVisitor, pause: () => Promise<void>): Promise<void> {
  const stored = await layer.open();
  let plain: Readable = stored;
  try {
    plain = await decompress(stored);
    const reader = new TarReader(visitor);
    for await (const piece of plain) {
      reader.write(piece as Buffer);
      await pause();
    }
    reader.end();
  } catch (error) {
    throw nameLayer(layer, error);
  } finally {
    plain.destroy();
    stored.destroy();
  }
}

/** The same error with the layer's digest in front, where it is about the content. */
export function nameLayer(layer: Pick<Layer, 'digest'>, error: unknown): unknown {
  const name = layer.digest === '' ? 'the archive' : `layer ${layer.digest}`;
  if (error instanceof FormatError) {
    return new Failure(`cannot read ${name}: ${error.message}`, { hint: error.hint, cause: error });
  }
  const code = (error as NodeJS.ErrnoException | null)?.code ?? '';
  if (/^(Z_|ZSTD_|ERR_ZSTD|ERR_ZLIB|ERR_BUFFER_TOO_LARGE)/.test(code)) {
    return new Failure(`cannot read ${name}: its compressed data is damaged: ${(error as Error).message}`, {
      cause: error,
    });
  }
  return error;
}
