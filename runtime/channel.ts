// SPDX-License-Identifier: Apache-2.0
import { readSync, writeSync } from 'node:fs';
import {
  decodeFacts,
  encodeReply,
  type Fact,
  frame,
  maxFrameBytes,
  type Reply,
  WireError,
} from '../src/format/wire.ts';

/** Reads one facts frame from a blocking descriptor. */
export function readFacts(fd: number): Fact[] {
  const sizeBytes = readExactly(fd, 4).readUInt32LE();
  if (sizeBytes > maxFrameBytes) throw new WireError(`a frame of ${sizeBytes} bytes`);
  return decodeFacts(readExactly(fd, sizeBytes));
}

/** Writes one reply frame to a blocking descriptor. */
export function writeReply(fd: number, reply: Reply): void {
  const data = frame(encodeReply(reply));
  let at = 0;
  while (at < data.length) at += retry(() => writeSync(fd, data, at));
}

function readExactly(fd: number, sizeBytes: number): Buffer {
  const data = Buffer.allocUnsafe(sizeBytes);
  let at = 0;
  while (at < sizeBytes) {
    const got = retry(() => readSync(fd, data, at, sizeBytes - at, null));
    if (got === 0) throw new WireError('the launcher closed the pipe early');
    at += got;
  }
  return data;
}

/** EINTR is tried again; EAGAIN too, after a millisecond, should the descriptor be a non-blocking one. */
function retry(call: () => number): number {
  for (;;) {
    try {
      return call();
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'EAGAIN') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      else if (code !== 'EINTR') throw error;
    }
  }
}
