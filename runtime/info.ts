// SPDX-License-Identifier: Apache-2.0
import { type Bytes, quoteForShell } from '../src/format/bytes.ts';
import type { Manifest } from '../src/format/manifest.ts';
import { expandTarget } from './payload.ts';
import type { Request } from './request.ts';

/** What --info tells, as data (--json). Sizes in bytes. */
export interface Info {
  readonly name: Bytes;
  readonly description: Bytes;
  readonly versions: { readonly builder: string; readonly launcher: string; readonly format: number };
  readonly source: Bytes;
  /** Where import had the image from, as enroot writes it into /etc/rc; '' when it says nothing. */
  readonly importedFrom: Bytes;
  readonly created: string;
  readonly file: Bytes;
  readonly fileSizeBytes: number;
  readonly payload: {
    readonly offset: number;
    readonly sizeBytes: number;
    readonly unpackedBytes: number;
    readonly compressor: string;
    readonly blockSizeBytes: number;
    readonly inodes: number;
    readonly digest: string;
  } | null;
  /** Names of the embedded settings and files of enroot's configuration. */
  readonly configuration: readonly Bytes[];
  readonly targetDirectory: Bytes;
  readonly cacheDirectory: Bytes;
  readonly runtimeFrom: string;
}

export function describeBundle(manifest: Manifest, request: Request): Info {
  const { image, provenance, options, configuration } = manifest;
  const section = request.sections.find(({ name }) => name === 'payload');
  return {
    name: manifest.name,
    description: manifest.description,
    versions: { builder: provenance.bundler, launcher: request.launcher, format: 1 },
    source: provenance.source,
    importedFrom: manifest.rootfs?.rcProvenance.replace(/^# enroot-provenance: */, '') ?? '',
    created: new Date(provenance.createdSeconds * 1000).toISOString().replace('.000Z', 'Z'),
    file: request.exe,
    fileSizeBytes: request.fileSizeBytes,
    payload:
      section === undefined || image === undefined
        ? null
        : {
            offset: section.offset,
            sizeBytes: section.sizeBytes,
            unpackedBytes: image.unpackedBytes,
            compressor: image.compressor,
            blockSizeBytes: image.blockSizeBytes,
            inodes: image.inodes,
            digest: image.digest,
          },
    configuration: [
      ...Object.keys(configuration?.settings ?? {}),
      ...(configuration?.files ?? []).map(({ path }) => path),
    ],
    targetDirectory: describeTarget(options.target || `\${PWD}/${manifest.name}`, request),
    cacheDirectory: request.cacheDir,
    runtimeFrom: request.runtimeFrom,
  };
}

/** As it would be used here and now; as it was written where it cannot be expanded. */
function describeTarget(text: Bytes, request: Request): Bytes {
  try {
    return expandTarget(text, request);
  } catch {
    return text;
  }
}

export function writeInfo(info: Info): Bytes {
  const { payload, versions } = info;
  const rows: [string, string][] = [
    ['Name', info.name],
    ['Description', info.description || 'none'],
    ['Made by', `bundler ${versions.builder}`],
    ['Runtime version', versions.launcher],
    ['Source', info.source],
    ...(info.importedFrom === '' ? [] : [['Imported from', info.importedFrom] satisfies [string, string]]),
    ['Created', info.created],
    ['File size', `${info.fileSizeBytes} bytes`],
  ];
  if (payload !== null) {
    rows.push(
      ['Payload', `squashfs, ${payload.sizeBytes} bytes at offset ${payload.offset}`],
      ['Compression', `${payload.compressor}, blocks of ${payload.blockSizeBytes} bytes`],
      ['Uncompressed size', `${payload.unpackedBytes} bytes`],
      ['Inodes', String(payload.inodes)],
      ['Digest', payload.digest],
      ['List its files', `unsquashfs -o ${payload.offset} -l ${quoteForShell(info.file)}`],
    );
  }
  if (info.configuration.length > 0) rows.push(['Configuration', info.configuration.join(' ')]);
  rows.push(
    ['Target directory', info.targetDirectory],
    ['Cache directory', `${info.cacheDirectory || 'none'} (runtime: ${info.runtimeFrom})`],
  );
  return `${rows.map(([name, value]) => `${name}: ${escapeControls(value)}`).join('\n')}\n`;
}

/** A manifest may come from anybody; it must not drive the terminal. */
function escapeControls(text: Bytes): Bytes {
  return text.replace(/[\x00-\x1f\x7f]/g, (c) =>
    c === '\n' ? '\\n' : `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}
