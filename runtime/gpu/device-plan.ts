// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { Op } from '../../src/format/plan.ts';
import type { LaunchInput, Shown } from '../launch-input.ts';
import type { Rung } from '../rungs.ts';
import type { Applied } from './apply.ts';
import type { Edits } from './edits.ts';

/** What devices add to a launch. */
export interface DevicePlan {
  readonly shown: readonly Shown[];
  readonly ops: readonly Op[];
  readonly environ: readonly Bytes[];
  /** For reports: what it is made of; null when nothing is added. */
  readonly edits: { readonly asked: Edits; readonly applied: Applied } | null;
}

export type Asking = { readonly ask: readonly string[] };

/**
 * `served`: our entries may replace what the image has. `kept`: a directory that stays, to which only mountpoints are added. `hooked`: hooks have
 * run, so that it is too late for entries, and what is written may stay in the user's layer.
 */
export type DeviceRoot = 'served' | 'kept' | 'hooked';

/** environ: the container's environment, by which it asks; own: that to whose paths something is added, when hooks have changed it meanwhile. */
export type DevicePlanner = (
  input: LaunchInput,
  environ: ReadonlyMap<string, Bytes>,
  root: DeviceRoot,
  rung: Rung,
  own?: ReadonlyMap<string, Bytes>,
) => DevicePlan | Asking;
