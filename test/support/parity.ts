// SPDX-License-Identifier: Apache-2.0
import { describe, expect } from 'vitest';
import type { ImageName } from '../../fixtures/make.ts';
import { makeBundle } from './bundle.ts';
import { e2e } from './features.ts';
import { type Ran, type RunOptions, run } from './run.ts';

/**
 * One promise of enroot's documentation: its words as the title, shell commands whose output inside the container shows whether it is
 * kept (see `prelude` for what they may call), and that output without its last line break.
 */
export type Promised = readonly [title: string, commands: string, output: string | RegExp];

/** How a container is started, which several promises share. */
export interface Start extends RunOptions {
  /** Words before the command. */
  readonly args?: readonly string[];
  readonly image?: ImageName;
  /** A bundle made in another way. */
  readonly bundle?: () => string;
  /** Options of `bundler make`. */
  readonly make?: readonly string[];
  /** Prepares files of the host; its result is added to args and env. */
  readonly prepare?: () => Pick<Start, 'args' | 'env' | 'cwd'>;
  /** What the whole run must end with; 0 unless given. */
  readonly status?: number;
  /** The words after the options, `sh -c SCRIPT` unless given; script: all commands. */
  readonly command?: (script: string) => readonly string[];
}

/** flags_of PATH, type_of PATH, source_of PATH, options_of PATH, spread_of PATH: of the topmost mount there, from mountinfo (proc(5)); has FLAGS 'SOME': tells those it lacks; is COMMAND: yes or no. */
const prelude = `
field() { awk -v p="$1" -v f="$2" '$5 == p { split($0, half, " - "); split(half[2], tail, " ");
  x = f == "flags" ? $6 : f == "type" ? tail[1] : f == "source" ? tail[2] : f == "options" ? tail[3] : (half[1] ~ / (shared|master):/ ? "shared or slave" : "private") }
  END { print x }' /proc/self/mountinfo; }
flags_of() { field "$1" flags; }
type_of() { field "$1" type; }
source_of() { field "$1" source; }
options_of() { field "$1" options; }
spread_of() { field "$1" spread; }
has() { for f in $2; do case ",$1," in *",$f,"*) ;; *) echo "lacks $f of $1" ;; esac; done; }
is() { "$@" && echo yes || echo no; }
`;

/** Runs all commands of a topic in one container, and tests each as a case of its own. */
export function parity(topic: string, start: Start, promises: readonly Promised[]): void {
  let running: Promise<string[]> | undefined;
  describe(topic, () => {
    for (const [index, [title, , output]] of promises.entries()) {
      e2e(title, async () => {
        running ??= observe(start, promises);
        const shown = (await running)[index];
        if (typeof output === 'string') expect(shown).toBe(output);
        else expect(shown).toMatch(output);
      });
    }
  });
}

async function observe(start: Start, promises: readonly Promised[]): Promise<string[]> {
  const mark = '=== promise';
  const script = `${prelude}${promises.map(([, commands], index) => `echo "${mark} ${index}"; ( ${commands}\n) 2>&1`).join('\n')}\ntrue\n`;
  const ran = await startParity(start, script);
  if (ran.status !== (start.status ?? 0)) throw new Error(`exit status ${ran.status}\n${ran.stderr}\n${ran.stdout}`);
  const parts = ran.stdout.split(new RegExp(`^${mark} \\d+\\n`, 'm')).slice(1);
  if (parts.length !== promises.length) throw new Error(`${parts.length} answers:\n${ran.stdout}\n${ran.stderr}`);
  return parts.map((part) => part.replace(/\n$/, ''));
}

/** Starts a container as a topic does, for what is seen from outside: exit status and messages. */
export function startParity(start: Start, script: string): Promise<Ran> {
  const prepared = start.prepare?.() ?? {};
  const file = start.bundle?.() ?? makeBundle(start.image ?? 'parity', ...(start.make ?? []));
  const command = start.command ?? ((text: string) => ['sh', '-c', text]);
  return run([file, ...(start.args ?? []), ...(prepared.args ?? []), ...command(script)], {
    ...start,
    ...prepared,
    // The fstab of the image refers to it.
    env: { PARITY_SHOWN: '/usr', ...start.env, ...prepared.env },
  });
}
