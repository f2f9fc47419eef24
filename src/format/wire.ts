// SPDX-License-Identifier: Apache-2.0
import { type Bytes, fromBuffer } from './bytes.ts';
import { type FieldKind, type Op, type OpTable, ops, type Plan, planVersion } from './plan.ts';

/** The wire between launcher and planner (docs/plan.md): facts frames, answers and replies, plans. Integers are little-endian. */
export const maxFrameBytes = 64 << 20;
export const replyKinds = { text: 1, ask: 2, plan: 3 } as const;

/** One `key, value` of a facts frame; keys may repeat and their order is kept. */
export type Fact = readonly [key: string, value: Bytes];

/** What the planner answers: text and an exit status, questions, or the plan. All strings are byte strings. */
export type Reply =
  | { readonly kind: 'text'; readonly status: number; readonly stdout: Bytes; readonly stderr: Bytes }
  | { readonly kind: 'ask'; readonly questions: readonly string[] }
  | { readonly kind: 'plan'; readonly plan: Plan };

/** A frame that is not what docs/plan.md describes: a bug or two versions that do not fit, never the user's doing. */
export class WireError extends Error {}

/** Puts the length in front of a frame's body. */
export function frame(body: Uint8Array): Buffer {
  if (body.length > maxFrameBytes) throw new WireError(`a frame of ${body.length} bytes is over ${maxFrameBytes}`);
  const data = Buffer.allocUnsafe(4 + body.length);
  data.writeUInt32LE(body.length, 0);
  data.set(body, 4);
  return data;
}

export function encodeFacts(facts: readonly Fact[]): Buffer {
  const writer = new Writer();
  for (const [key, value] of facts) {
    writer.bytes(key);
    writer.bytes(value);
  }
  return writer.done();
}

export function decodeFacts(body: Uint8Array): Fact[] {
  const reader = new Reader(body);
  const facts: Fact[] = [];
  while (!reader.atEnd()) facts.push([reader.bytes(), reader.bytes()]);
  return facts;
}

/** Encodes a reply's body, its kind first. */
export function encodeReply(reply: Reply): Buffer {
  const writer = new Writer();
  writer.byte(replyKinds[reply.kind]);
  switch (reply.kind) {
    case 'text':
      writer.u32(reply.status);
      writer.bytes(reply.stdout);
      writer.bytes(reply.stderr);
      break;
    case 'ask':
      writer.strs(reply.questions);
      break;
    case 'plan':
      writePlan(writer, reply.plan);
  }
  return writer.done();
}

export function decodeReply(body: Uint8Array): Reply {
  const reader = new Reader(body);
  const kind = reader.byte();
  if (kind === replyKinds.plan) return { kind: 'plan', plan: decodePlan(body.subarray(1)) };
  let reply: Reply;
  if (kind === replyKinds.text) {
    reply = { kind: 'text', status: reader.u32(), stdout: reader.bytes(), stderr: reader.bytes() };
  } else if (kind === replyKinds.ask) {
    reply = { kind: 'ask', questions: reader.strs() };
  } else {
    throw new WireError(`a reply of unknown kind ${kind}`);
  }
  reader.end('a reply');
  return reply;
}

/** Encodes a plan: version, count, then `u16 code, u16 0, u32 body length, body` for each operation. */
export function encodePlan(plan: Plan): Buffer {
  const writer = new Writer();
  writePlan(writer, plan);
  return writer.done();
}

function writePlan(writer: Writer, plan: Plan): void {
  writer.u32(planVersion);
  writer.u32(plan.length);
  for (const op of plan) {
    const { code, fields } = ops[op.op];
    writer.u32(code);
    const start = writer.reserveSize();
    for (const [name, kind] of fields) {
      writeField(writer, kind, (op as unknown as Record<string, unknown>)[name], op.op, name);
    }
    writer.fillSize(start);
  }
}

export function decodePlan(body: Uint8Array): Plan {
  const reader = new Reader(body);
  const version = reader.u32();
  if (version !== planVersion) throw new WireError(`a plan of version ${version}, not ${planVersion}`);
  const count = reader.u32();
  const byCode = new Map(Object.entries(ops as OpTable).map(([name, { code, fields }]) => [code, { name, fields }]));
  const plan: Op[] = [];
  for (let i = 0; i < count; i += 1) {
    const code = reader.u16();
    const reserved = reader.u16();
    const size = reader.u32();
    const entry = byCode.get(code);
    if (entry === undefined || reserved !== 0) throw new WireError(`an unknown operation ${code}`);
    const inner = new Reader(reader.take(size));
    const op: Record<string, unknown> = { op: entry.name };
    for (const [name, kind] of entry.fields) op[name] = decodeField(inner, kind);
    inner.end(`the operation ${entry.name}`);
    plan.push(op as unknown as Op);
  }
  reader.end('a plan');
  return plan;
}

function writeField(writer: Writer, kind: FieldKind, value: unknown, op: string, name: string): void {
  const wrong = () => new WireError(`${op}: the field ${name} is not a ${kind}`);
  if (kind === 'strs') {
    if (!Array.isArray(value) || !value.every(isStr)) throw wrong();
    writer.strs(value);
  } else if (kind === 'str') {
    if (!isStr(value)) throw wrong();
    writer.str(value);
  } else if (kind === 'bytes') {
    if (typeof value !== 'string') throw wrong();
    writer.bytes(value);
  } else {
    if (typeof value === 'number' ? !Number.isSafeInteger(value) : typeof value !== 'bigint') throw wrong();
    const number = value as number | bigint;
    if (number < 0 || number > (kind === 'u32' ? 0xffff_ffff : 0xffff_ffff_ffff_ffffn)) throw wrong();
    if (kind === 'u32') writer.u32(Number(number));
    else writer.u64(number);
  }
}

function decodeField(reader: Reader, kind: FieldKind): unknown {
  switch (kind) {
    case 'u32':
      return reader.u32();
    case 'u64':
      return reader.u64();
    case 'str':
      return reader.str();
    case 'bytes':
      return reader.bytes();
    case 'strs':
      return reader.strs();
  }
}

function isStr(value: unknown): value is string {
  return typeof value === 'string' && !value.includes('\0');
}

/** Writes into one buffer that doubles: at every start of a bundle this code runs once, cold, and small buffers are what costs. */
class Writer {
  #data = Buffer.allocUnsafe(16384);
  #at = 0;

  done(): Buffer {
    return this.#data.subarray(0, this.#at);
  }

  #room(sizeBytes: number): number {
    const at = this.#at;
    if (at + sizeBytes > this.#data.length) {
      const larger = Buffer.allocUnsafe(2 * (at + sizeBytes));
      larger.set(this.#data.subarray(0, at));
      this.#data = larger;
    }
    this.#at = at + sizeBytes;
    return at;
  }

  byte(value: number): void {
    const at = this.#room(1);
    this.#data[at] = value;
  }

  u32(value: number): void {
    const at = this.#room(4);
    this.#data.writeUInt32LE(value, at);
  }

  u64(value: number | bigint): void {
    const at = this.#room(8);
    this.#data.writeBigUInt64LE(BigInt(value), at);
  }

  /** A byte string behind its length. A character over 255 would lose bits, so it is refused. */
  bytes(value: Bytes): void {
    if (/[^\0-\xff]/.test(value)) throw new WireError('a string that is not a byte string');
    this.u32(value.length);
    const at = this.#room(value.length);
    this.#data.write(value, at, 'latin1');
  }

  str(value: Bytes): void {
    this.bytes(value);
    this.byte(0);
  }

  strs(values: readonly Bytes[]): void {
    this.u32(values.length);
    for (const value of values) this.str(value);
  }

  /** Leaves room for a length that is known later; fillSize takes what this returns. */
  reserveSize(): number {
    this.u32(0);
    return this.#at;
  }

  fillSize(start: number): void {
    this.#data.writeUInt32LE(this.#at - start, start - 4);
  }
}

/** Reads a frame's body with every bound checked. */
class Reader {
  readonly #data: Buffer;
  #at = 0;

  constructor(data: Uint8Array) {
    this.#data = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  }

  atEnd(): boolean {
    return this.#at === this.#data.length;
  }

  end(what: string): void {
    if (!this.atEnd()) throw new WireError(`${what} is ${this.#data.length - this.#at} bytes too long`);
  }

  take(size: number): Buffer {
    const left = this.#data.length - this.#at;
    if (size > left) throw new WireError(`a frame ends early: ${size} bytes wanted, ${left} present`);
    this.#at += size;
    return this.#data.subarray(this.#at - size, this.#at);
  }

  byte(): number {
    return this.take(1).readUInt8();
  }

  u16(): number {
    return this.take(2).readUInt16LE();
  }

  u32(): number {
    return this.take(4).readUInt32LE();
  }

  /** A number where it is exact, else a bigint. */
  u64(): number | bigint {
    const value = this.take(8).readBigUInt64LE();
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
  }

  bytes(): Bytes {
    return fromBuffer(this.take(this.u32()));
  }

  str(): Bytes {
    const value = this.bytes();
    if (value.includes('\0')) throw new WireError('a string with a NUL inside');
    if (this.byte() !== 0) throw new WireError('a string without its NUL');
    return value;
  }

  strs(): Bytes[] {
    const count = this.u32();
    const values: Bytes[] = [];
    for (let i = 0; i < count; i += 1) values.push(this.str());
    return values;
  }
}
