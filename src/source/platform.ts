// SPDX-License-Identifier: Apache-2.0
import { arch } from 'node:os';
import { Failure } from '../failure.ts';
import type { Descriptor, Platform } from './image.ts';

/** What an index says of one of its manifests. */
export interface IndexEntry extends Descriptor {
  /** null where the index names none. */
  readonly platform: Platform | null;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Debian's, the kernel's and Go's names of machines, as Go's (which images use). */
const architectures: Readonly<Record<string, readonly [architecture: string, variant?: string]>> = {
  x86_64: ['amd64'],
  'x86-64': ['amd64'],
  x64: ['amd64'],
  aarch64: ['arm64'],
  armhf: ['arm', 'v7'],
  armel: ['arm', 'v5'],
  armv8l: ['arm', 'v7'],
  armv7l: ['arm', 'v7'],
  armv7: ['arm', 'v7'],
  armv6l: ['arm', 'v6'],
  armv6: ['arm', 'v6'],
  armv5tel: ['arm', 'v5'],
  armv5tejl: ['arm', 'v5'],
  armv5: ['arm', 'v5'],
  i386: ['386'],
  i486: ['386'],
  i586: ['386'],
  i686: ['386'],
  x86: ['386'],
  ia32: ['386'],
  ppc64el: ['ppc64le'],
  mips64el: ['mips64le'],
  mipsel: ['mipsle'],
  loongarch64: ['loong64'],
};

const systems = new Set(['linux', 'windows', 'freebsd', 'darwin', 'netbsd', 'openbsd', 'solaris', 'illumos', 'wasip1']);

/**
 * Reads a platform as people write it: `linux/arm64/v8`, `arm64/v8`, `arm64`, or a machine by the name that Debian (`armhf`) or the
 * kernel (`aarch64`) gives it. Names that are not known are kept. Throws Failure when it is no platform, or not for Linux.
 */
export function parsePlatform(text: string): Platform {
  const parts = text.toLowerCase().split('/');
  const os = parts.length > 1 && systems.has(parts[0] ?? '') ? (parts.shift() as string) : 'linux';
  const [machine = '', variant = '', ...rest] = parts;
  if (rest.length > 0 || ![machine, variant || 'none'].every((part) => /^[a-z0-9][a-z0-9_.-]*$/.test(part))) {
    throw new Failure(`"${text}" is no platform`, { hint: 'write it as amd64, arm64, arm/v7 or linux/amd64' });
  }
  if (os !== 'linux' || systems.has(machine)) {
    throw new Failure(`cannot use images for ${text}: containers here run Linux`, {
      hint: 'name an architecture: amd64',
    });
  }
  return normalizePlatform({ os, architecture: machine, variant });
}

/** The platform of this machine. */
export function hostPlatform(): Platform {
  const machine = arch();
  if (machine === 'arm') return { os: 'linux', architecture: 'arm', variant: 'v7' };
  return normalizePlatform({ os: 'linux', architecture: machine, variant: '' });
}

/**
 * The same platform in one spelling, as images use it: Go's architecture, variants with a `v`, none where it is what everybody
 * means (amd64 v1, arm64 v8), `v7` for an arm without one.
 */
export function normalizePlatform(platform: Platform): Platform {
  const given = platform.architecture.toLowerCase();
  const [architecture, implied = ''] = architectures[given] ?? [given];
  const stated = platform.variant.toLowerCase().replace(/^(?=\d)/, 'v');
  let variant = stated || implied;
  if ((architecture === 'amd64' && variant === 'v1') || (architecture === 'arm64' && variant === 'v8')) variant = '';
  if (architecture === 'arm' && variant === '') variant = 'v7';
  return { os: platform.os.toLowerCase(), architecture, variant };
}

/** A platform as people write it: `linux/arm64`, `linux/arm/v7`. */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return [os, architecture, variant].filter((part) => part !== '').join('/');
}

/**
 * True when a machine of the wanted platform runs images of the other: the same, or a lower variant.
 */
export function runsOn(image: Platform, wanted: Platform): boolean {
  return rank(image, wanted) >= 0;
}

/** -1 when it does not run there; else the greater, the better it fits. */
function rank(image: Platform, wanted: Platform): number {
  const [given, asked] = [normalizePlatform(image), normalizePlatform(wanted)];
  if (given.os !== asked.os || given.architecture !== asked.architecture) return -1;
  if (given.variant === asked.variant) return 1000;
  const [level, limit] = [levelOf(given), levelOf(asked)];
  return level !== null && limit !== null && level < limit ? level : -1;
}

/** A number that orders an architecture's variants; null where they have no order. */
function levelOf({ architecture, variant }: Platform): number | null {
  const levels: Record<string, string> = { amd64: 'v1', arm64: 'v8' };
  const [, level] = /^v(\d{1,2})(?:\.\d+)?$/.exec(variant || (levels[architecture] ?? '')) ?? [];
  return level === undefined || !['amd64', 'arm64', 'arm'].includes(architecture) ? null : Number(level);
}

/** True for what accompanies an image without being one: attestations, signatures. */
function isCompanion({ platform, annotations }: IndexEntry): boolean {
  return platform?.architecture === 'unknown' || 'vnd.docker.reference.type' in annotations;
}

/**
 * Chooses the manifest of an index for a platform: the same os and architecture, and the same variant or else the highest below it.
 * A single manifest without a platform is taken when no other fits. Throws Failure, with the platforms that exist, when there is none.
 * Source: OCI image-spec, image-index.md (platform).
 */
export function choosePlatform(entries: readonly IndexEntry[], wanted: Platform, what: string): IndexEntry {
  const images = entries.filter((entry) => !isCompanion(entry));
  let best: IndexEntry | null = null;
  let bestRank = -1;
  for (const entry of images) {
    const fit = entry.platform === null ? -1 : rank(entry.platform, wanted);
    if (fit > bestRank) [best, bestRank] = [entry, fit];
  }
  if (best !== null) return best;
  const unnamed = images.filter(({ platform }) => platform === null);
  if (unnamed.length === 1 && unnamed[0] !== undefined) return unnamed[0];
  const named = images.flatMap(({ platform }) => (platform === null ? [] : [formatPlatform(platform)]));
  throw missingPlatform(wanted, named, what);
}

/** An index may have thousands. */
const maxShown = 30;

/** The Failure for an image that is not there for a platform, with those for which it is. */
export function missingPlatform(wanted: Platform, existing: readonly string[], what: string): Failure {
  const all = [...new Set(existing)].sort();
  const list = all.length <= maxShown ? all : [...all.slice(0, maxShown), `and ${all.length - maxShown} others`];
  return new Failure(`${what} has no image for ${formatPlatform(wanted)}`, {
    hint: list.length === 0 ? 'it has none for any platform' : `choose one that exists with --arch: ${list.join(', ')}`,
  });
}
