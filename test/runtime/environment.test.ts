// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the planner, not JavaScript, expands these
import { describe, expect, test } from 'vitest';
import { parseEnvFile, parseEnvironment } from '../../runtime/environment.ts';
import { expandPath, substitute } from '../../runtime/expand.ts';
import { type Change, environmentOf } from './launch-fixture.ts';

describe("the command's environment", () => {
  test("is clean, with the image's variables, TERM and what a login sets", () => {
    expect(environmentOf()).toEqual({
      PATH: '/usr/bin:/bin',
      LANG: 'C.UTF-8',
      TERM: 'xterm',
      HOME: '/home/ann',
      USER: 'ann',
      LOGNAME: 'ann',
      SHELL: '/bin/bash',
    });
  });

  test("is root's with --root", () => {
    expect(environmentOf({ args: ['-r'] })).toMatchObject({ HOME: '/root', USER: 'root', LOGNAME: 'ann' });
  });

  test.each<[string, Change, Record<string, string | undefined>]>([
    ['--env K=V wins over the image', { args: ['-e', 'LANG=de'] }, { LANG: 'de' }],
    ["--env K takes the caller's value", { args: ['-e', 'SECRET'] }, { SECRET: 'hunter2' }],
    ['--env K of an unset variable sets nothing', { args: ['-e', 'NOPE'] }, { NOPE: undefined }],
    ['--env K= sets it to nothing', { args: ['-e', 'LANG='] }, { LANG: '' }],
    [
      'ENROOT_* are ours and stay outside',
      { args: ['-e', 'ENROOT_ROOTFS_WRITABLE=y'] },
      { ENROOT_ROOTFS_WRITABLE: undefined },
    ],
    [
      "--keep-env passes the caller's, below the image's",
      { args: ['--keep-env'], env: { LANG: 'fr', BUNDLER_DRIVER: '' } },
      { SECRET: 'hunter2', LANG: 'C.UTF-8', BUNDLER_DRIVER: undefined },
    ],
    [
      'OCI variables count without an /etc/environment',
      {
        rootfs: { environment: '' },
        manifest: { config: { entrypoint: [], cmd: [], env: ['A=1', 'PATH=/opt'], workdir: '', user: '' } },
      },
      { A: '1', PATH: '/opt' },
    ],
    [
      'make --env is above the image, below --env',
      {
        manifest: { options: { target: '', env: ['LANG=x', 'B=2'], rc: null, entrypoint: null } },
        args: ['-e', 'B=3'],
      },
      { LANG: 'x', B: '3' },
    ],
    [
      '--env-file is below --env',
      { args: ['--env-file', 'f', '-e', 'B=3'], host: { files: { f: '# c\nA=1 # no comment\nB=2\nSECRET\nNOPE\n' } } },
      { A: '1 # no comment', B: '3', SECRET: 'hunter2', NOPE: undefined },
    ],
    [
      'without a PATH there is a default',
      { rootfs: { environment: '' } },
      { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
    ],
    [
      'login.defs gives the PATH',
      { rootfs: { environment: '', loginDefs: '# x\nENV_PATH\tPATH=/a:/b\nENV_SUPATH PATH=/s\n' } },
      { PATH: '/a:/b' },
    ],
    [
      'an image with an OCI configuration has the PATH that docker gives, whatever its login.defs says',
      {
        rootfs: { environment: '', loginDefs: 'ENV_PATH PATH=/a:/b\n' },
        manifest: { config: { entrypoint: [], cmd: [], env: ['A=1'], workdir: '', user: '' } },
      },
      { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
    ],
    ['a caller without TERM gives none', { request: { env: { HOME: '/h' } } }, { TERM: undefined }],
  ])('%s', (_title, change, wanted) => {
    const env = environmentOf(change);
    for (const [name, value] of Object.entries(wanted)) expect(env[name]).toBe(value);
  });

  test('/etc/environment is read as enroot reads it', () => {
    const text = '  A=1\n# B=2\nC="x y" \nD=\'q\'\nbad-name=1\nexport E=1\nF=${HOME}/f\nG=${NOPE}g\nH="a" b\n';
    expect(parseEnvironment(text, (name) => (name === 'HOME' ? '/h' : undefined))).toEqual([
      'A=1',
      'C=x y',
      'D=q',
      'F=/h/f',
      'G=g',
      'H="a" b',
    ]);
  });

  test('a bad line of an --env-file is named by its number, not by its content', () => {
    expect(() => parseEnvFile('A=1\nmy secret=hunter2\n', 'f')).toThrow('--env-file f: line 2 is not KEY=VALUE or KEY');
  });
});

describe('variables in text', () => {
  const look = (name: string) => ({ HOME: '/h', EMPTY: '' })[name];

  test.each([
    ['~', '/h'],
    ['~/a', '/h/a'],
    ['a~', 'a~'],
    ['$HOME/a', '/h/a'],
    ['${HOME}a', '/ha'],
    ['${EMPTY:-x}', 'x'],
    ['${EMPTY-x}', ''],
    ['${NOPE-x}', 'x'],
    ['${NOPE:-${EMPTY:-$HOME}/y}/z', '/h/y/z'],
    ['a\\$HOME', 'a$HOME'],
    ['100$', '100$'],
    ['$1', '$1'],
  ])('%s is %s', (text, wanted) => {
    expect(expandPath(text, look)).toBe(wanted);
  });

  test.each(['$(id)', '`id`', '${HOME', '${HOME:-x', '${HOME%x}'])('%s is refused', (text) => {
    expect(() => expandPath(text, look)).toThrow('cannot expand');
  });

  test('~ without HOME is refused', () => {
    expect(() => expandPath('~/x', () => undefined)).toThrow('HOME is not set');
  });

  test('only ${NAME} is substituted in files', () => {
    expect(substitute('${A} $A ${A:-x} ${B}', (name) => (name === 'A' ? '1' : undefined))).toBe('1 $A ${A:-x} ');
  });
});
