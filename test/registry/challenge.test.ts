// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseChallenges } from '../../src/registry/challenge.ts';

const parse = (header: string) =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

describe('WWW-Authenticate', () => {
  const bearer = [
    'bearer',
    { realm: 'https://auth.example/token', service: 'a, b', scope: 'repository:x/y:pull,push' },
  ];

  test.each([
    [
      'one challenge',
      'Bearer realm="https://auth.example/token",service="a, b",scope="repository:x/y:pull,push"',
      [bearer],
    ],
    [
      'odd case and spaces',
      'BEARER  Realm = "https://auth.example/token" ,SERVICE="a, b" , scope="repository:x/y:pull,push"',
      [bearer],
    ],
    [
      'no quotes',
      'Bearer realm=https://auth.example/token?a=b,service=x',
      [['bearer', { realm: 'https://auth.example/token?a=b', service: 'x' }]],
    ],
    [
      'two in one header',
      'Basic realm="a, Bearer b=c", Bearer realm="r"',
      [
        ['basic', { realm: 'a, Bearer b=c' }],
        ['bearer', { realm: 'r' }],
      ],
    ],
    [
      'a scheme alone before another',
      'Negotiate, Basic realm="x"',
      [
        ['negotiate', {}],
        ['basic', { realm: 'x' }],
      ],
    ],
    ['a scheme alone', 'Basic', [['basic', {}]]],
    ['escaped quotes', 'Basic realm="say \\"hi\\" \\\\"', [['basic', { realm: 'say "hi" \\' }]]],
    ['a quote without its end', 'Bearer realm="https://r', [['bearer', { realm: 'https://r' }]]],
    ['an empty value', 'Bearer realm="",service=', [['bearer', { realm: '', service: '' }]]],
    ['commas too many', ', ,Basic realm="x",,', [['basic', { realm: 'x' }]]],
    ['nothing', '', []],
  ])('with %s is read', (_, header, expected) => {
    expect(parse(header)).toEqual(expected);
  });

  test('is read to its end whatever it is', () => {
    const pieces = fc.constantFrom(
      'Bearer',
      'Basic',
      ' ',
      ',',
      '=',
      '"',
      '\\',
      'realm',
      'x',
      'https://r',
      '\t',
      '(',
      '\u00e9',
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
        for (const { scheme } of parseChallenges(parts.join(''))) expect(scheme).toBe(scheme.toLowerCase());
      }),
    );
  });

  test('that was written by the rules comes out as it went in', () => {
    const token = fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,8}$/).map((text) => text.toLowerCase());
    const challenge = fc.tuple(
      token,
      fc.dictionary(token, fc.string({ unit: 'grapheme-ascii' }), { minKeys: 1, maxKeys: 3 }),
    );
    fc.assert(
      fc.property(fc.array(challenge, { minLength: 1, maxLength: 3 }), (challenges) => {
        const quote = (text: string) => `"${text.replace(/["\\]/g, '\\$&')}"`;
        const header = challenges
          .map(
            ([scheme, values]) =>
              `${scheme} ${Object.entries(values)
                .map(([name, value]) => `${name}=${quote(value)}`)
                .join(', ')}`,
          )
          .join(', ');
        expect(parse(header)).toEqual(challenges.map(([scheme, values]) => [scheme, { ...values }]));
      }),
    );
  });
});
