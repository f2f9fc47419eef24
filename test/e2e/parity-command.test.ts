// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: shells, not JavaScript, expand these
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { e2e } from '../support/features.ts';
import { type Start, startParity } from '../support/parity.ts';
import { makeDir, ordinaryUser } from '../support/session.ts';

function makeScript(text: string): string {
  const file = path.join(makeDir(ordinaryUser(), 'rc'), 'rc.sh');
  writeFileSync(file, text);
  return file;
}

const rc = 'echo "rc $#: $*"; [ $# -eq 0 ] || exec "$@"\n';

/** A promise about the command, the words of the command line, and what is to be seen: status, stdout, a part of stderr. */
const cases: readonly (readonly [string, Start, readonly string[], number, string, string?])[] = [
  ['/etc/rc: command and arguments are its parameters', {}, ['echo', 'a b', '$c'], 0, 'a b $c\n'],
  ['/etc/rc: without a command it decides what to run', {}, [], 0, 'default command\n'],
  [
    '--rc SCRIPT overrides the command script',
    { prepare: () => ({ args: ['--rc', makeScript(rc)] }) },
    ['echo', 'x y'],
    0,
    'rc 2: echo x y\nx y\n',
  ],
  [
    '--rc SCRIPT runs without a command too',
    { prepare: () => ({ args: ['--rc', makeScript(rc)] }) },
    [],
    0,
    'rc 0: \n',
  ],
  [
    '--rc FILE that is missing is refused',
    { args: ['--rc', '/nonexistent/rc'] },
    ['true'],
    125,
    '',
    'no such file or directory',
  ],
  [
    '--conf FILE that is missing is refused',
    { args: ['--conf', '/nonexistent/c'] },
    ['true'],
    125,
    '',
    'no such file or directory',
  ],
  ['without a command script the command is executed directly', { image: 'no-rc' }, ['echo', 'a b'], 0, 'a b\n'],
  ['the exit status is the command’s', {}, ['sh', '-c', 'exit 42'], 42, ''],
  ['the exit status is the script’s', { prepare: () => ({ args: ['--rc', makeScript('exit 7\n')] }) }, [], 7, ''],
  ['a command that is killed by a signal is told so', {}, ['sh', '-c', 'kill -TERM $$'], 143, ''],
  ['a command that is not there is 127', { image: 'no-rc' }, ['no-such-command'], 127, '', 'no-such-command'],
  ['a command that cannot be executed is 126', { image: 'no-rc' }, ['/etc/passwd'], 126, '', '/etc/passwd'],
  [
    'an --env that is no variable is refused',
    { args: ['--env', '1A=x'] },
    ['true'],
    125,
    '',
    'not the name of a variable',
  ],
  ['a --mount that is no mount is refused', { args: ['--mount', ':/x'] }, ['true'], 125, '', 'the source is missing'],
  [
    'a mount that fails ends the start',
    { args: ['--mount', '/nonexistent:/mnt'] },
    ['true'],
    125,
    '',
    'no such file or directory',
  ],
];

describe('enroot start: the command', () => {
  for (const [title, start, words, status, stdout, stderr] of cases) {
    e2e(title, async () => {
      const ran = await startParity({ ...start, command: () => words }, '');
      expect(ran).toMatchObject({ status, stdout });
      if (stderr !== undefined) expect(ran.stderr).toContain(stderr);
    });
  }
});
