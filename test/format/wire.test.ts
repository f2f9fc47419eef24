// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromBuffer, fromText, toBuffer, toText } from '../../src/format/bytes.ts';
import { type FieldKind, type Op, type OpTable, ops, type Plan } from '../../src/format/plan.ts';
import {
  decodeFacts,
  decodePlan,
  decodeReply,
  encodeFacts,
  encodePlan,
  encodeReply,
  type Fact,
  frame,
  type Reply,
  WireError,
} from '../../src/format/wire.ts';

const bytes = fc.uint8Array({ maxLength: 40 }).map(fromBuffer);
const str = bytes.map((text) => text.replaceAll('\0', 'x'));
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u64 = fc
  .bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn })
  .map((value) => (value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value));
const byKind: Record<FieldKind, fc.Arbitrary<unknown>> = {
  u32,
  u64,
  str,
  bytes,
  strs: fc.array(str, { maxLength: 4 }),
};

const anyOp: fc.Arbitrary<Op> = fc.oneof(
  ...Object.entries(ops as OpTable).map(([op, { fields }]) =>
    fc.record({
      op: fc.constant(op),
      ...Object.fromEntries(fields.map(([name, kind]) => [name, byKind[kind]])),
    }),
  ),
) as unknown as fc.Arbitrary<Op>;
const plan: fc.Arbitrary<Plan> = fc.array(anyOp, { maxLength: 6 });
const facts: fc.Arbitrary<Fact[]> = fc.array(fc.tuple(str, bytes), { maxLength: 8 });
const reply: fc.Arbitrary<Reply> = fc.oneof(
  fc.record({ kind: fc.constant('text' as const), status: u32, stdout: bytes, stderr: bytes }),
  fc.record({ kind: fc.constant('ask' as const), questions: fc.array(str, { maxLength: 4 }) }),
  fc.record({ kind: fc.constant('plan' as const), plan }),
);

describe('the wire', () => {
  test('facts come back as they were, in their order', () => {
    fc.assert(
      fc.property(facts, (list) => {
        expect(decodeFacts(encodeFacts(list))).toEqual(list);
      }),
    );
  });

  test('plans come back as they were', () => {
    fc.assert(
      fc.property(plan, (list) => {
        expect(decodePlan(encodePlan(list))).toEqual(list);
      }),
    );
  });

  test('replies come back as they were', () => {
    fc.assert(
      fc.property(reply, (one) => {
        expect(decodeReply(encodeReply(one))).toEqual(one);
      }),
    );
  });

  test('a reply cut anywhere is refused', () => {
    fc.assert(
      fc.property(reply, fc.nat(), (one, at) => {
        const whole = encodeReply(one);
        expect(() => decodeReply(whole.subarray(0, at % whole.length))).toThrow();
      }),
    );
  });

  test('a reply with a byte more is refused', () => {
    fc.assert(
      fc.property(reply, fc.nat(255), (one, extra) => {
        expect(() => decodeReply(Buffer.concat([encodeReply(one), Buffer.of(extra)]))).toThrow(WireError);
      }),
    );
  });

  test('facts cut inside a pair are refused', () => {
    const whole = encodeFacts([['key', 'value']]);
    for (let at = 1; at < whole.length; at += 1) expect(() => decodeFacts(whole.subarray(0, at))).toThrow(WireError);
  });

  test('a body of any other bytes is refused or read, and never makes a crash', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (data) => {
        for (const decode of [decodeFacts, decodePlan, decodeReply]) {
          try {
            decode(data);
          } catch (error) {
            expect(error).toBeInstanceOf(WireError);
          }
        }
      }),
    );
  });

  test('a NUL in a str, a number out of range and a character over 255 are refused', () => {
    const mkdir = (path: string, mode: number): Plan => [{ op: 'mkdir', path, mode }];
    expect(() => encodePlan(mkdir('/a\0b', 0o755))).toThrow('mkdir: the field path is not a str');
    for (const mode of [-1, 2 ** 32, 1.5, Number.NaN]) {
      expect(() => encodePlan(mkdir('/a', mode))).toThrow('mkdir: the field mode is not a u32');
    }
    expect(() => encodePlan(mkdir('/\u20ac', 0o755))).toThrow('not a byte string');
  });

  test('an unknown version or operation is refused', () => {
    const body = encodePlan([{ op: 'pivot' }]);
    const newer = Buffer.from(body);
    newer.writeUInt32LE(2, 0);
    expect(() => decodePlan(newer)).toThrow('a plan of version 2, not 1');
    const unknown = Buffer.from(body);
    unknown.writeUInt16LE(999, 8);
    expect(() => decodePlan(unknown)).toThrow('an unknown operation 999');
  });

  test('the encoding is the one that docs/plan.md writes down', () => {
    expect(encodeFacts([['k', 'vv']]).toString('hex')).toBe('010000006b020000007676');
    expect(encodeReply({ kind: 'ask', questions: ['q'] }).toString('hex')).toBe('0201000000010000007100');
    expect(encodePlan([{ op: 'cwd', path: '/', flags: 2 }]).toString('hex')).toBe(
      '0100000001000000' + '10000000' + '0a000000' + '010000002f00' + '02000000',
    );
    expect(frame(Buffer.from('abc')).toString('hex')).toBe('03000000616263');
  });
});

describe('byte strings', () => {
  test('hold every byte, and text as UTF-8', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (data) => {
        expect([...toBuffer(fromBuffer(data))]).toEqual([...data]);
      }),
    );
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(toText(fromText(text))).toBe(text);
      }),
    );
  });
});
