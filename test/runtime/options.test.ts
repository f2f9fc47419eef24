// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { UsageFailure } from '../../runtime/failure.ts';
import { optionRows, parseOptions } from '../../runtime/options.ts';

describe('options of a .run', () => {
  test.each<[string, string[], object]>([
    ['nothing', [], { action: 'run', command: [], env: [], keep: false }],
    ['a command with its own options', ['ls', '-l', '--env', 'x'], { command: ['ls', '-l', '--env', 'x'], env: [] }],
    [
      '-- before a command that looks like an option',
      ['-k', '--', '-x', '--'],
      { keep: true, extract: false, command: ['-x', '--'] },
    ],
    ['a single dash is a command', ['-'], { command: ['-'] }],
    ['--env K=V', ['--env', 'A=1', 'x'], { env: ['A=1'], command: ['x'] }],
    ['--env=K=V', ['--env=A=1=2'], { env: ['A=1=2'] }],
    ['-e K and -eK=V', ['-e', 'A', '-eB=2'], { env: ['A', 'B=2'] }],
    ['grouped flags', ['-kqw', 'x'], { keep: true, quiet: true, rw: true, command: ['x'] }],
    [
      'a group that ends with an argument',
      ['-qeA=1', '-rm', '/a:/b'],
      { quiet: true, env: ['A=1'], root: true, mounts: ['/a:/b'] },
    ],
    ['--extract implies --keep', ['-x'], { extract: true, keep: true }],
    ['the last of two', ['--rc', 'a', '--rc=b'], { rc: 'b' }],
    ['an empty entry point', ['--entrypoint', '', 'x'], { entrypoint: '', command: ['x'] }],
    ['an empty entry point with =', ['--entrypoint='], { entrypoint: '' }],
    ['--info wins over a command', ['--info', '--json', 'x'], { action: 'info', json: true }],
    ['--clear-cache', ['--clear-cache'], { action: 'clear-cache' }],
    ['bytes that are not UTF-8', ['--env', 'A=\xff\x80'], { env: ['A=\xff\x80'] }],
  ])('%s', (_title, args, wanted) => {
    expect(parseOptions(args)).toMatchObject(wanted);
  });

  test.each<[string, string[], string]>([
    ['an unknown long option', ['--nope'], 'unknown option --nope'],
    ['an unknown short option in a group', ['-kZ'], 'unknown option -Z'],
    ['a missing argument', ['--rc'], 'the option --rc needs an argument: SCRIPT'],
    ['a missing short argument', ['-qe'], 'the option -e needs an argument: KEY[=VAL]'],
    ['an empty argument', ['--target='], 'the option --target needs an argument: DIR'],
    ['an argument that is not wanted', ['--keep=yes'], 'the option --keep takes no argument'],
    ['a name that is none', ['--env', '1X'], '--env 1X: not the name of a variable'],
    ['a relative --workdir', ['--workdir', 'x'], '--workdir x: not an absolute path'],
    ['--rc with --entrypoint', ['--rc', 'a', '--entrypoint', 'b'], '--rc and --entrypoint exclude each other'],
    ['an empty list of GPUs', ['--gpus='], 'the option --gpus needs an argument: LIST'],
    ['a missing script', ['-c'], 'the option -c needs an argument: SCRIPT'],
    ['control characters', ['--\x1b[2J'], 'unknown option --\\x1b[2J'],
  ])('%s is refused', (_title, args, message) => {
    expect(() => parseOptions(args)).toThrow(new UsageFailure(message));
  });

  test('a wrong --env never shows its value', () => {
    expect(() => parseOptions(['--env', 'bad-name=hunter2'])).toThrow('--env bad-name: not the name of a variable');
    expect(() => parseOptions(['--env', '=hunter2'])).toThrow('--env : not');
  });

  test('no two rows share a name or a letter', () => {
    const names = optionRows.flatMap(({ long, short }) => (short ? [long, short] : [long]));
    expect(new Set(names).size).toBe(names.length);
  });
});
