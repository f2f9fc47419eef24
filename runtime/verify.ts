// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { explainFuse, explainNamespaces, explainOverlay, readFailure } from './causes.ts';
import { Failure } from './failure.ts';
import { type Check, checkKernelConfig, checkParameters } from './kernel-config.ts';
import type { LaunchInput } from './launch-input.ts';
import type { Observer } from './observer.ts';
import {
  choosePayload,
  imageOf,
  megabytes,
  neededBytes,
  type Payload,
  type Place,
  placesQuestion,
  readPlaces,
} from './payload.ts';
import { explainRung, rungs } from './rungs.ts';
import { describeSandbox } from './sandbox.ts';

/** What --verify found: each check, the candidate directories, and what a run would do. */
export interface Verdict {
  readonly ok: boolean;
  readonly kernel: string;
  readonly checks: readonly Check[];
  readonly places: readonly Place[];
  readonly needBytes: number;
  /** `fuse`, `extract` or `kernel`; '' when it cannot run. */
  readonly driver: string;
  /** `userns`, `root`, `chroot` or `proot`; '' when it cannot run. */
  readonly sandbox: string;
  readonly result: Bytes;
  readonly cure: Bytes;
}

/** Judges the host. The answer to placesQuestion must be in the input. */
export function verifyHost(input: LaunchInput, observer: Observer): Verdict {
  const image = imageOf(input);
  const places = readPlaces(input.host.answers[placesQuestion(image)] ?? '');
  const checks = [
    ...checkKernelConfig(observer, input.request.kernel),
    ...checkParameters(observer),
    ...checkProbes(input),
  ];
  const shared = { kernel: input.request.kernel, checks, places, needBytes: neededBytes(image) };
  try {
    const payload = choosePayload(input);
    if ('ask' in payload) throw new Failure('the launcher did not say where an image could be unpacked');
    const { sandbox, driver } = payload;
    const how = sandbox.rung === 'userns' ? '' : `; the container runs ${describeSandbox(sandbox)}`;
    const result = `${describePayload(payload)}${how}`;
    return { ok: true, ...shared, driver, sandbox: sandbox.rung, result, cure: '' };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { ok: false, ...shared, driver: '', sandbox: '', result: error.message, cure: error.hint };
  }
}

function checkProbes(input: LaunchInput): Check[] {
  const { host } = input;
  const group = 'Tried on this host';
  const namespaces = explainNamespaces(host);
  const fuse = explainFuse(host);
  const overlay = explainOverlay(host);
  const simple = (name: string, probe: string, note: string): Check => {
    const failed = readFailure(host.probes[probe]);
    const why = failed === null ? '' : failed.step === 'skipped' ? 'not tried' : `${failed.step}: ${failed.errno}`;
    return {
      group,
      name,
      ok: failed === null,
      optional: true,
      note: failed === null ? '' : `${why}; ${note}`,
      cure: '',
    };
  };
  return [
    {
      group,
      name: 'user and mount namespaces',
      ok: namespaces === null,
      optional: true,
      note: namespaces?.cause ?? '',
      cure: namespaces?.cure ?? '',
    },
    ...rungs.slice(1).map((rung): Check => {
      const why = explainRung(rung, input);
      return {
        group,
        name: `without them: ${rung}`,
        ok: why === null,
        optional: true,
        note: why?.cause ?? '',
        cure: why?.cure ?? '',
      };
    }),
    {
      group,
      name: 'squashfs through /dev/fuse',
      ok: fuse === null,
      optional: true,
      note: fuse === null ? '' : `${fuse.cause}; the image is unpacked at every start`,
      cure: fuse?.cure ?? '',
    },
    {
      group,
      name: 'overlay on tmpfs',
      ok: overlay === null,
      optional: true,
      note: overlay === null ? '' : `${overlay.cause}; --rw unpacks the image`,
      cure: overlay?.cure ?? '',
    },
    simple('seccomp filters', 'seccomp', 'not needed by this version'),
    simple('pidfd_open', 'pidfd', 'an unpacked image is watched in another way'),
    simple('openat2', 'openat2', 'paths are resolved step by step'),
    simple('loop devices', 'loop', 'only for BUNDLER_DRIVER=kernel as root'),
  ];
}

function describePayload(payload: Payload): string {
  switch (payload.driver) {
    case 'fuse':
      return payload.layer !== null
        ? 'mounted in place through FUSE, with a writable layer in memory'
        : 'mounted in place through FUSE';
    case 'kernel':
      return 'mounted by the kernel from a loop device';
    case 'extract':
      if (payload.target !== '') return `unpacked in ${payload.target}`;
      return payload.place === '' ? 'unpacked in memory' : `unpacked in a directory below ${payload.place}`;
  }
}

/** The verdict as text; colour: on a terminal. */
export function writeVerdict(verdict: Verdict, colour: boolean): Bytes {
  const paint = (code: number, text: string) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
  const lines: string[] = [paint(1, 'Kernel version:'), '', verdict.kernel];
  let group = '';
  for (const check of verdict.checks) {
    if (check.group !== group) lines.push('', paint(1, `${check.group}:`), '');
    group = check.group;
    const word = check.ok ? paint(32, 'OK') : check.optional ? paint(33, 'KO (optional)') : paint(31, 'KO');
    lines.push(`${check.name.padEnd(45)}: ${word}${check.note === '' ? '' : `  ${check.note}`}`);
    if (!check.ok && check.cure !== '') lines.push(`  try: ${check.cure}`);
  }
  lines.push('', paint(1, `Directories for unpacking (${megabytes(verdict.needBytes)} needed):`), '');
  for (const { path, usable, executable, freeBytes, filesystem, trouble } of verdict.places) {
    const note = usable
      ? `${filesystem}, ${megabytes(freeBytes)} free${executable ? '' : ', but mounted noexec'}`
      : trouble;
    lines.push(`${path.padEnd(45)}: ${usable && executable ? paint(32, 'OK') : paint(33, 'KO (optional)')}  ${note}`);
  }
  if (verdict.places.length === 0) lines.push('none');
  lines.push('', paint(1, 'Result:'), '');
  if (verdict.ok) lines.push(`${paint(32, 'OK')}: this host runs the bundle; the image is ${verdict.result}`);
  else {
    lines.push(`${paint(31, 'KO')}: ${verdict.result}`);
    if (verdict.cure !== '') lines.push(`  try: ${verdict.cure}`);
  }
  return `${lines.join('\n')}\n`;
}
