// SPDX-License-Identifier: Apache-2.0
import type { ImageConfiguration } from '../source/config.ts';
import type { Platform } from '../source/image.ts';
import { normalizePlatform } from '../source/platform.ts';

/** What a root filesystem says of itself, for an image without a configuration. */
export interface ExportFacts {
  readonly platform: Platform;
  /** Content of /etc/environment; '' when there is none. */
  readonly environment: string;
}

/**
 * The configuration of an exported image (OCI image-spec, config.md): the original's, which may know more fields than we do, with the layers that are
 * written now; without an original, what the root filesystem says. Empty fields are left out. The same arguments give the same bytes.
 * @param createdSeconds since 1970: when the image was made, not when it is exported, or digests would differ each time
 */
export function makeImageConfig(
  original: ImageConfiguration | null,
  facts: ExportFacts,
  diffIds: readonly string[],
  createdSeconds: number,
): Buffer {
  // The original's own words tell of fractions, which a squashfs image does not keep.
  const isOriginals = original !== null && Math.floor(Date.parse(original.created) / 1000) === createdSeconds;
  const created = isOriginals ? original.created : formatTime(createdSeconds);
  const {
    rootfs: _rootfs,
    history: _history,
    config,
    architecture,
    os,
    variant,
    author,
    ...rest
  } = original ?? bareImage(facts);
  const platform = architecture === '' ? facts.platform : { architecture, os: os || 'linux', variant };
  const document = {
    ...rest,
    created,
    author,
    architecture: platform.architecture,
    os: platform.os,
    variant: platform.variant,
    config: withoutEmpty(config),
    rootfs: { type: 'layers', diff_ids: diffIds },
    history: diffIds.map(() => ({ created, created_by: 'bundler export' })),
  };
  return Buffer.from(JSON.stringify({ ...withoutEmpty(document), config: document.config, history: document.history }));
}

function bareImage({ environment, platform }: ExportFacts) {
  return {
    ...normalizePlatform(platform),
    author: '',
    rootfs: null,
    history: null,
    config: { Env: readEnvironment(environment), Cmd: ['/bin/sh'] },
  };
}

/** Variables of /etc/environment as enroot reads them: other lines left out, one pair of quotes removed. */
function readEnvironment(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.replace(/^[ \t\r\f\v]+/, ''))
    .filter((line) => /^[A-Za-z_][A-Za-z0-9_]*=/.test(line))
    .map((line) => line.replace(/^([A-Za-z_][A-Za-z0-9_]*)=["'](.*)["'][ \t\r\f\v]*$/, '$1=$2'));
}

/** RFC 3339, as Go writes it: without a fraction. */
function formatTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}

function withoutEmpty(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => !isEmpty(value)));
}

function isEmpty(value: unknown): boolean {
  if (value === '' || value === null || value === undefined) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}
