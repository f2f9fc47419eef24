// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { answerMountRequest, isMountRequest } from '../../runtime/hook-mounts.ts';
import type { Fact } from '../../src/format/wire.ts';

const request = (...lines: string[]): Fact[] => [
  ['file.run/mount/text', `${lines.join('\n')}\n`],
  ['root', '/srv/root'],
];

describe('what a hook asks for by enroot-mount', () => {
  test('is told apart from the end of all hooks', () => {
    expect(isMountRequest(request('/', '0', '/'))).toBe(true);
    expect(isMountRequest([['file.run/environment', 'A=1\n']])).toBe(false);
  });

  test.each<[string, string[], string[]]>([
    ['with --root, inside', ['/srv/root', '0', '/w', 'tmpfs /a tmpfs'], ['/a']],
    ['with --root and a slash', ['/srv/root/', '0', '/w', 'tmpfs a tmpfs'], ['/a']],
    ['without --root, below the root’s path', ['/', '0', '/w', 'tmpfs /srv/root/a tmpfs'], ['/a']],
    ['of its pass only', ['/srv/root', '-1', '/w', 'tmpfs /a tmpfs', 'tmpfs /b tmpfs x-create=dir 0 -1'], ['/b']],
    ['without comments', ['/srv/root', '0', '/w', '# none', '', 'tmpfs /a tmpfs'], ['/a']],
  ])('is mounted %s', (_title, lines, targets) => {
    const reply = answerMountRequest(request(...lines));
    expect(reply.kind === 'plan' && reply.plan.map((op) => op.op === 'mount' && op.target)).toEqual(targets);
  });

  test('has relative sources from the hook’s directory', () => {
    const reply = answerMountRequest(request('/srv/root', '0', '/w', 'x /a none bind'));
    expect(reply).toMatchObject({ plan: [{ source: '/w/x' }] });
  });

  test.each<[string, string[], string]>([
    [
      'outside of the container',
      ['/', '0', '/w', 'tmpfs /etc tmpfs'],
      'cannot mount on /etc: it is not in the container',
    ],
    ['in another root', ['/other', '0', '/w', 'tmpfs /etc tmpfs'], 'it is not in the container'],
    ['beside the root', ['/', '0', '/w', 'tmpfs /srv/root2 tmpfs'], 'it is not in the container'],
    ['that are no mounts', ['/srv/root', '0', '/w', 'none'], 'not a mount'],
  ])('is refused for places %s', (_title, lines, message) => {
    const reply = answerMountRequest(request(...lines));
    expect(reply).toMatchObject({ kind: 'text', status: 1, stdout: '' });
    expect(reply.kind === 'text' && reply.stderr).toMatch(new RegExp(`^enroot-mount: .*${message}.*\\n$`));
  });
});
