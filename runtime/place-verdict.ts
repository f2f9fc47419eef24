// SPDX-License-Identifier: Apache-2.0
import { type Bytes, quoteForShell } from '../src/format/bytes.ts';
import { readFailure } from './causes.ts';
import type { Observer } from './observer.ts';
import type { Place } from './payload.ts';

/** What --verify says of a candidate directory. */
export interface PlaceVerdict {
  readonly path: Bytes;
  readonly ok: boolean;
  readonly filesystem: string;
  readonly freeBytes: number;
  /** Why it cannot be used. */
  readonly note: Bytes;
  readonly cure: Bytes;
}

const elsewhere = 'BUNDLER_CACHE_DIR=DIR, with a directory that has room';

/** execAnswer: of the question `exec PATH`, '' when it was not asked. */
export function judgePlace(place: Place, execAnswer: Bytes, observer: Observer): PlaceVerdict {
  const { path, usable, freeBytes, filesystem, executable } = place;
  const shared = { path, filesystem, freeBytes };
  const quoted = quoteForShell(path);
  if (!usable) return { ...shared, ok: false, ...explainTrouble(place, quoted) };
  if (!executable) {
    const point = findMountPoint(observer, path);
    return {
      ...shared,
      ok: false,
      note: `${point} is mounted noexec: programs in it cannot be executed`,
      cure: `sudo mount -o remount,exec ${quoteForShell(point)}`,
    };
  }
  const failed = execAnswer === '' ? null : readFailure(execAnswer);
  if (failed !== null) {
    return {
      ...shared,
      ok: false,
      note: `a program in it could not be executed (${failed.step}: ${failed.errno})`,
      cure: 'look for the security module that denies it: journalctl -k | grep -i denied',
    };
  }
  return { ...shared, ok: true, note: '', cure: '' };
}

function explainTrouble({ trouble }: Place, quoted: string): { note: Bytes; cure: Bytes } {
  const [step = '', errno = ''] = trouble.split(': ');
  const said = `(${trouble})`;
  if (step === 'space' || errno === 'ENOSPC') return { note: `too little space is free ${said}`, cure: elsewhere };
  if (step === 'quota' || errno === 'EDQUOT') {
    return { note: `your quota there is used up ${said}`, cure: 'remove files (quota -s shows the limits)' };
  }
  if (step === 'owner') return { note: `it belongs to another user ${said}`, cure: `sudo chown "$(id -u)" ${quoted}` };
  if (step === 'mode') return { note: `others may write to it ${said}`, cure: `chmod go-w ${quoted}` };
  if (step === 'symlink') return { note: `it is a symlink ${said}`, cure: `rm ${quoted}` };
  if (errno === 'EROFS') return { note: `its file system is read-only ${said}`, cure: elsewhere };
  return { note: `it cannot be written to ${said}`, cure: elsewhere };
}

/** The mount that a path lies on: mountinfo in proc(5), whose blanks are written `\040`. */
function findMountPoint(observer: Observer, path: Bytes): Bytes {
  const points = (observer.readFile('/proc/self/mountinfo') ?? '')
    .split('\n')
    .map((line) =>
      (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_all, octal) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      ),
    );
  const above = points.filter((point) => point === '/' || `${path}/`.startsWith(`${point}/`));
  return above.reduce((best, point) => (point.length >= best.length ? point : best), '/');
}
