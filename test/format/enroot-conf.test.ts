// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the evaluator, not JavaScript, expands these
import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { evaluateValue, isLaunchSetting, parseConf, parseDirectives } from '../../src/format/enroot-conf.ts';

const env: Record<string, string> = { HOME: '/home/ann', A: 'one  two', E: '', N: '1' };
const asked = { variable: (name: string) => env[name], command: (command: string) => `<${command}>` };

describe('values of enroot.conf', () => {
  test.each([
    'plain',
    '  two   words  ',
    '"two   words"',
    "'single $A' x",
    '$A',
    '"$A"',
    '${A}/x',
    'a${N}b$N',
    '${NONE:-else}',
    '${NONE-else}',
    '${E:-else}',
    '${E-else}',
    '${A:-else}',
    '~/x ~',
    'a~b',
    '# only a comment',
    'x # comment',
    'x#y',
    'a\\ b',
    '\\$A',
    '"a\\"b\\$A"',
    '"${NONE:-x y}"',
    '$E$NONE',
    'x$E y',
    '$A$A',
    'a$A',
    '$ x$',
    '""',
    "a''b",
    '-comp lzo -noD',
    'a=b,c:d/e.f@g%h+i',
  ])('%j is what a shell prints', (text) => {
    const shell = spawnSync('bash', ['-c', 'eval "echo $1"', 'sh', text], {
      env: { ...env, PATH: process.env['PATH'] ?? '' },
    });
    expect(evaluateValue(text, asked)).toBe(shell.stdout.toString().replace(/\n$/, ''));
  });

  test.each<[string, string]>([
    ['$(id -u)', '<id -u>'],
    ['"$( nproc )"/x', '<nproc>/x'],
    ['${NONE:-x}$(id -un)', 'x<id -un>'],
  ])('%s needs no shell', (text, value) => {
    expect(evaluateValue(text, asked)).toBe(value);
  });

  test.each([
    '$(date)',
    '`date`',
    '*',
    '${A%x}',
    '${A:=x}',
    '$1',
    '$$',
    'a;b',
    'a|b',
    '"open',
    "'open",
    '{a,b}',
    '~ann',
    '\\',
  ])('%s takes a shell', (text) => {
    expect(evaluateValue(text, asked)).toBeNull();
  });
});

describe('lines', () => {
  test('are a name and a value, after blanks or =', () => {
    const text = 'A x y\n B=z \nC = "q"\n# D x\nE\n\nF\t1\nnot-a-name x\n';
    expect(parseConf(text)).toEqual([
      ['A', 'x y'],
      ['B', 'z'],
      ['C', '"q"'],
      ['E', ''],
      ['F', '1'],
    ]);
  });

  test('of a script that are directives begin with # and ENROOT_', () => {
    const script =
      '#!/bin/bash\n#ENROOT_A=1\n#   ENROOT_B 2\n# about ENROOT_C=3\n #ENROOT_D=4\n#ENROOT_lower=5\nENROOT_E=6\n';
    expect(parseDirectives(script)).toEqual([
      ['ENROOT_A', '1'],
      ['ENROOT_B', '2'],
    ]);
  });

  test.each<[string, boolean]>([
    ['ENROOT_REMAP_ROOT', true],
    ['ENROOT_SITE_OF_OURS', true],
    ['NVIDIA_VISIBLE_DEVICES', true],
    ['MELLANOX_VISIBLE_DEVICES', true],
    ['ENROOT_DATA_PATH', false],
    ['ENROOT_SQUASH_OPTIONS', false],
    ['ENROOT_BUNDLE_ALL', false],
    ['PATH', false],
    ['BASH_ENV', false],
    ['http_proxy', false],
  ])('%s matters to a launch: %s', (name, matters) => {
    expect(isLaunchSetting(name)).toBe(matters);
  });
});
