// SPDX-License-Identifier: Apache-2.0
import { chmodSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { sha256 } from '../../src/format/hash-tree.ts';
import type { ImageConfig } from '../../src/format/manifest.ts';
import { encodeTable, layOutSections, readSections } from '../../src/format/sections.ts';

/** A copy of a bundle whose manifest carries an image's OCI configuration, as an imported image has it. Next to the bundle, under that name. */
export function giveConfig(bundle: string, name: string, config: ImageConfig): string {
  const file = `${bundle}.${name}`;
  if (existsSync(file)) return file;
  const bytes = readFileSync(bundle);
  const table = readSections((offset, size) => bytes.subarray(offset, offset + size), bytes.length);
  const contents = table.sections.map((section) => {
    const data = bytes.subarray(section.offset, section.offset + section.sizeBytes);
    if (section.name !== 'manifest') return { ...section, data };
    const changed = Buffer.from(JSON.stringify({ ...JSON.parse(data.toString()), config }));
    return {
      ...section,
      data: changed,
      sizeBytes: changed.length,
      rawSizeBytes: changed.length,
      digest: sha256(changed),
    };
  });
  const placed = layOutSections(contents);
  const whole = Buffer.alloc(placed.fileSizeBytes);
  for (const [index, { data }] of contents.entries()) data.copy(whole, placed.sections[index]?.offset ?? 0);
  encodeTable(placed).copy(whole, placed.tableOffset);
  writeFileSync(`${file}.${process.pid}`, whole);
  chmodSync(`${file}.${process.pid}`, 0o755);
  renameSync(`${file}.${process.pid}`, file);
  return file;
}
