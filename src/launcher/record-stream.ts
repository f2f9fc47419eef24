// SPDX-License-Identifier: Apache-2.0
import type { Writable } from 'node:stream';
import { type Bytes, toBuffer } from '../format/bytes.ts';

const batchBytes = 256 << 10;
/** Above this, bytes are not copied into a batch. */
const copiedBytes = 32 << 10;
/** What may wait to be written before a writer should pause. */
const backlogBytes = 4 << 20;
const maxSpare = 8;

/**
 * Records of the role pack (docs/plan.md): `u32 length, u8 operation, fields`, integers little-endian. Small ones are gathered, so that one
 * system call writes many; large contents are written from where they are.
 */
export class RecordStream {
  readonly #stream: Writable;
  #batch: Buffer = Buffer.allocUnsafeSlow(batchBytes);
  readonly #spare: Buffer[] = [];
  /** The part of the batch that is not given to the stream. */
  #start = 0;
  #at = 0;

  constructor(stream: Writable) {
    this.#stream = stream;
  }

  /** Begins a record with fields of that many bytes, which must follow. */
  begin(operation: number, fieldsBytes: number): void {
    this.u32(1 + fieldsBytes);
    this.u8(operation);
  }

  u8(value: number): void {
    const at = this.#room(1);
    this.#batch[at] = value;
  }

  u16(value: number): void {
    const at = this.#room(2);
    this.#batch.writeUInt16LE(value, at);
  }

  u32(value: number): void {
    const at = this.#room(4);
    this.#batch.writeUInt32LE(value, at);
  }

  u64(value: number): void {
    const at = this.#room(8);
    this.#batch.writeUInt32LE(value % 2 ** 32, at);
    this.#batch.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
  }

  text(value: Bytes): void {
    if (value.length > copiedBytes) {
      this.bytes(toBuffer(value));
      return;
    }
    const at = this.#room(value.length);
    this.#batch.write(value, at, 'latin1');
  }

  /** A large one must not be changed until it is written. */
  bytes(value: Buffer): void {
    if (value.length <= copiedBytes) {
      const at = this.#room(value.length);
      value.copy(this.#batch, at);
      return;
    }
    this.#stream.cork();
    this.flush();
    this.#stream.write(value);
    this.#stream.uncork();
  }

  /** Gives all that was gathered to the stream. */
  flush(): void {
    if (this.#at > this.#start) this.#stream.write(this.#batch.subarray(this.#start, this.#at));
    this.#start = this.#at;
  }

  /** Whether a writer should wait for the stream's drain. */
  isFull(): boolean {
    return this.#stream.writableLength > backlogBytes;
  }

  /** Batches are used again when they are written: new memory costs more than what is copied into it. */
  #nextBatch(): void {
    const full = this.#batch;
    const rest = full.subarray(this.#start, this.#at);
    this.#stream.write(rest, (error) => {
      if (!error && this.#spare.length < maxSpare) this.#spare.push(full);
    });
    this.#batch = this.#spare.pop() ?? Buffer.allocUnsafeSlow(batchBytes);
    this.#start = 0;
    this.#at = 0;
  }

  #room(sizeBytes: number): number {
    if (this.#at + sizeBytes > this.#batch.length) {
      this.#nextBatch();
    }
    const at = this.#at;
    this.#at += sizeBytes;
    return at;
  }
}
