// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { makeImageConfig } from '../../src/exporting/config.ts';
import type { ExportRequest } from '../../src/exporting/request.ts';
import type { EntryKind, TarEntry } from '../../src/layer/tar-entry.ts';
import { noXattrs } from '../../src/layer/tar-entry.ts';
import { paddingOf } from '../../src/layer/tar-header.ts';
import { encodeHeader, endOfArchive } from '../../src/layer/write-tar.ts';
import { parseImageConfig } from '../../src/source/config.ts';

export function makeTemporary(): string {
  return mkdtempSync(join(tmpdir(), 'bundler-export-'));
}

/** A layer with these files, by path; null is a directory. */
export function makeLayer(files: Readonly<Record<string, string | null>>): Buffer {
  const parts = Object.entries(files).flatMap(([path, content]) => {
    const kind: EntryKind = content === null ? 'dir' : 'file';
    const sizeBytes = Buffer.byteLength(content ?? '');
    const entry: TarEntry = {
      path,
      kind,
      mode: 0o755,
      uid: 0,
      gid: 0,
      mtimeSeconds: 1,
      sizeBytes,
      link: '',
      major: 0,
      minor: 0,
      xattrs: noXattrs,
    };
    return [encodeHeader(entry), Buffer.from(content ?? ''), Buffer.alloc(paddingOf(sizeBytes))];
  });
  return Buffer.concat([...parts, endOfArchive]);
}

export const base = makeLayer({
  bin: null,
  'bin/tool': '#!/bin/sh\n',
  'etc/': null,
  'etc/text': 'text '.repeat(300_000),
});
export const more = makeLayer({ 'etc/': null, 'etc/more': 'more' });

export const original = parseImageConfig(
  Buffer.from(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      config: {
        Env: ['A=1'],
        Entrypoint: ['/bin/tool'],
        Cmd: null,
        WorkingDir: '/etc',
        Healthcheck: { Test: ['NONE'] },
      },
      rootfs: { type: 'layers', diff_ids: [] },
    }),
  ),
  'x',
);

/** Cut into pieces of a size that fits nothing. */
export function streamOf(layer: Buffer, pieceBytes = 100_003): Readable {
  let at = 0;
  return new Readable({
    read() {
      this.push(at < layer.length ? layer.subarray(at, at + pieceBytes) : null);
      at += pieceBytes;
    },
  });
}

export function requestOf(layers: readonly Buffer[], more: Partial<ExportRequest> = {}): ExportRequest {
  const platform = { os: 'linux', architecture: 'amd64', variant: '' };
  return {
    layers: layers.map((layer) => ({ open: async () => streamOf(layer) })),
    makeConfig: (diffIds) => makeImageConfig(original, { platform, environment: '' }, diffIds, 1_700_000_000),
    reference: 'localhost/exported:1',
    compression: 'gzip',
    ...more,
  };
}
