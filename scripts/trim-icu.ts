// SPDX-License-Identifier: Apache-2.0

/**
 * Node carries the data of every ICU locale, converter and dictionary (33 MB). The planner and the builder speak
 * English, so the data of the others is overwritten with zeros, which compress to nothing. Nothing is moved: the table
 * of contents stays as it is, and ICU takes an item without a valid header for a missing one and falls back to root.
 *
 * Layout (ICU's common data format, "CmnD"): a header of `u16 size, 0xda, 0x27, UDataInfo`, then `u32 count`, then
 * for each item `u32 name offset, u32 data offset`, both from the count's address; items lie in the order of the table.
 */

export interface IcuItem {
  /** Such as `curr/de.res`, without the package's prefix. */
  readonly name: string;
  /** Where its data begins and ends in the file. */
  readonly start: number;
  readonly end: number;
}

const maxItems = 20_000;

/** Finds the one common data package in a binary and lists its items; throws when there is none or it looks wrong. */
export function listIcuItems(binary: Buffer): IcuItem[] {
  const found = findHeaders(binary).map((at) => readItems(binary, at));
  const packages = found.filter((items) => items !== undefined);
  const items = packages[0];
  if (packages.length !== 1 || items === undefined) {
    throw new Error(`trim the ICU data: ${packages.length} data packages found in the binary, 1 expected`);
  }
  return items;
}

/** Overwrites the data of items that English does not need with zeros. Returns the number of bytes that were zeroed. */
export function trimIcu(binary: Buffer): number {
  let zeroedBytes = 0;
  for (const item of listIcuItems(binary)) {
    if (isNeeded(item.name)) continue;
    binary.fill(0, item.start, item.end);
    zeroedBytes += item.end - item.start;
  }
  return zeroedBytes;
}

const keptLocales = new Set(['root', 'en', 'en_001', 'en_US', 'en_US_POSIX']);
// Names of characters, StringPrep profiles, look-alikes: no JavaScript function reaches them.
const unreachable = /^unames\.icu$|\.(spp|cfu)$/;

/** Whether JavaScript's Intl, normalize and String functions in English need an item. */
export function isNeeded(name: string): boolean {
  if (unreachable.test(name)) return false;
  // Converters of legacy encodings (UTF-8, UTF-16 and Latin-1 are code), transliteration, dictionaries of Thai, Chinese ..
  if (name.endsWith('.cnv') || name.startsWith('translit/') || name.endsWith('.dict')) return false;
  const [, base] = /(\w+)\.res$/.exec(name) ?? [];
  if (base === undefined) return true;
  // A locale is `xx` or `xxx` with parts after `_`; other bundles (pool, res_index, supplementalData ..) are shared tables.
  const isLocale = (/^[a-z]{2,3}(_|$)/.test(base) && base !== 'res_index') || base === 'root';
  return !isLocale || keptLocales.has(base);
}

function findHeaders(binary: Buffer): number[] {
  const headers: number[] = [];
  for (let at = binary.indexOf('CmnD'); at >= 0; at = binary.indexOf('CmnD', at + 1)) {
    const header = at - 12;
    if (header >= 0 && binary[header + 2] === 0xda && binary[header + 3] === 0x27) headers.push(header);
  }
  return headers;
}

/** The items of the package at `header`, or undefined when what is there is no plausible table. */
function readItems(binary: Buffer, header: number): IcuItem[] | undefined {
  const base = header + binary.readUInt16LE(header);
  if (base + 4 > binary.length) return undefined;
  const count = binary.readUInt32LE(base);
  if (count === 0 || count > maxItems || base + 4 + 8 * count > binary.length) return undefined;
  const starts: number[] = [];
  const names: string[] = [];
  for (let i = 0; i < count; i++) {
    const name = base + binary.readUInt32LE(base + 4 + 8 * i);
    const start = base + binary.readUInt32LE(base + 8 + 8 * i);
    if (name >= binary.length || start + 32 > binary.length || start <= (starts[i - 1] ?? base)) return undefined;
    if (binary[start + 2] !== 0xda || binary[start + 3] !== 0x27) return undefined;
    starts.push(start);
    names.push(binary.toString('latin1', name, binary.indexOf(0, name)).replace(/^icudt\d+[lbe]\//, ''));
  }
  // The last item's end is not in the table; it is kept whatever it is (a few hundred bytes).
  return names.map((name, i) => ({ name, start: starts[i] ?? 0, end: starts[i + 1] ?? starts[i] ?? 0 }));
}
