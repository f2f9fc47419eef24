// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, fstatSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readNeeded } from '../../scripts/build/libraries.ts';
import { sampleLaunch } from '../../scripts/build/sample-launch.ts';
import { readAtDescriptor } from '../../src/format/read-at.ts';
import { findSection, readSections } from '../../src/format/sections.ts';
import { decodeReply } from '../../src/format/wire.ts';

const repository = path.resolve(import.meta.dirname, '../..');
const bundler = path.join(repository, 'dist/bundler');
let dir = '';
let runtime = '';

/** As the launcher starts it. */
const command = (mode: string) =>
  ['ld.so', '--inhibit-cache', '--library-path', 'lib', '--argv0', 'bundler', 'runtime', mode].map((word) =>
    ['ld.so', 'lib', 'runtime'].includes(word) ? path.join(runtime, word) : word,
  );

function plan(env: Record<string, string>): ReturnType<typeof spawnSync> {
  const [program = '', ...args] = command('plan');
  return spawnSync(program, args, { input: sampleLaunch(), env });
}

function kindsOf(replies: Buffer): string[] {
  if (replies.length === 0) return [];
  const end = 4 + replies.readUInt32LE();
  return [decodeReply(replies.subarray(4, end)).kind, ...kindsOf(replies.subarray(end))];
}

beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'bundler-build-'));
  runtime = path.join(dir, 'runtime');
  const file = openSync(bundler, 'r');
  const section = findSection(readSections(readAtDescriptor(file), fstatSync(file).size), 'runtime');
  closeSync(file);
  execFileSync('unsquashfs', ['-q', '-n', '-o', String(section?.offset), '-d', runtime, bundler]);
});

afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('the runtime section', () => {
  test('the empty-payload file has under 30 MB', () => {
    const file = openSync(bundler, 'r');
    expect(fstatSync(file).size).toBeLessThan(30_000_000);
    closeSync(file);
  });

  test('carries every library that a file in it needs', () => {
    const below = (dir: string): string[] => readdirSync(path.join(runtime, dir)).map((name) => path.join(dir, name));
    const libraries = [...below('lib'), ...below('proot/lib')];
    const carried = new Set(libraries.map((name) => path.basename(name)));
    const files = ['runtime', 'proot/proot', ...libraries].map((name) => path.join(runtime, name));
    const needed = files.flatMap((file) => readNeeded(file).map((name) => ({ file, name })));
    expect(needed.length).toBeGreaterThan(5);
    for (const { file, name } of needed) {
      if (!name.startsWith('ld-linux')) expect(carried, `${path.basename(file)} needs ${name}`).toContain(name);
    }
  });

  test('keeps proot apart: nothing outside of its directory needs what is in it, and its loaders are whole programs', () => {
    const own = new Set(readdirSync(path.join(runtime, 'proot/lib')));
    const others = [
      path.join(runtime, 'runtime'),
      ...readdirSync(path.join(runtime, 'lib')).map((name) => path.join(runtime, 'lib', name)),
    ];
    expect(others.flatMap(readNeeded).filter((name) => own.has(name))).toEqual([]);
    for (const [name, kind] of [
      ['loader', 'ELF64'],
      ['loader32', 'ELF32'],
    ] as const) {
      const header = execFileSync('readelf', ['-hlSW', path.join(runtime, 'proot', name)], { encoding: 'utf8' });
      expect(header).toContain(kind);
      expect(header).not.toContain('INTERP');
    }
  });

  test('is the same for everybody: owned by root, at time 0, no owner may be looked up', () => {
    const list = execFileSync('unsquashfs', ['-lln', path.join(repository, 'build/runtime.sqfs')], {
      encoding: 'utf8',
    });
    for (const line of list.trim().split('\n')) {
      expect(line).toMatch(/^[d-](rwxr-xr-x|rw-r--r--) 0\/0 .* 1970-01-01 /);
    }
  });

  test('plans a launch with an empty environment', () => {
    const { status, stdout, stderr } = plan({});
    expect({ status, stderr: String(stderr) }).toEqual({ status: 0, stderr: '' });
    expect(kindsOf(stdout as Buffer)).toEqual(['ask', 'ask', 'plan']);
  });

  test.each(['planner', 'devices'])('uses the code cache of its script %s', (name) => {
    const source = readFileSync(path.join(runtime, `${name}.cjs`), 'latin1');
    const check = path.join(dir, 'check.cjs');
    writeFileSync(
      check,
      `const { readFileSync } = require('node:fs'); const { Script } = require('node:vm');
       const script = new Script(readFileSync(process.argv[2], 'latin1'), { filename: '${name}.cjs', cachedData: readFileSync(process.argv[3]) });
       console.log(script.cachedDataRejected);`,
    );
    const files = [`${name}.cjs`, `${name}.cache`].map((file) => path.join(runtime, file));
    expect(execFileSync(path.join(repository, 'build/node-trimmed'), [check, ...files], { encoding: 'utf8' })).toBe(
      'false\n',
    );
    expect(source.startsWith('(function(exports,require,module,loadScript){')).toBe(true);
  });

  test('is not reached by the variables that steer Node, the loader, libc and OpenSSL', () => {
    const evil = path.join(dir, 'evil.cjs');
    const mark = path.join(dir, 'was-here');
    writeFileSync(evil, `require('node:fs').writeFileSync(${JSON.stringify(mark)}, '')`);
    const { status, stdout } = plan({
      NODE_OPTIONS: `--require ${evil}`,
      NODE_EXTRA_CA_CERTS: '/nonexistent',
      OPENSSL_CONF: evil,
      NODE_V8_COVERAGE: dir,
    });
    expect(status).toBe(0);
    expect(kindsOf(stdout as Buffer)).toEqual(['ask', 'ask', 'plan']);
    expect(readdirSync(dir)).not.toContain('was-here');
  });

  test('opens no program, library or configuration of the host', () => {
    const trace = path.join(dir, 'trace');
    const { status } = spawnSync(
      'strace',
      ['-f', '-o', trace, '-e', 'trace=execve,open,openat,access', ...command('plan')],
      {
        input: sampleLaunch(),
        env: {},
      },
    );
    expect(status).toBe(0);
    const paths = [
      ...readFileSync(trace, 'utf8').matchAll(/^\d+ +(?:open|access|execve|openat)\((?:AT_FDCWD, )?"([^"]*)"/gm),
    ].map((match) => match[1] as string);
    expect(paths.length).toBeGreaterThan(20);
    const own = paths.filter((name) => name.startsWith(`${runtime}/`));
    expect(own).toContain(`${runtime}/lib/libc.so.6`);
    // What plans for devices is not read by a launch that asks for none.
    expect(own).toContain(`${runtime}/planner.cjs`);
    expect(own.filter((name) => name.includes('devices'))).toEqual([]);
    // What a launch may look at: the kernel's files, and those that the planner reads as facts about the host.
    const others = paths.filter((name) => !name.startsWith(`${runtime}/`) && !/^\/(proc|sys|dev)\//.test(name));
    expect(others.filter((name) => /\.so(\.|$)|\/lib|ssl|preload|locale|nsswitch/.test(name))).toEqual([]);
  });

  test('prints the licence texts of what it carries', () => {
    const text = readFileSync(path.join(runtime, 'licenses'), 'utf8');
    for (const word of [
      'squashfs-tools-ng',
      'GNU LESSER GENERAL PUBLIC LICENSE',
      'GCC RUNTIME LIBRARY EXCEPTION',
      'Zstandard',
      'PRoot',
      'talloc',
      'V8',
      'npm: zod',
    ])
      expect(text.toLowerCase(), word).toContain(word.toLowerCase());
    expect(text).not.toContain(repository);
  });
});
