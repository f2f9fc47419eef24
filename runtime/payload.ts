// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import type { ImageFacts, Manifest } from '../src/format/manifest.ts';
import { extractFlags } from '../src/format/plan.ts';
import { explainFuse, readFailure } from './causes.ts';
import { hasHostHooks } from './configuration.ts';
import { absolutePath, expandPath } from './expand.ts';
import { Failure } from './failure.ts';
import type { LaunchInput } from './launch-input.ts';
import { chooseLayer, type Layer } from './layer.ts';
import type { Options } from './options.ts';
import type { Request } from './request.ts';
import { chooseSandbox, hasMounts, type Sandbox, seenFrom } from './sandbox.ts';

/** How the root filesystem comes to be: served in place, unpacked, or mounted by the kernel. */
export type Payload = Driver & { readonly sandbox: Sandbox };
type Driver =
  | { readonly driver: 'fuse'; readonly layer: Layer | null }
  /** place '' and target '': into memory. Its own files are written to, unless there is a layer that stays. */
  | {
      readonly driver: 'extract';
      readonly place: Bytes;
      readonly target: Bytes;
      readonly flags: number;
      readonly layer: Layer | null;
    }
  | { readonly driver: 'kernel' };
type Asking = { readonly ask: readonly string[] };

/** A line of the launcher's answer to `places` and `dir`. */
export interface Place {
  readonly path: Bytes;
  readonly usable: boolean;
  readonly freeBytes: number;
  readonly filesystem: string;
  readonly executable: boolean;
  /** STEP and ERRNO where it is not usable. */
  readonly trouble: string;
}

/** Chooses the best rungs of both ladders that this host allows, or asks for what must be known first. */
export function choosePayload(input: LaunchInput): Payload | Asking {
  const sandbox = chooseSandbox(input);
  if ('ask' in sandbox) return sandbox;
  const driver = chooseDriver(seenFrom(sandbox, input), sandbox);
  return 'ask' in driver ? driver : { ...driver, sandbox };
}

function chooseDriver(input: LaunchInput, sandbox: Sandbox): Driver | Asking {
  const { options, settings, manifest } = input;
  const image = imageOf(input);
  if (settings.driver === 'kernel') return chooseKernel(input);
  const kept = options.keep || options.target !== null;
  if (kept) {
    if (settings.driver === 'fuse') {
      throw new Failure('BUNDLER_DRIVER=fuse unpacks nothing', 'leave out --keep, --extract and --target');
    }
    const flags = options.keep ? extractFlags.keep | extractFlags.reuse : 0;
    return {
      driver: 'extract',
      place: '',
      target: targetOf(options, manifest, input.request),
      flags: flags | quiet(input),
      layer: null,
    };
  }
  const fuse = explainFuse(input.host);
  const served = settings.driver !== 'extract' && fuse === null;
  // An unpacked image needs no layer to be written to, only one that stays.
  const writable = settings.rw || hasHostHooks(input);
  const chosen = writable && (served || options.overlay !== null) ? chooseLayer(input) : { layer: null };
  if ('ask' in chosen) return chosen;
  const trouble = fuse ?? ('cause' in chosen ? chosen.cause : null);
  if (settings.driver === 'fuse' && trouble !== null) {
    throw new Failure(`BUNDLER_DRIVER=fuse cannot be used: ${trouble.cause}`, trouble.cure);
  }
  const layer = 'layer' in chosen ? chosen.layer : null;
  if (served && trouble === null) return { driver: 'fuse', layer };
  return choosePlace(input, sandbox, image, layer, trouble?.cause ?? '');
}

/** The image, which a tool's own file does not have. */
export function imageOf({ manifest }: LaunchInput): ImageFacts {
  if (manifest.image === undefined) throw new Failure('this file holds no image to run');
  return manifest.image;
}

/** What unpacking takes: content, and a block for each inode, since file systems round up. */
export function neededBytes(image: ImageFacts): number {
  return image.unpackedBytes + image.inodes * 4096;
}

/** Where --keep and --extract put the image when nothing else is said; an absolute path. */
export function expandTarget(text: Bytes, request: Request): Bytes {
  const path = expandPath(text, (name) =>
    name === 'PWD' ? absolutePath('.', request.cwd).replace(/\/\.$/, '') : request.env[name],
  );
  if (path === '') throw new Failure(`the target directory ${text} is empty when its variables are filled in`);
  return absolutePath(path, request.cwd).replace(/\/+$/, '') || '/';
}

/** The target directory of --keep, --extract and --target. */
export function targetOf(options: Options, manifest: Manifest, request: Request): Bytes {
  return expandTarget(options.target ?? (manifest.options.target || `\${PWD}/${manifest.name}`), request);
}

export function placesQuestion(image: ImageFacts): string {
  return `places ${neededBytes(image)}`;
}

/** Reads an answer to `places`; a path may hold blanks, the other words cannot. */
export function readPlaces(answer: Bytes): Place[] {
  return answer
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, path, free, filesystem, exec] = /^(.*) ok (\d+) (\S+) (exec|noexec)$/.exec(line) ?? [];
      if (path !== undefined) {
        return {
          path,
          usable: true,
          freeBytes: Number(free),
          filesystem: filesystem ?? '',
          executable: exec === 'exec',
          trouble: '',
        };
      }
      const [, bad = line, step = '', errno = ''] = /^(.*) (\S+) (\S+)$/.exec(line) ?? [];
      const trouble = readFailure(`${step} ${errno}`);
      return {
        path: bad,
        usable: false,
        freeBytes: 0,
        filesystem: '',
        executable: false,
        trouble: `${trouble?.step}: ${trouble?.errno}`,
      };
    });
}

/** Unpacking needs a directory whose files can be executed, or as the last resort memory. */
function choosePlace(
  input: LaunchInput,
  sandbox: Sandbox,
  image: ImageFacts,
  layer: Layer | null,
  whyNotServed: string,
): Driver | Asking {
  const question = placesQuestion(image);
  const answer = input.host.answers[question];
  if (answer === undefined) return { ask: [question] };
  const places = readPlaces(answer);
  const place = places.find(({ usable, executable }) => usable && executable);
  if (place !== undefined) return { driver: 'extract', place: place.path, target: '', flags: quiet(input), layer };
  const needBytes = neededBytes(image);
  // A quarter stays free for the command itself.
  if (hasMounts(sandbox) && needBytes * 1.25 < input.host.memoryAvailableBytes) {
    return { driver: 'extract', place: '', target: '', flags: quiet(input), layer };
  }
  const tried = places.map(({ path, usable, trouble }) => `${path} (${usable ? 'noexec' : trouble})`).join(', ');
  throw new Failure(
    `cannot unpack the image: ${whyNotServed === '' ? '' : `it cannot be mounted in place, because ${whyNotServed}; `}` +
      `${megabytes(needBytes)} are needed, and no directory can take them: ${tried || 'there is none'}; ` +
      `memory has ${megabytes(input.host.memoryAvailableBytes)}`,
    explainFuse(input.host)?.cure || 'name a directory with enough space: BUNDLER_CACHE_DIR=DIR, or --target DIR',
  );
}

/** The kernel's own squashfs through a loop device: only for real root, and only when asked for. */
function chooseKernel({ request, host, options, settings }: LaunchInput): Driver {
  const failed = readFailure(host.probes.loop);
  if (request.euid !== 0) throw new Failure('BUNDLER_DRIVER=kernel needs root', 'leave BUNDLER_DRIVER unset');
  if (failed !== null) {
    throw new Failure(
      `BUNDLER_DRIVER=kernel cannot be used: there is no loop device (${failed.step}: ${failed.errno})`,
      'sudo modprobe loop, or leave BUNDLER_DRIVER unset',
    );
  }
  if (options.overlay !== null) {
    throw new Failure('BUNDLER_DRIVER=kernel keeps no changes', 'leave BUNDLER_DRIVER unset for --overlay');
  }
  if (options.keep || options.target !== null) {
    throw new Failure('BUNDLER_DRIVER=kernel unpacks nothing', 'leave out --keep, --extract and --target');
  }
  if (settings.root && request.uid !== 0) {
    throw new Failure('BUNDLER_DRIVER=kernel cannot remap users', 'leave out --root');
  }
  return { driver: 'kernel' };
}

function quiet({ options }: LaunchInput): number {
  return options.quiet ? extractFlags.quiet : 0;
}

export function megabytes(sizeBytes: number): string {
  return `${Math.ceil(sizeBytes / 1e6)} MB`;
}
