// SPDX-License-Identifier: Apache-2.0
import { Failure } from '../failure.ts';

/** SOURCE_DATE_EPOCH (reproducible-builds.org): seconds since 1970; null when it is not set. Throws Failure. */
export function readSourceDate(text: string | undefined): number | null {
  if (!text) return null;
  const seconds = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(seconds)) return seconds;
  throw new Failure(`SOURCE_DATE_EPOCH is ${JSON.stringify(text)}, not a number of seconds`);
}
