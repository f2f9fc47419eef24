// SPDX-License-Identifier: Apache-2.0

/** How an image is to be written. */
export interface SquashOptions {
  /** gzip, xz, lz4, zstd or lzma. */
  readonly compressor: string;
  /** null: the compressor's default. */
  readonly level: number | null;
  readonly lz4Hc: boolean;
  /** A power of two from 4096 to 1 MiB. */
  readonly blockSizeBytes: number;
  /** What is stored as it is. */
  readonly uncompressed: {
    readonly data: boolean;
    readonly inodes: boolean;
    readonly fragments: boolean;
    readonly xattrs: boolean;
  };
  readonly noFragments: boolean;
  readonly noDuplicates: boolean;
  readonly noXattrs: boolean;
  /** All files are root's. */
  readonly allRoot: boolean;
  /** null: as many as ENROOT_MAX_PROCESSORS. */
  readonly threads: number | null;
}

export interface ParsedSquashOptions {
  readonly options: SquashOptions;
  /** Options that would change the image and do nothing here, as they were written. */
  readonly ignored: readonly string[];
  /** lzo was asked for, which cannot be written here: the compressor is lz4 instead. */
  readonly lzo: boolean;
}

/** Without ENROOT_SQUASH_OPTIONS: zstd level 3, where enroot has lzo. */
export const defaultSquashOptions: SquashOptions = {
  compressor: 'zstd',
  level: 3,
  lz4Hc: false,
  blockSizeBytes: 128 << 10,
  uncompressed: { data: false, inodes: false, fragments: false, xattrs: false },
  noFragments: false,
  noDuplicates: false,
  noXattrs: false,
  allRoot: false,
  threads: null,
};

const levels: Readonly<Record<string, number>> = { gzip: 9, lzo: 9, zstd: 22 };
const compressors = ['gzip', 'lzma', 'lzo', 'lz4', 'xz', 'zstd'];

/** Options that change nothing of the image, or ask for what is so anyway; with the number of their arguments. */
const idle: Readonly<Record<string, number>> = {
  '-no-progress': 0,
  '-progress': 0,
  '-quiet': 0,
  '-info': 0,
  '-mem': 1,
  '-mem-percent': 1,
  '-throttle': 1,
  '-limit': 1,
  '-exit-on-error': 0,
  '-noappend': 0,
  '-no-recovery': 0,
  '-recovery-path': 1,
  '-read-queue': 1,
  '-write-queue': 1,
  '-fragment-queue': 1,
  '-reproducible': 0,
  '-xattrs': 0,
  '-no-exports': 0,
  '-no-tailends': 0,
};

/** Options that would change the image. */
const unsupported: Readonly<Record<string, number>> = {
  '-noId': 0,
  '-noIdTableCompression': 0,
  '-not-reproducible': 0,
  '-mkfs-time': 1,
  '-fstime': 1,
  '-all-time': 1,
  '-exports': 0,
  '-no-sparse': 0,
  '-xattrs-exclude': 1,
  '-xattrs-include': 1,
  '-xattrs-add': 1,
  '-tailends': 0,
  '-always-use-fragments': 0,
  '-no-hardlinks': 0,
  '-root-time': 1,
  '-root-mode': 1,
  '-root-uid': 1,
  '-root-gid': 1,
  '-force-uid': 1,
  '-force-gid': 1,
  '-keep-as-directory': 0,
  '-action': 1,
  '-action-file': 1,
  '-p': 1,
  '-pf': 1,
  '-pseudo-override': 0,
  '-sort': 1,
  '-ef': 1,
  '-wildcards': 0,
  '-regex': 0,
  '-one-file-system': 0,
  '-nopad': 0,
  '-offset': 1,
  '-o': 1,
  '-Xwindow-size': 1,
  '-Xstrategy': 1,
  '-Xalgorithm': 1,
  '-Xbcj': 1,
  '-Xdict-size': 1,
};

/** Options without argument and what they set. */
const flags: Readonly<Record<string, (draft: Draft) => void>> = {
  '-Xhc': (draft) => {
    draft.lz4Hc = true;
  },
  '-noD': (draft) => {
    draft.uncompressed.data = true;
  },
  '-noI': (draft) => {
    draft.uncompressed.inodes = true;
  },
  '-noF': (draft) => {
    draft.uncompressed.fragments = true;
  },
  '-noX': (draft) => {
    draft.uncompressed.xattrs = true;
  },
  '-no-fragments': (draft) => {
    draft.noFragments = true;
  },
  '-no-duplicates': (draft) => {
    draft.noDuplicates = true;
  },
  '-no-xattrs': (draft) => {
    draft.noXattrs = true;
  },
  '-all-root': (draft) => {
    draft.allRoot = true;
  },
};

const longNames: Readonly<Record<string, string>> = {
  '-noDataCompression': '-noD',
  '-noInodeCompression': '-noI',
  '-noFragmentCompression': '-noF',
  '-noXattrCompression': '-noX',
  '-root-owned': '-all-root',
};

interface Draft {
  compressor: string;
  level: number | null;
  lz4Hc: boolean;
  blockSizeBytes: number;
  uncompressed: { data: boolean; inodes: boolean; fragments: boolean; xattrs: boolean };
  noFragments: boolean;
  noDuplicates: boolean;
  noXattrs: boolean;
  allRoot: boolean;
  threads: number | null;
}

/**
 * Reads options of mksquashfs(1) as ENROOT_SQUASH_OPTIONS has them, split at blanks. Without -comp it is gzip, as it is there. What is wrong is
 * returned as text.
 */
export function parseSquashOptions(text: string): ParsedSquashOptions | string {
  const draft: Draft = { ...structuredClone(defaultSquashOptions), compressor: 'gzip', level: null };
  const ignored: string[] = [];
  const words = text.split(/\s+/).filter((word) => word !== '');
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] as string;
    if (!word.startsWith('-')) return `${word} is no option of mksquashfs`;
    const name = longNames[word] ?? word;
    const flag = flags[name];
    const arity = idle[name] ?? unsupported[name];
    if (flag !== undefined) flag(draft);
    else if (arity !== undefined) {
      const whole = words.slice(at, at + 1 + arity);
      if (whole.length <= arity) return `${word} lacks its argument`;
      if (unsupported[name] !== undefined) ignored.push(whole.join(' '));
      at += arity;
    } else if (takers[name] !== undefined) {
      at += 1;
      const argument = words[at];
      const fault = argument === undefined ? 'lacks its argument' : takers[name](draft, argument);
      if (fault !== null) return `${word} ${fault}`;
    } else return `${word} is no option of mksquashfs`;
  }
  const lzo = draft.compressor === 'lzo';
  const maxLevel = levels[draft.compressor];
  if (draft.level !== null && (maxLevel === undefined || draft.level > maxLevel)) {
    return maxLevel === undefined
      ? `-Xcompression-level is not for ${draft.compressor}`
      : `-Xcompression-level of ${draft.compressor} is 1 to ${maxLevel}`;
  }
  if (draft.lz4Hc && draft.compressor !== 'lz4') return `-Xhc is not for ${draft.compressor}`;
  return { options: lzo ? { ...draft, compressor: 'lz4', level: null } : draft, ignored, lzo };
}

/** Options with an argument; each returns what is wrong with it, or null. */
const takers: Readonly<Record<string, (draft: Draft, argument: string) => string | null>> = {
  '-comp': (draft, argument) => {
    draft.compressor = argument;
    return compressors.includes(argument) ? null : `is one of ${compressors.join(', ')}`;
  },
  '-Xcompression-level': (draft, argument) => {
    draft.level = Number(argument);
    return /^[0-9]{1,2}$/.test(argument) && draft.level > 0 ? null : 'takes a number';
  },
  '-b': (draft, argument) => {
    const [, digits, unit = ''] = /^([0-9]{1,7})([KkMm]?)$/.exec(argument) ?? [];
    const size = Number(digits) * ({ k: 1 << 10, m: 1 << 20 }[unit.toLowerCase()] ?? 1);
    draft.blockSizeBytes = size;
    const isPower = Number.isInteger(Math.log2(size));
    return isPower && size >= 4096 && size <= 1 << 20 ? null : 'takes a power of two from 4K to 1M';
  },
  '-processors': (draft, argument) => {
    draft.threads = Number(argument);
    return /^[0-9]{1,4}$/.test(argument) && draft.threads > 0 ? null : 'takes a number';
  },
};
