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
    expect(temporary).toMatch(/^\.x\.run\.partial-[0-9a-f]{16}-\d+-\d+-[0-9a-f]{16}$/);
    expect(statSync(join(dir, temporary ?? '')).mode & 0o777).toBe(0o600);
    await output.commit();
    output.discard();
    expect(readdirSync(dir)).toEqual(['x.run']);
    expect(statSync(path).mode & 0o777).toBe(0o755 & ~process.umask());
    expect(readFileSync(path, 'utf8')).toBe('data');
  });

  test('takes what a killed process left of the same file away, and nothing else', async () => {
    const child = spawn(process.execPath, [
      '--input-type=module-typescript',
      '-e',
      `import { createOutput } from ${JSON.stringify(join(import.meta.dirname, '../../src/bundle/output.ts'))};
       for (const name of ['x.run', 'y.run']) await createOutput(${JSON.stringify(dir)} + '/' + name, { force: false });
       process.kill(process.pid, 'SIGKILL');`,
    ]);
    await once(child, 'close');
    writeFileSync(join(dir, '.x.run.partial-of-somebody'), '');
    expect(readdirSync(dir).length).toBe(3);
    // That of a living process.
    const other = await createOutput(join(dir, 'x.run'), { force: false });
    expect(readdirSync(dir).filter((name) => name.startsWith('.x.run.partial')).length).toBe(2);
    const output = await createOutput(join(dir, 'x.run'), { force: false });
    expect(readdirSync(dir).filter((name) => name.startsWith('.x.run.partial')).length).toBe(3);
    other.discard();
    await output.commit();
    expect(
      readdirSync(dir)
        .map((name) => name.slice(0, 14))
        .sort(),
    ).toEqual(['.x.run.partial', '.y.run.partial', 'x.run']);
  });

  test('has a temporary name that every file system takes, however long its own is', async () => {
    const path = join(dir, `${'n'.repeat(240)}.run`);
    await (await createOutput(path, { force: false })).commit();
    expect(existsSync(path)).toBe(true);
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
