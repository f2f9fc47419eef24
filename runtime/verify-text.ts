// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import type { Check } from './check.ts';
import { writeReport } from './gpu/report-text.ts';
import { gigabytes } from './host-checks.ts';
import { megabytes } from './payload.ts';
import type { PlaceVerdict } from './place-verdict.ts';
import type { Uses, Verdict } from './verify.ts';

const groups: readonly (readonly [Check['group'], string])[] = [
  ['config', 'Kernel configuration'],
  ['cmdline', 'Kernel command line'],
  ['sysctl', 'Kernel parameters'],
  ['packages', 'Extra packages'],
  ['tried', 'Tried on this host'],
];
const nameWidth = 45;
const lineWidth = 80;

/** The verdict as text, in enroot's manner: `NAME : OK`. colour: on a terminal. */
export function writeVerdict(verdict: Verdict, colour: boolean): Bytes {
  const paint = (code: number, text: string) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
  const { kernel, checks, places, uses, devices } = verdict;
  const word = (ok: boolean, need: string, note: string) => {
    const more = ok ? note : need;
    const said = `${ok ? 'OK' : 'KO'}${more === '' ? '' : ` (${more})`}`;
    return paint(ok ? 32 : need === '' ? 31 : 33, said);
  };
  const row = (name: Bytes, ok: boolean, need: string, note: Bytes, cure: Bytes): Bytes[] => {
    const short = nameWidth + note.length + 7 <= lineWidth;
    const lines = [`${name.padEnd(nameWidth)}: ${word(ok, need, short ? note : '')}`];
    if (note !== '' && !(ok && short)) lines.push(...wrap(note, 4));
    if (cure !== '') lines.push(`  try: ${cure}`);
    return lines;
  };
  const section = (title: string, lines: readonly Bytes[]) => ['', paint(1, `${title}:`), '', ...lines];
  const lines: Bytes[] = [paint(1, 'Kernel version:'), '', ...wrap(kernel.version || kernel.release, 0)];
  for (const [group, title] of groups) {
    const ofGroup = checks.filter((check) => check.group === group);
    if (group === 'config' && kernel.config === null) {
      lines.push(...section(title, wrap('not found on this host; what was tried below is what counts', 0)));
    } else if (ofGroup.length > 0) {
      const rows = ofGroup.flatMap(({ name, ok, need, note, cure }) => row(name, ok, need, note, cure));
      lines.push(...section(title, rows));
    }
  }
  const placeRow = ({ path, ok, filesystem, freeBytes, note, cure }: PlaceVerdict) =>
    row(path, ok, 'optional', ok ? `${filesystem}, ${gigabytes(freeBytes)} free` : note, cure);
  const need = verdict.needBytes > 0 ? ` (${megabytes(verdict.needBytes)} to unpack)` : '';
  lines.push(...section(`Directories${need}`, places.length === 0 ? ['none'] : places.flatMap(placeRow)));
  if (devices !== null)
    lines.push(
      ...section(
        'GPUs',
        writeReport(devices, false).flatMap((text) => wrap(text, 4, 0)),
      ),
    );
  if (uses !== null)
    lines.push(
      ...section(
        'What is used',
        describeUses(uses).flatMap((text) => wrap(text, 2, 0)),
      ),
    );
  const subject = verdict.name === null ? 'bundles' : 'the bundle';
  lines.push('', paint(1, 'Result:'), '');
  if (verdict.ok) lines.push(`${paint(32, 'OK')}: this host runs ${subject}`);
  else {
    const [first = '', ...rest] = wrap(`KO: ${verdict.result}`, 0);
    lines.push(`${paint(31, 'KO')}${first.slice(2)}`, ...rest);
    if (verdict.cure !== '') lines.push(`  try: ${verdict.cure}`);
  }
  return `${lines.join('\n')}\n`;
}

function describeUses({ driver, place, sandbox, degraded, runtime, rw }: Uses): Bytes[] {
  const drivers = {
    fuse: 'mounted in place through FUSE',
    extract: place === '' ? 'unpacked in memory' : `unpacked in a directory below ${place}`,
    kernel: 'mounted by the kernel from a loop device',
  };
  const sandboxes = {
    userns: 'a user namespace',
    root: 'real root, with a mount namespace',
    chroot: 'chroot',
    proot: 'proot',
  };
  const froms: Record<string, string> = { warm: 'found unpacked', unpacked: 'unpacked just now' };
  const room = rw === null ? '' : gigabytes(rw.sizeBytes);
  const places = rw && {
    memory: 'memory',
    disk: `a directory below ${rw.place}`,
    directory: rw.place,
    copy: 'the unpacked image',
  };
  const written = rw === null ? 'is not possible' : `writes to ${places?.[rw.in]}: room for ${room}`;
  return [
    `image: ${drivers[driver]}`,
    `sandbox: ${sandboxes[sandbox]}${degraded === '' ? '' : `; degraded: ${degraded}`}`,
    `runtime: ${runtime.dir === '' ? 'in memory, for want of a directory' : `${froms[runtime.from] ?? runtime.from} in ${runtime.dir}`}`,
    `--rw: ${written}`,
  ];
}

/** Lines of at most 80 columns, words kept whole; the first one may be indented in its own way. */
function wrap(text: Bytes, indent: number, firstIndent = indent): Bytes[] {
  const lines: Bytes[] = [];
  let line = ' '.repeat(firstIndent);
  let isEmpty = true;
  for (const word of text.split(' ')) {
    if (!isEmpty && line.length + 1 + word.length > lineWidth) {
      lines.push(line);
      line = ' '.repeat(indent) + word;
    } else line += isEmpty ? word : ` ${word}`;
    isEmpty = false;
  }
  return [...lines, line];
}
