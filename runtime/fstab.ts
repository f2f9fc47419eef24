// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { mountOptions, type Op } from '../src/format/plan.ts';
import { absolutePath } from './expand.ts';
import { Failure } from './failure.ts';
import { meaningOf } from './mount-options.ts';

/** One mount as fstab(5) writes it, with enroot's extensions. Paths are decoded. */
export interface FstabEntry {
  readonly source: Bytes;
  readonly target: Bytes;
  readonly type: Bytes;
  readonly options: readonly Bytes[];
  /** -1: before everything else; 0: after it. enroot mounts no other pass. */
  readonly pass: number;
}

/** Stands in a source for the container's root, which has no path that the planner knows: `${ENROOT_ROOTFS}/usr`. No variable holds a NUL. */
export const rootMark = '\0';

/** Reads fstab text; what: names it in errors. */
export function parseFstab(text: Bytes, what: string): FstabEntry[] {
  const entries: FstabEntry[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const fields = line.trim().split(/[ \t]+/);
    if (fields[0] === '' || fields[0]?.startsWith('#')) continue;
    entries.push(guessEntry(fields.map(decodeOctal), `line ${index + 1} of ${what}`));
  }
  return entries;
}

/**
 * Reads the argument of --mount: the fields of an fstab line with `:` between them. `SRC:DST` binds a file or a directory
 * and makes the mountpoint. `\072` is a colon and `\040` a blank, as in fstab(5).
 */
export function parseMountSpec(spec: Bytes): FstabEntry {
  if (spec === '' || spec.startsWith(':')) throw new Failure(`--mount ${spec}: the source is missing`);
  return guessEntry(spec.split(':').map(decodeOctal), `--mount ${spec}`);
}

/** Fills in omitted fields as enroot-mount does: the second may be missing, the third and fourth may be missing or stand earlier. */
function guessEntry(fields: readonly Bytes[], where: string): FstabEntry {
  let [source = '', target = '', type = '', options = '', freq = '', pass = ''] = fields;
  if (type === '' && options === '' && isOptions(target)) {
    options = target;
    target = '';
  }
  if (type !== '' && options === '' && isOptions(type)) {
    options = type;
    type = '';
    if (target === 'none') target = '';
  }
  if (target === '' && source !== 'tmpfs' && source !== 'none') target = source;
  if (type === 'none') type = '';
  if (source === 'tmpfs' && type === '') type = 'tmpfs';
  if (source === '' || target === '') throw new Failure(`${where}: not a mount; expected SOURCE TARGET TYPE OPTIONS`);
  let list = options.split(',').filter((option) => option !== '');
  if (type === '' && list.length === 0) list = ['rbind', 'x-create=auto'];
  // `SRC:DST:ro` can only mean a bind mount: without one mount(2) would refuse it.
  if (type === '' && source !== 'none' && !list.some((option) => meaningOf(option)?.spread || doesMount(option))) {
    list = ['rbind', 'x-create=auto', ...list];
  }
  const passText = pass === '' || pass === '0' ? freq : pass;
  if (!/^-?\d*$/.test(passText)) throw new Failure(`${where}: ${passText} is not a pass number`);
  return { source, target, type, options: list, pass: passText === '' ? 0 : Number(passText) };
}

function isOptions(field: Bytes): boolean {
  return field.includes(',') || meaningOf(field) !== undefined;
}

function doesMount(option: Bytes): boolean {
  return ['bind', 'rbind', 'remount', 'x-move', 'x-detach'].includes(option);
}

/** fstab(5), and /proc/PID/mountinfo: `\` and three octal digits are a byte. */
export function decodeOctal(field: Bytes): Bytes {
  return field.replace(/\\([0-3][0-7]{2})/g, (_all, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** The mount as an operation; a relative source is taken from the caller's directory, a relative target from the root. */
export function toMountOp(entry: FstabEntry, cwd: Bytes): Extract<Op, { op: 'mount' }> {
  let msFlags = 0;
  let spread = 0;
  let options = 0;
  const data: Bytes[] = [];
  for (const option of entry.options) {
    const meaning = meaningOf(option);
    if (meaning === undefined) {
      if (!option.startsWith('x-')) data.push(option);
      continue;
    }
    msFlags = (msFlags & ~meaning.clear) | meaning.set;
    spread |= meaning.spread;
    options |= meaning.ours;
  }
  const source = sourcePath(entry, cwd);
  const inside = source.startsWith(rootMark);
  const target = entry.target.replace(rootMark, '');
  if ([target, entry.type, ...data].some((text) => text.includes(rootMark))) {
    throw new Failure(
      `cannot mount on ${target}: \${ENROOT_ROOTFS} may only begin the source or the target of a mount`,
    );
  }
  return {
    op: 'mount',
    source: inside ? source.slice(rootMark.length) || '/' : source,
    target: target.startsWith('/') ? target : `/${target}`,
    type: entry.type,
    msFlags,
    propagation: spread,
    data: data.join(','),
    options: inside ? options | mountOptions.inside : options,
  };
}

/** Does the entry show something of the host's file tree? Then its source is a path. */
export function isBind({ source, options }: FstabEntry): boolean {
  if (source.startsWith(rootMark) || options.includes('remount')) return false;
  return options.some((option) => option === 'bind' || option === 'rbind');
}

/** The source as an absolute path where it is one. */
export function sourcePath(entry: FstabEntry, cwd: Bytes): Bytes {
  return isBind(entry) && !entry.source.startsWith(rootMark) ? absolutePath(entry.source, cwd) : entry.source;
}
