// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a shell, not JavaScript, expands these
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type NetrcEntry, parseNetrc } from '../../src/credentials/parse-netrc.ts';

const entry = (machine: string, login: string, password: string | null, isExpression = false): NetrcEntry => ({
  machine,
  login,
  password,
  isExpression,
});

describe('a netrc file', () => {
  test.each<[what: string, text: string, entries: NetrcEntry[]]>([
    ['on one line', 'machine nvcr.io login $oauthtoken password abc', [entry('nvcr.io', '$oauthtoken', 'abc')]],
    ['on several lines', 'machine A.io\n\tlogin me\r\n\tpassword x\n', [entry('a.io', 'me', 'x')]],
    ['in another order', 'machine a password x login me', [entry('a', 'me', 'x')]],
    [
      'with several entries, and a default',
      'machine a:5000 login me password x\nmachine a login you password y default login z password w',
      [entry('a:5000', 'me', 'x'), entry('a', 'you', 'y'), entry('', 'z', 'w')],
    ],
    [
      'with comments',
      '# machine no login no password no\nmachine a login me # what\n password #x# # and more',
      [entry('a', 'me', '#x#')],
    ],
    [
      'with quotes',
      'machine a login "my name" password "a \\"b\\" \\\\ # $x"',
      [entry('a', 'my name', 'a "b" \\ # $x')],
    ],
    ['with single quotes, which are none', "machine a password 'x'", [entry('a', '', "'x'")]],
    ['with an account', 'machine a account acc login me password x', [entry('a', 'me', 'x')]],
    [
      'with a macro',
      'macdef init\n machine no password no\n bye\n\nmachine a password x\nmacdef last\n password no',
      [entry('a', '', 'x')],
    ],
    ['with a variable', 'machine a password ${X} login me', [entry('a', 'me', '${X}', true)]],
    ['with a dollar inside', 'machine a password x$Y', [entry('a', '', 'x$Y')]],
    [
      'with a command',
      `machine a login AWS password $(aws "a b)" 'c)' $(x {y}) \\) | tr -d '"') machine b password x`,
      [entry('a', 'AWS', `$(aws "a b)" 'c)' $(x {y}) \\) | tr -d '"')`, true), entry('b', '', 'x')],
    ],
    [
      'with a command in quotes in a command',
      'machine a password $(x "$(y ")")")',
      [entry('a', '', '$(x "$(y ")")")', true)],
    ],
  ])('%s is read', (_, text, entries) => {
    expect(parseNetrc(text)).toEqual({ entries, faults: [] });
  });

  test.each<[what: string, text: string, fault: string]>([
    ['a password with a blank', 'machine a\nlogin me password se cret', 'line 2: a word that is no keyword'],
    ['a login before any machine', 'login secret', 'line 1: login stands before'],
    [
      'a value that is missing',
      'machine a\nlogin me\npassword',
      'line 3: nothing, or nothing that ends, follows password',
    ],
    ['quotes that do not close', 'machine a password "secret\nlogin me', 'line 1: nothing, or nothing that ends'],
    ['a command that does not close', 'machine a password $(secret\nlogin me', 'line 1: nothing, or nothing that ends'],
  ])('%s is a fault that tells no word of it', (_, text, fault) => {
    const { faults } = parseNetrc(text);
    expect(faults).toHaveLength(1);
    expect(faults[0]).toContain(fault);
    expect(faults[0]).not.toMatch(/secret|cret/);
  });

  test('that is wrong at one place is read on after its line', () => {
    expect(parseNetrc('machine a login me password $(x\nmachine b password "y"').entries).toEqual([
      entry('a', 'me', null),
      entry('b', '', 'y'),
    ]);
  });

  test('that is something else has few faults, and takes no time', () => {
    expect(parseNetrc('x '.repeat(1 << 19)).faults).toHaveLength(5);
    expect(parseNetrc(`machine a password $${'('.repeat(1 << 20)}`).faults).toHaveLength(1);
  });

  test('of any text is read without an exception', () => {
    const word = fc.constantFrom(
      'machine',
      'login',
      'password',
      'default',
      'macdef',
      '"',
      "'",
      '$(',
      ')',
      '\\',
      '#',
      '\n',
      ' ',
      'x',
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(word, fc.string()), { maxLength: 30 }), (words) => {
        parseNetrc(words.join(' '));
      }),
      { numRuns: 2000 },
    );
  });
});
