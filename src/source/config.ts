// SPDX-License-Identifier: Apache-2.0
import * as z from 'zod/mini';
import { Failure } from '../failure.ts';
import { isDigest } from './digest.ts';
import type { Platform } from './image.ts';
import { optional, parseJson } from './json.ts';
import { normalizePlatform } from './platform.ts';

/** Labels can be long; nobody needs more than this. */
export const maxConfigBytes = 8 << 20;

const text = optional(z.string(), '');
const keys = optional(z.record(z.string(), z.unknown()), {} as Record<string, unknown>);
const words = optional(
  z.union([
    z.array(z.string()),
    z.pipe(
      z.string(),
      z.transform((word) => [word]),
    ),
  ]),
  [] as string[],
);

const container = z.looseObject({
  User: text,
  Env: words,
  // null and [] mean the same; a single word is what the oldest images have.
  Entrypoint: words,
  Cmd: words,
  WorkingDir: text,
  Labels: optional(z.record(z.string(), z.string()), {} as Record<string, string>),
  Volumes: keys,
  ExposedPorts: keys,
  StopSignal: text,
});

const schema = z.looseObject({
  created: text,
  author: text,
  architecture: text,
  os: text,
  variant: text,
  config: z.pipe(
    z.nullish(z.unknown()),
    z.pipe(
      z.transform((value) => value ?? {}),
      container,
    ),
  ),
  rootfs: z.looseObject({
    diff_ids: optional(z.array(z.string().check(z.refine(isDigest, 'no sha256 or sha512 digest'))), [] as string[]),
  }),
  history: optional(
    z.array(
      z.looseObject({
        created: text,
        created_by: text,
        author: text,
        comment: text,
        empty_layer: optional(z.boolean(), false),
      }),
    ),
    [],
  ),
});

/**
 * An image's configuration with the names of OCI image-spec, config.md. What is absent or null there is '' or empty here; fields that are
 * not named here (Healthcheck, Shell, OnBuild) are kept as they are.
 */
export type ImageConfiguration = z.infer<typeof schema>;

/** Reads an image configuration. Throws Failure when it is malformed or too large. */
export function parseImageConfig(bytes: Buffer, what: string): ImageConfiguration {
  if (bytes.length > maxConfigBytes) throw new Failure(`${what} is larger than ${maxConfigBytes >> 20} MiB`);
  return parseJson(bytes, schema, what);
}

/** The platform that a configuration names; null when it names none. */
export function platformOf({ os, architecture, variant }: ImageConfiguration): Platform | null {
  return architecture === '' ? null : normalizePlatform({ os: os || 'linux', architecture, variant });
}
