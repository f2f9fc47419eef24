// SPDX-License-Identifier: Apache-2.0
import type { PackOptions } from '../launcher/pack.ts';
import type { BuildSettings } from '../settings/build-settings.ts';
import type { OnEvent } from '../source/events.ts';

/** How an image is written: what the packer is told, and what is changed of the files on the way. */
export interface PackSettings {
  readonly options: Omit<PackOptions, 'createdSeconds'>;
  readonly noXattrs: boolean;
  readonly allRoot: boolean;
}

/** ENROOT_SQUASH_OPTIONS and the number of processors as the packer takes them; warns of what cannot be done. */
export function choosePacking({ squash, maxProcessors }: BuildSettings, onEvent: OnEvent): PackSettings {
  const { options, ignored, lzo } = squash;
  const warn = (text: string): void => onEvent({ event: 'warning', text });
  if (lzo) warn(`ENROOT_SQUASH_OPTIONS asks for lzo, which bundler reads but does not write: lz4 is used instead`);
  if (ignored.length > 0) warn(`ENROOT_SQUASH_OPTIONS: ${ignored.join(' ')} changes nothing here`);
  const { noXattrs, allRoot, threads, ...packed } = options;
  return { options: { ...packed, threads: threads ?? maxProcessors }, noXattrs, allRoot };
}
