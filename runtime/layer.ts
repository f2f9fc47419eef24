// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { type Cause, explainOverlay, explainOverlayMount, nameErrno } from './causes.ts';
import { absolutePath } from './expand.ts';
import { Failure } from './failure.ts';
import type { LaunchInput } from './launch-input.ts';

/** Where everything that is written goes, over an image that stays as it is. */
export type Layer =
  /** sizeBytes 0: the kernel's default, half of the memory. */
  | { readonly in: 'memory'; readonly sizeBytes: number }
  /** A fresh directory below place, gone after the run. */
  | { readonly in: 'disk'; readonly place: Bytes; readonly freeBytes: number; readonly filesystem: string }
  /** The user's directory, which stays. */
  | { readonly in: 'directory'; readonly dir: Bytes };

/** A layer on disk that could not hold even this much is none. */
const leastBytes = 16 << 20;

/** Asks which of our directories can hold an overlay: each is tried, down to the first that can (docs/plan.md). */
export const layersQuestion = `layers ${leastBytes}`;

/** One line of the answer. */
export interface LayerPlace {
  readonly path: Bytes;
  readonly usable: boolean;
  readonly freeBytes: number;
  readonly filesystem: string;
  /** `STEP: ERRNO` where it is not usable. */
  readonly trouble: string;
}

export function readLayerPlaces(answer: Bytes): LayerPlace[] {
  return answer
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, path, free, filesystem = ''] = /^(.*) ok (\d+) (\S+)$/.exec(line) ?? [];
      if (path !== undefined) return { path, usable: true, freeBytes: Number(free), filesystem, trouble: '' };
      const [, bad = line, step = '', errno = ''] = /^(.*) (\S+) (\S+)$/.exec(line) ?? [];
      return { path: bad, usable: false, freeBytes: 0, filesystem: '', trouble: `${step}: ${nameErrno(errno)}` };
    });
}

/**
 * The layer of a root that is to be written to; `cause` where none can be had, so that the image must be unpacked. Throws Failure
 * where the user asked for one that cannot be had.
 */
export function chooseLayer(
  input: LaunchInput,
): { readonly layer: Layer } | { readonly cause: Cause } | { readonly ask: readonly string[] } {
  const { options, settings, host, request } = input;
  const mount = explainOverlayMount(host);
  if (options.overlay !== null) {
    const dir = absolutePath(options.overlay, request.cwd).replace(/\/\.(?=\/|$)/g, '') || '/';
    if (mount === null) return { layer: { in: 'directory', dir } };
    throw new Failure(
      `cannot keep the changes in ${dir}: ${mount.cause}`,
      'write into an unpacked copy of the image, which stays: --keep --rw --target DIR',
    );
  }
  const memory = explainOverlay(host);
  if (memory === null && settings.layerIn !== 'disk') {
    return { layer: { in: 'memory', sizeBytes: settings.layerSizeBytes } };
  }
  if (settings.layerIn === 'memory' && memory !== null) {
    throw new Failure(`BUNDLER_RW=memory cannot be used: ${memory.cause}`, memory.cure);
  }
  if (mount !== null) return { cause: mount };
  const answer = host.answers[layersQuestion];
  if (answer === undefined) return { ask: [layersQuestion] };
  const places = readLayerPlaces(answer);
  const place = places.find(({ usable }) => usable);
  if (place !== undefined) {
    return { layer: { in: 'disk', place: place.path, freeBytes: place.freeBytes, filesystem: place.filesystem } };
  }
  const tried = places.map(({ path, trouble }) => `${path} (${trouble})`).join(', ');
  return {
    cause: {
      cause: `no directory can hold a writable layer: ${tried || 'there is none'}`,
      cure: 'name a directory on a local disk: BUNDLER_CACHE_DIR=DIR',
    },
  };
}
