// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: bash, not JavaScript, expands these
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { commonLibrary } from '../../runtime/hook-library.ts';

const scratch = mkdtempSync(join(tmpdir(), 'hook-library-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const library = join(scratch, 'common.sh');
writeFileSync(library, commonLibrary);

/** A hook as enroot's are written. */
function bash(script: string, env: Record<string, string> = {}) {
  const text = `set -euo pipefail\nsource "${library}"\nsource "${library}"\n${script}`;
  const ran = spawnSync('bash', ['--norc', '-c', text], {
    cwd: scratch,
    env: { PATH: process.env['PATH'] ?? '', ...env },
  });
  return { status: ran.status, stdout: ran.stdout.toString(), stderr: ran.stderr.toString() };
}

describe('the functions of common.sh that hooks use', () => {
  test('tell an error and end', () => {
    expect(bash('common::err "it is wrong"; echo no')).toEqual({
      status: 1,
      stdout: '',
      stderr: '[ERROR] it is wrong\n',
    });
    expect(bash('common::log WARN "one\\ttwo"; common::log INFO ""; echo yes')).toMatchObject({
      status: 0,
      stdout: 'yes\n',
      stderr: '[WARN] one\ttwo\n',
    });
    expect(bash('printf "a\\nb\\n" | common::log INFO -').stderr).toBe('[INFO] a\n[INFO] b\n');
    expect(bash('common::fmt bold text').stdout).toBe('text');
  });

  test('check for commands', () => {
    expect(bash('common::checkcmd sh cat; echo all').stdout).toBe('all\n');
    expect(bash('common::checkcmd sh no-such-command').stderr).toBe('[ERROR] Command not found: no-such-command\n');
  });

  test('fill variables in', () => {
    writeFileSync(join(scratch, 'vars'), 'a ${A}${A} ${B} ${NOT_SET}. $A ${A:-x}\nlast ${A}');
    const ran = bash('common::envsubst vars; common::envsubst nothing', { A: '1', B: '${A}' });
    expect(ran).toMatchObject({ status: 0, stdout: 'a 11 ${A} . $A ${A:-x}\nlast 1\n' });
  });

  test('format an environment file', () => {
    const text = ' A=1\n# c\n\nB="two words"  \nC=\'x\'\nENROOT_X=1\n1D=2\nE="a" b\nF=$A\\n\nG=';
    writeFileSync(join(scratch, 'env'), text);
    expect(bash('common::envfmt env').status).toBe(0);
    expect(readFileSync(join(scratch, 'env'), 'utf8')).toBe('A=1\nB=two words\nC=x\nE="a" b\nF=$A\\n\nG=\n');
  });

  test('list and run the parts of a directory', () => {
    const dir = join(scratch, 'parts');
    mkdirSync(dir);
    for (const [name, mode] of [
      ['b.sh', 0o755],
      ['a b.sh', 0o755],
      ['c.sh', 0o644],
      ['d.txt', 0o755],
    ] as const) {
      writeFileSync(join(dir, name), `#!/bin/sh\necho ${name}\n`);
      chmodSync(join(dir, name), mode);
    }
    expect(bash('common::runparts list .sh parts').stdout).toBe('parts/a b.sh\nparts/b.sh\nparts/c.sh\n');
    expect(bash('common::runparts exec .sh parts').stdout).toBe('a b.sh\nb.sh\n');
    writeFileSync(join(dir, 'b.sh'), '#!/bin/sh\nexit 7\n');
    expect(bash('common::runparts exec .sh parts').stderr).toBe('[ERROR] parts/b.sh exited with return code 7\n');
    expect(bash('common::runparts list .sh nowhere')).toMatchObject({ status: 0, stdout: '' });
  });

  test('find paths and make directories', () => {
    symlinkSync('parts', join(scratch, 'link'));
    expect(bash('common::realpath link').stdout.trim()).toBe(join(realpathSync(scratch), 'parts'));
    expect(bash('common::mountpoint /proc/self').stdout).toBe('/proc');
    const made = bash('common::mktmpdir x; ', { TMPDIR: scratch }).stdout.trim();
    expect(bash(`stat -c %a ${made}; common::rmall ${made}; ls ${made} 2> /dev/null || echo gone`).stdout).toBe(
      '700\ngone\n',
    );
    expect(bash('common::chdir /nonexistent').stderr).toContain('Could not change directory');
  });

  test('know the mapped user', () => {
    const uid = process.getuid?.() ?? 0;
    expect(bash('common::getpwent').stdout).toMatch(new RegExp(`^[^:]+:[^:]*:${uid}:`));
    expect(bash('common::readstrarray list "$(printf "a b\\nc")"; echo "${#list[@]} ${list[0]}"').stdout).toBe(
      '2 a b\n',
    );
    expect(bash('common::debarch x86_64').stdout).toBe('amd64');
  });
});
