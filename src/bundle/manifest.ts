// SPDX-License-Identifier: Apache-2.0
import * as z from 'zod/mini';
import { FormatError } from '../format/format-error.ts';
import type {
  BuildOptions,
  EmbeddedConfiguration,
  EmbeddedFile,
  ImageConfig,
  ImageFacts,
  LoaderFacts,
  Manifest,
  RootfsFacts,
  SkeletonEntry,
} from '../format/manifest.ts';

/** A schema for each key of a part, the optional ones too: none that is read elsewhere is forgotten here, where it would be dropped. */
type Shape<Part> = Record<keyof Part, z.ZodMiniType>;

const size = z.number().check(z.int(), z.gte(0));
const texts = z.array(z.string());

const loader = z.object({
  libc: z.enum(['glibc', 'musl', '']),
  glibcVersion: z.string(),
  cache: z.string(),
  muslPath: z.string(),
  directories: texts,
  cuda: z.string(),
  compat: texts,
} satisfies Shape<LoaderFacts>);

const skeletonEntry = z.object({
  path: z.string(),
  mode: size,
  content: z.nullable(z.string()),
} satisfies Shape<SkeletonEntry>);

const schema = z.object({
  manifestVersion: z.literal(1),
  name: z.string(),
  description: z.string(),
  provenance: z.object({ bundler: z.string(), source: z.string(), createdSeconds: size }),
  image: z.optional(
    z.object({
      compressor: z.string(),
      blockSizeBytes: size,
      inodes: size,
      usedBytes: size,
      sizeBytes: size,
      digest: z.string().check(z.regex(/^[0-9a-f]{64}$/)),
      unpackedBytes: size,
    } satisfies Shape<ImageFacts>),
  ),
  rootfs: z.optional(
    z.object({
      passwd: z.string(),
      group: z.string(),
      environment: z.string(),
      fstab: z.string(),
      osRelease: z.string(),
      loginDefs: z.string(),
      useradd: z.string(),
      rc: z.boolean(),
      rcProvenance: z.string(),
      shell: z.boolean(),
      debian: z.boolean(),
      homes: z.optional(texts),
      skeleton: z.optional(z.array(skeletonEntry)),
      loader: z.optional(loader),
    } satisfies Shape<RootfsFacts>),
  ),
  config: z.optional(
    z.object({
      entrypoint: texts,
      cmd: texts,
      env: texts,
      workdir: z.string(),
      user: z.string(),
      stopSignal: z.optional(z.string()),
    } satisfies Shape<ImageConfig>),
  ),
  options: z.object({
    target: z.string(),
    env: texts,
    rc: z.nullable(z.string()),
    entrypoint: z.nullable(texts),
  } satisfies Shape<BuildOptions>),
  configuration: z.optional(
    z.object({
      settings: z.record(z.string(), z.string()),
      files: z.array(
        z.object({
          from: z.enum(['system', 'user']),
          path: z.string(),
          mode: size,
          builtin: z.string(),
          encoding: z.enum(['utf8', 'base64']),
          content: z.string(),
        } satisfies Shape<EmbeddedFile>),
      ),
    } satisfies Shape<EmbeddedConfiguration>),
  ),
} satisfies Shape<Manifest>);

/** Reads and checks a manifest. Keys of a later version are dropped. Throws FormatError. */
export function decodeManifest(bytes: Buffer): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new FormatError(`the manifest is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new FormatError(
      `the manifest has no proper ${issue?.path.join('.') || 'content'}: ${issue?.message ?? 'unknown problem'}`,
      'the file may have been made by a newer bundler',
    );
  }
  return parsed.data as Manifest;
}
