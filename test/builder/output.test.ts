// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createOutput } from '../../src/bundle/output.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'bundler-output-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe('an output file', () => {
  test('has its name only when it is committed, and is executable then', async () => {
    const path = join(dir, 'x.run');
    const output = await createOutput(path, { force: false });
    writeSync(output.descriptor, 'data');
    const [temporary, ...others] = readdirSync(dir);
    expect(others).toEqual([]);
    expect(temporary).toMatch(/^\.x\.run\.partial-\d+-[0-9a-z]+$/);
    expect(statSync(join(dir, temporary ?? '')).mode & 0o777).toBe(0o600);
    await output.commit();
    output.discard();
    expect(readdirSync(dir)).toEqual(['x.run']);
    expect(statSync(path).mode & 0o777).toBe(0o755 & ~process.umask());
    expect(readFileSync(path, 'utf8')).toBe('data');
  });

  test('leaves nothing when it is discarded', async () => {
    (await createOutput(join(dir, 'x.run'), { force: false })).discard();
    expect(readdirSync(dir)).toEqual([]);
  });

  test('does not replace a file without force, and does with it', async () => {
    const path = join(dir, 'x.run');
    writeFileSync(path, 'old');
    await expect(createOutput(path, { force: false })).rejects.toMatchObject({
      hint: expect.stringContaining('--force'),
    });
    expect(readFileSync(path, 'utf8')).toBe('old');
    const output = await createOutput(path, { force: true });
    await output.commit();
    expect(readFileSync(path, 'utf8')).toBe('');
  });

  test('does not replace a file that appears meanwhile', async () => {
    const path = join(dir, 'x.run');
    const output = await createOutput(path, { force: false });
    writeFileSync(path, 'of somebody else');
    await expect(output.commit()).rejects.toThrow('it exists');
    output.discard();
    expect(readdirSync(dir)).toEqual(['x.run']);
    expect(readFileSync(path, 'utf8')).toBe('of somebody else');
  });

  test('replaces a symlink itself, not what it names', async () => {
    writeFileSync(join(dir, 'target'), 'precious');
    symlinkSync('target', join(dir, 'x.run'));
    await (await createOutput(join(dir, 'x.run'), { force: true })).commit();
    expect(readFileSync(join(dir, 'target'), 'utf8')).toBe('precious');
    expect(readFileSync(join(dir, 'x.run'), 'utf8')).toBe('');
  });

  test.each([false, true])('is never a directory or a device (force: %s)', async (force) => {
    mkdirSync(join(dir, 'sub'));
    await expect(createOutput(join(dir, 'sub'), { force })).rejects.toThrow('it is a directory');
    await expect(createOutput('/dev/null', { force })).rejects.toThrow('/dev/null');
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
  });

  test('says which directory is not there', async () => {
    await expect(createOutput(join(dir, 'no/x.run'), { force: false })).rejects.toThrow(
      /\/no: no such file or directory/,
    );
  });

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const)(
    'is gone after %s, of which the process dies',
    async (signal) => {
      const module = join(import.meta.dirname, '../../src/bundle/output.ts');
      const program = `
      const { createOutput } = await import(${JSON.stringify(module)});
      await createOutput(${JSON.stringify(join(dir, 'x.run'))}, { force: false });
      console.log('ready');
      setInterval(() => {}, 1000);`;
      const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
        stdio: ['ignore', 'pipe', 'inherit'],
        cwd: dir,
      });
      await once(child.stdout, 'data');
      expect(readdirSync(dir)).toHaveLength(1);
      child.kill(signal);
      expect(await once(child, 'close')).toEqual([null, signal]);
      expect(readdirSync(dir).filter((name) => !name.startsWith('core'))).toEqual([]);
      expect(existsSync(join(dir, 'x.run'))).toBe(false);
    },
  );
});
