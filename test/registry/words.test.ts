// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { parseServerError } from '../../src/registry/errors.ts';
import { cleanText, createSecretMask, redactUrl } from '../../src/registry/redact.ts';
import { readRetryAfter } from '../../src/registry/retry.ts';
import { mergeScopes } from '../../src/registry/scopes.ts';

describe('a URL in a message', () => {
  test.each([
    [
      'https://u:secret@r.example:5000/v2/x?service=a&scope=b&token=secret#secret',
      'https://r.example:5000/v2/x?service=a&scope=b&***',
    ],
    ['https://cdn.example/b?X-Amz-Signature=secret', 'https://cdn.example/b?***'],
    [
      'https://r.example/v2/a/blobs/uploads/1?_state=secret&digest=sha256:1',
      'https://r.example/v2/a/blobs/uploads/1?digest=sha256:1&***',
    ],
    ['https://r.example/v2/', 'https://r.example/v2/'],
  ])('%s is %s', (url, shown) => {
    expect(redactUrl(new URL(url))).toBe(shown);
  });
});

describe("a server's own words", () => {
  const mask = createSecretMask();
  mask.addPassword('user', 'pa ss/word');

  test.each([
    ['a registry', '{"errors":[{"code":"DENIED","message":"no"},{"code":"X"}]}', 'application/json', 'DENIED', 'no'],
    [
      'a detail in place of a message',
      '{"errors":[{"code":"DENIED","detail":"why"}]}',
      'application/json',
      'DENIED',
      'why',
    ],
    [
      'OAuth2',
      '{"error":"invalid_grant","error_description":"expired"}',
      'application/json',
      'invalid_grant',
      'expired',
    ],
    [
      'Docker Hub',
      '{"details":"incorrect username or password"}',
      'application/json',
      '',
      'incorrect username or password',
    ],
    ['plain text', 'Not\u001b[31m today\nsecond line', 'text/plain', '', 'Not [31m today'],
    ['a page', '<html><body>login</body></html>', 'text/html', '', ''],
    ['odd JSON', '[1,null]', 'application/json', '', ''],
    ['errors without sense', '{"errors":[null,7]}', 'application/json', '', ''],
    [
      'what repeats the secret',
      'bad: pa ss/word, dXNlcjpwYSBzcy93b3Jk, pa%20ss%2Fword',
      'text/plain',
      '',
      'bad: ***, ***, ***',
    ],
  ])('%s', (_, body, type, code, message) => {
    expect(parseServerError(body, type, mask)).toEqual({ code, message });
  });

  test('are cut when they are long', () => {
    expect(cleanText('x'.repeat(500), 10)).toBe('xxxxxxxxxx...');
  });
});

describe('Retry-After', () => {
  const nowMs = Date.parse('2026-01-02T03:04:00Z');
  test.each([
    ['7', 7000],
    ['0', 0],
    ['Fri, 02 Jan 2026 03:04:10 GMT', 10_000],
    ['Fri, 02 Jan 2026 03:03:00 GMT', 0],
    ['soon', null],
    [undefined, null],
  ])('of %s is %s ms', (value, ms) => {
    expect(readRetryAfter(value, nowMs)).toBe(ms);
  });
});

describe('the scopes of a token', () => {
  test.each([
    ['what the challenge wants', 'repository:a/b:pull', ['repository:a/b:pull'], ['repository:a/b:pull']],
    ['and what is wanted next', 'repository:a/b:pull', ['repository:a/b:pull,push'], ['repository:a/b:pull,push']],
    [
      'for two repositories',
      'repository:a:pull',
      ['repository:a:pull,push', 'repository:b:pull'],
      ['repository:a:pull,push', 'repository:b:pull'],
    ],
    ['without a challenge', '', ['repository:a:pull'], ['repository:a:pull']],
    ["under the mirror's own name", 'repository:hub/a:pull', ['repository:a:pull'], ['repository:hub/a:pull']],
    [
      'of a registry in a name',
      'repository:h:5000/a:pull',
      ['repository:h:5000/a:push'],
      ['repository:h:5000/a:pull,push'],
    ],
  ])('are %s', (_, challenge, wanted, merged) => {
    expect(mergeScopes(challenge, wanted)).toEqual(merged);
  });
});
