// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../format/bytes.ts';
import { FormatError } from '../format/format-error.ts';

/** A record of a pax extended header: values are bytes, whatever the standard says of UTF-8 (an attribute's value is binary). */
export type PaxRecord = readonly [key: Bytes, value: Bytes];

/** Attributes of pax headers, one value a key; `map` has the sparse map of GNU format 0.0, whose keys come again and again. */
export interface PaxAttributes {
  readonly values: ReadonlyMap<Bytes, Bytes>;
  readonly map: readonly number[];
}

/** Of an archive without pax headers. */
export const noAttributes: PaxAttributes = { values: new Map(), map: [] };

/** Reads the records "LENGTH KEY=VALUE\n" of a pax header's content (POSIX pax). Throws FormatError. */
export function parsePax(content: Buffer): PaxRecord[] {
  const records: PaxRecord[] = [];
  for (let at = 0; at < content.length; ) {
    const blank = content.indexOf(32, at);
    const digits = blank < 0 ? '' : content.toString('latin1', at, blank);
    const sizeBytes = /^\d{1,10}$/.test(digits) ? Number(digits) : 0;
    const end = at + sizeBytes;
    const equals = content.indexOf(61, blank);
    if (sizeBytes === 0 || end > content.length || content[end - 1] !== 10 || equals < 0 || equals >= end) {
      // GNU tar and others fill up with NULs.
      if (content.subarray(at).every((byte) => byte === 0)) break;
      throw new FormatError('a damaged pax header');
    }
    const key = content.toString('latin1', blank + 1, equals);
    if (key === '') throw new FormatError('a pax header with an empty key');
    records.push([key, content.toString('latin1', equals + 1, end - 1)]);
    at = end;
  }
  return records;
}

/** Attributes with further records over them: a later record of a key replaces it, an empty value takes it away. */
export function addRecords(before: PaxAttributes, records: readonly PaxRecord[]): PaxAttributes {
  const values = new Map(before.values);
  const map = [...before.map];
  for (const [key, value] of records) {
    if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes') map.push(parseDecimal(value, key));
    // An attribute of a file may be empty.
    else if (value === '' && !key.startsWith('SCHILY.xattr.')) values.delete(key);
    else values.set(key, value);
  }
  return { values, map };
}

/** What all global headers may say together: they are looked at for each entry. (What writers put there is a comment.) */
const maxGlobalRecords = 1000;
const maxGlobalBytes = 1 << 20;

/** Attributes for all entries that follow, with further records over them. Throws FormatError when they are more than anybody needs. */
export function addGlobalRecords(before: PaxAttributes, records: readonly PaxRecord[]): PaxAttributes {
  const global = addRecords(before, records);
  let sizeBytes = 0;
  for (const [key, value] of global.values) sizeBytes += key.length + value.length;
  if (global.values.size + global.map.length > maxGlobalRecords || sizeBytes > maxGlobalBytes)
    throw new FormatError('global pax headers with too many records');
  return global;
}

/** A decimal number of a pax record, without sign or fraction. Throws FormatError. */
export function parseDecimal(text: Bytes, what: string): number {
  const value = Number(text);
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(value))
    throw new FormatError(`a pax header whose ${what} is no proper number`);
  return value;
}

/** A time of a pax record in whole seconds, rounded down; negative ones are before 1970. Throws FormatError. */
export function parseTime(text: Bytes): number {
  const [, sign = '', seconds = '', fraction = ''] = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(text) ?? [];
  if (seconds === '') throw new FormatError('a pax header whose mtime is no proper number');
  const whole = Number(seconds);
  if (sign === '') return whole;
  return /[1-9]/.test(fraction) ? -whole - 1 : whole === 0 ? 0 : -whole;
}

const xattrPrefix = 'SCHILY.xattr.';

/** Extended attributes of a pax header, by full name. */
export function readXattrs(values: ReadonlyMap<Bytes, Bytes>): ReadonlyMap<Bytes, Buffer> {
  const found = new Map<Bytes, Buffer>();
  for (const [key, value] of values) {
    if (key.startsWith(xattrPrefix)) found.set(key.slice(xattrPrefix.length), Buffer.from(value, 'latin1'));
  }
  return found;
}
