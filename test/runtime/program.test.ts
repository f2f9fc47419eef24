// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as esbuild from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sampleLaunch } from '../../scripts/build/sample-launch.ts';
import { decodeReply, type Reply } from '../../src/format/wire.ts';

const scratch = mkdtempSync(join(tmpdir(), 'planner-program-'));
const program = join(scratch, 'planner.cjs');
afterAll(() => rmSync(scratch, { recursive: true }));

let builtins: readonly string[] = [];
beforeAll(async () => {
  const { metafile } = await esbuild.build({
    entryPoints: [join(import.meta.dirname, '../../runtime/main.ts')],
    outfile: program,
    bundle: true,
    platform: 'node',
    target: 'node26',
    format: 'cjs',
    metafile: true,
    loader: { '.txt': 'text' },
    supported: { 'dynamic-import': false },
    logLevel: 'error',
  });
  const imports = Object.values(metafile.outputs).flatMap((output) => output.imports);
  builtins = [...new Set(imports.map(({ path }) => path))].sort();
});

function start(args: readonly string[], input: Buffer | string, env: Record<string, string> = {}) {
  return spawnSync(process.execPath, [program, ...args], { input, env, maxBuffer: 64 << 20 });
}

function replyOf(stdout: Buffer): Reply {
  const sizeBytes = stdout.readUInt32LE();
  const reply = decodeReply(stdout.subarray(4, 4 + sizeBytes));
  if (reply.kind === 'ask') return replyOf(stdout.subarray(4 + sizeBytes));
  expect(sizeBytes).toBe(stdout.length - 4);
  return reply;
}

describe('the planner as a program', () => {
  test("loads two of Node's modules at its start, and nothing that starts or loads a program of the host", () => {
    expect(builtins).toEqual(['node:fs', 'node:path']);
  });

  test('plans over two pipes, with an empty environment', () => {
    const { status, stdout, stderr } = start(['plan'], sampleLaunch());
    expect(stderr.toString()).toBe('');
    expect(status).toBe(0);
    const reply = replyOf(stdout);
    expect(reply.kind === 'plan' && reply.plan.at(-1)).toMatchObject({
      op: 'exec',
      argv: ['/bin/sh', '/etc/rc', 'true'],
    });
  });

  test('answers a cut request with a message instead of a plan', () => {
    const { stdout } = start(['plan'], sampleLaunch().subarray(0, 100));
    expect(replyOf(stdout)).toMatchObject({
      kind: 'text',
      status: 125,
      stderr: expect.stringContaining('closed the pipe early'),
    });
  });

  test('is not a command by itself', () => {
    const { status, stderr } = start([], '');
    expect(status).toBe(125);
    expect(stderr.toString()).toContain('start the bundle itself');
  });
});

describe('the builder inside the tool', () => {
  const tool = join(scratch, 'bundler');
  const code = `
    const { basename } = require('node:path');
    const os = require('os');
    console.log(JSON.stringify({ argv: process.argv.slice(1), file: __filename, base: basename(__filename), eol: os.EOL }));
    process.exitCode = 7;
    exports.x = 1;`;

  /** The section as docs/format.md has it: the script's length, the script as a function, and here no code cache. */
  const pack = (source: string): Buffer => {
    const script = Buffer.from(`(function (exports, require, module, __filename, __dirname) {${source}\n})`);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(script.length);
    return Buffer.concat([length, script]);
  };

  /** A file with something before and after the section. */
  const load = (section: Buffer, args: readonly string[]) => {
    writeFileSync(tool, Buffer.concat([Buffer.alloc(4096), section, Buffer.alloc(100)]));
    return start(['tool', ...args], '', { BUNDLER_SELF: tool, BUNDLER_TOOL: `4096 ${section.length}` });
  };

  test('runs from its section, with its arguments and its own exit status', () => {
    const { status, stdout, stderr } = load(pack(code), ['make', '--x']);
    expect(stderr.toString()).toBe('');
    expect(JSON.parse(stdout.toString())).toEqual({
      argv: [tool, 'make', '--x'],
      file: tool,
      base: 'bundler',
      eol: '\n',
    });
    expect(status).toBe(7);
  });

  test("has only Node's own modules", () => {
    const { status, stderr } = load(pack("require('commander')"), []);
    expect(status).not.toBe(0);
    expect(stderr.toString()).toContain("the tool asks for 'commander', which is not one of Node's own modules");
  });

  test('that is cut or not named is an error', () => {
    expect(load(pack(code).subarray(0, 20), []).status).not.toBe(0);
    const { stderr } = start(['tool'], '', { BUNDLER_SELF: tool, BUNDLER_TOOL: `0 ${statSync(tool).size + 1}` });
    expect(stderr.toString()).toContain('ends inside its tool section');
    expect(start(['tool'], '').stderr.toString()).toContain('BUNDLER_SELF and BUNDLER_TOOL do not name the tool');
  });
});
