// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { Op } from '../../src/format/plan.ts';
import type { FstabEntry } from '../fstab.ts';
import type { LaunchInput, Shown } from '../launch-input.ts';
import type { Shadow } from './shadow.ts';

/** What a built-in hook sees. Hooks are pure: everything of the host is in input.host already. */
export interface HookContext {
  readonly input: LaunchInput;
  readonly shadow: Shadow;
  /** The container's environment so far: the image's, that of files, --env, and what hooks before this one added. */
  readonly environ: ReadonlyMap<string, Bytes>;
  /** The root is a directory that stays after the run: nothing of the image in it is replaced. */
  readonly kept: boolean;
}

/** What a hook adds to the launch. */
export interface Additions {
  /** `K=V` of the container, above --env: what an enroot hook appends to $ENROOT_ENVIRON. */
  readonly environ?: readonly Bytes[];
  /** Mounts made after all hooks and before the user's: what an enroot hook appends to $ENROOT_MOUNTS. */
  readonly mounts?: readonly FstabEntry[];
  /** Done at once, when the system's mounts are there: what an enroot hook does with enroot-mount and ln. */
  readonly ops?: readonly Op[];
  /** Files and directories of the container's root. */
  readonly shown?: readonly Shown[];
}

/** One hook of enroot, or one of its mount files, done by us. */
export interface BuiltInHook {
  /** The file of enroot that it stands for, without its ending: `10-shadow`. */
  readonly name: string;
  /** Is it on unless BUNDLER_HOOKS says otherwise? */
  readonly byDefault: boolean;
  /** What it does, in a line of the documentation. */
  readonly text: string;
  /** null: what it does takes questions and facts of its own, and is planned after all others (runtime/gpu/plan-devices.ts). */
  readonly add: ((context: HookContext) => Additions) | null;
}
