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

  test('calls nothing that would load host libraries or start a shell', () => {
    const symbols = execFileSync('sh', ['-c', 'nm -u build/obj/launcher/*.o'], { cwd: repository, encoding: 'utf8' });
    const called = new Set([...symbols.matchAll(/ U (\w+)/g)].map((match) => match[1] as string));
    expect(called).toContain('unshare');
    // dlopen, name services, character sets, locales; glibc would load plugins of another version for each.
    const forbidden =
      /^(dl(m?open|sym)|get(pw|gr|sp)(ent|nam|uid|gid)(_r)?|getaddrinfo|gethostby\w+|getgrouplist|initgroups|iconv\w*|setlocale|newlocale|system|popen|wordexp)$/;
    expect([...called].filter((name) => forbidden.test(name))).toEqual([]);
    const text = execFileSync('strings', ['-n', '6', launcher], { encoding: 'utf8', maxBuffer: 64 << 20 });
    for (const word of ['libnss_', 'nsswitch.conf']) expect(text.includes(word), word).toBe(false);
  });
});
