// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';

const repository = path.resolve(import.meta.dirname, '../..');
const launcher = path.join(repository, 'build/launcher');
const readelf = (...args: string[]) => execFileSync('readelf', [...args, launcher], { encoding: 'utf8' });

describe('the launcher', () => {
  test('has under 2.5 MB', () => {
    expect(statSync(launcher).size).toBeLessThan(2_500_000);
  });

  test('needs no interpreter and no library', () => {
    expect(readelf('-lW')).not.toContain('INTERP');
    expect(readelf('-dW')).not.toContain('NEEDED');
  });

  test('is hardened: position independent, no executable stack, relocations read-only', () => {
    expect(readelf('-hW')).toMatch(/Type:\s+DYN/);
    const segments = readelf('-lW');
    expect(segments).toMatch(/GNU_STACK.*RW /);
    expect(segments).toContain('GNU_RELRO');
    expect(segments).not.toMatch(/LOAD.*RWE/);
    expect(readelf('-dW')).toMatch(/FLAGS.*NOW/);
  });

  test('is stripped and names no path of the machine that built it', () => {
    expect(readelf('-SW')).not.toContain('.symtab');
    const text = execFileSync('strings', ['-n', '6', launcher], { encoding: 'utf8', maxBuffer: 64 << 20 });
    expect(text).not.toContain(repository);
  });

  test('holds nothing that would load host libraries', () => {
    const text = execFileSync('strings', ['-n', '4', launcher], { encoding: 'utf8', maxBuffer: 64 << 20 });
    // libnss_: user lookups; gconv-modules: iconv. glibc's static start-up names neither.
    for (const word of ['libnss_', 'nsswitch.conf', 'gconv-modules']) expect(text, word).not.toContain(word);
  });
});
