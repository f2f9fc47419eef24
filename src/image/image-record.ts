// SPDX-License-Identifier: Apache-2.0
import type { ImageConfig } from '../format/manifest.ts';
import { type ImageConfiguration, parseImageConfig } from '../source/config.ts';
import { imageRecordPath } from './rootfs-facts.ts';

/** What an imported image says of its origin (`importing/contents.ts` writes it). */
export interface ImageRecord {
  readonly reference: string;
  readonly manifestDigest: string;
  readonly config: ImageConfiguration;
}

/** Reads the record of an image; null where it is no record of ours, which takes nothing from the image. */
export function readImageRecord(text: string): ImageRecord | null {
  if (text === '') return null;
  try {
    const value = JSON.parse(text) as Partial<Record<'reference' | 'manifestDigest' | 'config', unknown>> | null;
    const config = parseImageConfig(Buffer.from(JSON.stringify(value?.config ?? null)), imageRecordPath);
    return { reference: String(value?.reference ?? ''), manifestDigest: String(value?.manifestDigest ?? ''), config };
  } catch {
    return null;
  }
}

/** The part of an image's configuration that a launch looks at. */
export function toLaunchConfig({ config }: ImageConfiguration): ImageConfig {
  return {
    entrypoint: config.Entrypoint,
    cmd: config.Cmd,
    env: config.Env,
    workdir: config.WorkingDir,
    user: config.User,
    ...(config.StopSignal === '' ? {} : { stopSignal: config.StopSignal }),
  };
}
