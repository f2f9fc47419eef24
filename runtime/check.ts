// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';

/** One thing that was looked at or tried on the host. docs/verify.md describes it as JSON. */
export interface Check {
  /** A name that stays the same from version to version. */
  readonly id: string;
  readonly group: 'config' | 'cmdline' | 'sysctl' | 'packages' | 'tried';
  readonly name: string;
  readonly ok: boolean;
  /** What it is needed for; '' for what every start needs. */
  readonly need: string;
  /** Why it is as it is, and what follows. */
  readonly note: Bytes;
  /** One command, or one thing to do, that changes it; '' where nothing needs to or can. */
  readonly cure: Bytes;
}
