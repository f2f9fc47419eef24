// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { sha256 } from '../../src/format/hash-tree.ts';
import { encodeTable, layOutSections, type SectionTable } from '../../src/format/sections.ts';
import { compileProgram, repository } from '../support/programs.ts';
import { sanitize } from '../support/sanitize.ts';
import { sessionDir } from '../support/session.ts';

const launcherName = sanitize ? 'launcher-asan' : 'launcher';
export const launcher = process.env['BUNDLER_TEST_LAUNCHER'] ?? path.join(repository, 'build', launcherName);

/** The program that stands for the runtime's loader. */
const fakePlanner = (): string => compileProgram('fake-planner', 'stub');

export interface RuntimeOptions {
  /** A planner that ends before it reads its request. */
  readonly deaf?: boolean;
  /** Bytes that make this runtime another one than the rest. */
  readonly salt?: string;
}

/** A runtime section: the fake loader, something for it to run, and a library. */
export function makeRuntime(options: RuntimeOptions = {}): { data: Buffer; rawSizeBytes: number } {
  const dir = mkdtempSync(path.join(sessionDir(), 'runtime-'));
  const tree = path.join(dir, 'tree');
  mkdirSync(path.join(tree, 'lib'), { recursive: true });
  copyFileSync(fakePlanner(), path.join(tree, 'ld.so'));
  chmodSync(path.join(tree, 'ld.so'), 0o755);
  writeFileSync(path.join(tree, 'runtime'), 'the program\n'.repeat(100), { mode: 0o755 });
  writeFileSync(path.join(tree, 'lib/libx.so'), `a library ${options.salt ?? ''}\n`, { mode: 0o644 });
  if (options.deaf) writeFileSync(path.join(tree, 'deaf'), '');
  execFileSync('mksquashfs', [
    tree,
    `${dir}/x.sqfs`,
    '-noappend',
    '-quiet',
    '-no-progress',
    '-all-root',
    '-all-time',
    '0',
    '-mkfs-time',
    '0',
  ]);
  return { data: readFileSync(`${dir}/x.sqfs`), rawSizeBytes: 2_000_000 };
}

export interface Parts {
  readonly runtime?: RuntimeOptions;
  readonly manifest?: string;
  readonly payload?: Buffer;
  readonly tool?: Buffer;
  /** Overrides what the table says the unpacked runtime needs. */
  readonly rawSizeBytes?: number;
}

export interface Assembled {
  readonly bytes: Buffer;
  readonly table: SectionTable;
}

/** A bundle in memory; without `tool` and `payload` it is launched all the same. */
export function assemble(parts: Parts = {}): Assembled {
  const runtime = makeRuntime(parts.runtime);
  const contents: { name: string; data: Buffer; rawSizeBytes?: number }[] = [
    { name: 'launcher', data: readFileSync(launcher) },
    { name: 'runtime', data: runtime.data, rawSizeBytes: parts.rawSizeBytes ?? runtime.rawSizeBytes },
  ];
  if (parts.payload) contents.push({ name: 'payload', data: parts.payload });
  contents.push({ name: 'manifest', data: Buffer.from(parts.manifest ?? '{"manifestVersion":1}') });
  if (parts.tool) contents.push({ name: 'tool', data: parts.tool });
  const table = layOutSections(
    contents.map(({ name, data, rawSizeBytes }) => ({
      name,
      sizeBytes: data.length,
      rawSizeBytes: rawSizeBytes ?? data.length,
      digest: sha256(data),
    })),
  );
  const bytes = Buffer.alloc(table.fileSizeBytes);
  for (const [i, { data }] of contents.entries()) data.copy(bytes, table.sections[i]?.offset ?? 0);
  encodeTable(table).copy(bytes, table.tableOffset);
  return { bytes, table };
}

/** Writes an executable file that everybody may run, and returns its path. */
export function writeBundle(bytes: Buffer, name = 'x.run'): string {
  const dir = mkdtempSync(path.join(sessionDir(), 'bundle-'));
  chmodSync(dir, 0o755);
  const file = path.join(dir, name);
  writeFileSync(file, bytes, { mode: 0o755 });
  return file;
}

let plain: string | undefined;

/** The same ordinary bundle for all tests of a file. */
export function plainBundle(): string {
  plain ??= writeBundle(assemble().bytes);
  return plain;
}

export function sectionOf(table: SectionTable, name: string): { offset: number; sizeBytes: number } {
  const section = table.sections.find((one) => one.name === name);
  if (!section) throw new Error(`no section ${name}`);
  return section;
}
