// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Manifest } from '../../src/format/manifest.ts';
import { encodeTable, layOutSections, type SectionContent } from '../../src/format/sections.ts';
import { root } from './step.ts';

/** Of a file without tool and payload: what every bundle has. */
export const maxEmptyBytes = 30_000_000;

export interface ToolParts {
  readonly launcher: string;
  readonly runtime: { readonly image: string; readonly rawSizeBytes: number };
  readonly tool: string;
}

/** Writes the tool, which is a bundle without a payload (docs/format.md): launcher, runtime, manifest, tool. */
export function writeToolFile(parts: ToolParts, name: string, version: string): string {
  const manifest: Manifest = {
    manifestVersion: 1,
    name: 'bundler',
    description: 'turns a container image into one executable file',
    provenance: { bundler: version, source: '', createdSeconds: 0 },
    options: { target: '', env: [], rc: null, entrypoint: null },
  };
  const sections = [
    section('launcher', readFileSync(parts.launcher)),
    section('runtime', readFileSync(parts.runtime.image), parts.runtime.rawSizeBytes),
    section('manifest', Buffer.from(JSON.stringify(manifest))),
    section('tool', readFileSync(parts.tool)),
  ];
  const table = layOutSections(sections.map(({ content }) => content));
  const file = Buffer.alloc(table.fileSizeBytes);
  encodeTable(table).copy(file, table.tableOffset);
  for (const [i, { bytes }] of sections.entries()) bytes.copy(file, table.sections[i]?.offset);
  const emptyBytes = file.length - readFileSync(parts.tool).length;
  if (name === 'bundler' && emptyBytes > maxEmptyBytes)
    throw new Error(`${name} has ${emptyBytes} bytes without the tool, at most ${maxEmptyBytes} are allowed`);

  const output = `${root}dist/${name}`;
  mkdirSync(`${root}dist`, { recursive: true });
  writeFileSync(`${output}.new`, file, { mode: 0o755 });
  renameSync(`${output}.new`, output);
  return output;
}

function section(name: string, bytes: Buffer, rawSizeBytes = bytes.length): { bytes: Buffer; content: SectionContent } {
  const digest = createHash('sha256').update(bytes).digest();
  return { bytes, content: { name, sizeBytes: bytes.length, rawSizeBytes, digest } };
}
