// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { pipeline, Readable, Transform } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { Failure } from '../failure.ts';

const chunkSize = 1 << 20;

export type Compression = 'none' | 'gzip' | 'zstd' | 'xz' | 'bzip2' | 'lz4';

const magics: readonly (readonly [Compression, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['lz4', [0x04, 0x22, 0x4d, 0x18]],
];

/** How bytes are compressed, by their first ones (8 are enough). */
export function detectCompression(head: Buffer): Compression {
  // A skippable frame, with which pzstd begins (RFC 8878, 3.1.2).
  if (head.length >= 4 && (head.readUInt32LE(0) & 0xfffffff0) >>> 0 === 0x184d2a50) return 'zstd';
  return magics.find(([, magic]) => magic.every((byte, i) => head[i] === byte))?.[0] ?? 'none';
}

/** True for what Node's zlib reads; the others need a program. */
export function isBuiltIn(compression: Compression): boolean {
  return compression === 'none' || compression === 'gzip' || compression === 'zstd';
}

/**
 * A stream of the decompressed bytes, which ends with a Failure when they are damaged. xz, bzip2 and lz4 need the program of that name.
 * Destroying it destroys the source.
 */
export function decompress(source: Readable, compression: Compression, what: string): Readable {
  if (compression === 'none') return source;
  if (!isBuiltIn(compression)) return decompressByProgram(source, compression, what);
  const unpack = compression === 'gzip' ? createGunzip({ chunkSize }) : createZstdDecompress({ chunkSize });
  // Errors reach the reader through the last stream.
  pipeline(source, unpack, () => {});
  return Readable.from(explainDamage(unpack, compression, what), { objectMode: false, highWaterMark: 4 << 20 });
}

/** Errors of zlib get words; those of the source have theirs. */
async function* explainDamage(stream: Readable, compression: Compression, what: string): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } catch (error) {
    const code = String((error as NodeJS.ErrnoException).code);
    throw /^(Z_|ZSTD_)/.test(code) ? damaged(what, compression, error) : error;
  }
}

function damaged(what: string, compression: Compression, cause: unknown): Failure {
  return new Failure(`cannot decompress ${what} (${compression}): the data is damaged or cut short`, {
    hint: 'get it again',
    cause,
  });
}

function decompressByProgram(source: Readable, program: Compression, what: string): Readable {
  const child = spawn(program, ['-dc'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (data: Buffer) => {
    complaint = (complaint + data.toString()).slice(0, 500);
  });
  const ended = once(child, 'close').then(
    ([status]) => (status === 0 ? null : damaged(what, program, new Error(complaint))),
    (error: NodeJS.ErrnoException) =>
      new Failure(`cannot decompress ${what}: cannot start ${program}: ${error.message}`, {
        hint: `install ${program === 'xz' ? 'xz-utils' : program}, or decompress it yourself`,
      }),
  );
  const check = new Transform({
    transform: (chunk, _encoding, done) => done(null, chunk),
    flush: (done) => void ended.then((failure) => done(failure)),
  });
  pipeline(source, child.stdin, (error) => {
    // When the program ended before its input its status tells why; the source's own error must get through.
    if (error != null && error.code !== 'EPIPE' && error.code !== 'ERR_STREAM_PREMATURE_CLOSE') check.destroy(error);
  });
  pipeline(child.stdout, check, () => child.kill());
  check.on('close', () => source.destroy());
  return check;
}
