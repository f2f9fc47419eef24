// SPDX-License-Identifier: Apache-2.0
import { afterEach, expect, test, vi } from 'vitest';
import { Failure } from '../../src/failure.ts';
import { createReporter } from '../../src/ui/reporter.ts';
import { createTransferView } from '../../src/ui/transfer-view.ts';

afterEach(() => vi.restoreAllMocks());

/** What an action writes to stderr. */
function shown(action: () => void): string {
  let text = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => {
    text += String(chunk);
    return true;
  });
  action();
  return text;
}

// Sets the title of the terminal, clears it, turns the direction of writing.
const hostile = 'a\x1b]0;title\x07b\x9b2Jc\r\u202ed';
const harmless = 'a?]0;title?b?2Jc??d';

test('an error has none of the control characters of what it tells of', () => {
  const error = new Failure(hostile, { hint: hostile });
  expect(shown(() => createReporter().error(error))).toBe(`bundler: ${harmless}\n  try: ${harmless}\n`);
});

test('a bug has none either', () => {
  expect(shown(() => createReporter().error(new Error(hostile)))).toContain(`Error: ${harmless}`);
});

test('what has several lines is one message', () => {
  const text = shown(() => createReporter().warn('no\nbundler: all is well\r\n'));
  expect(text).toBe('bundler: no\n  bundler: all is well\n');
});

test('warnings and notes of an import have none', () => {
  const text = shown(() => {
    const view = createTransferView('plain', { verbose: true });
    view.show({ event: 'warning', text: hostile });
    view.show({ event: 'note', text: hostile });
    view.show({ event: 'image', reference: hostile, manifestDigest: '', layers: [] });
  });
  expect(text).toBe(`bundler: ${harmless}\nbundler: ${harmless}\nbundler: importing ${harmless}\n`);
});
