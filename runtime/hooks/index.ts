// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import { Failure } from '../failure.ts';
import { printable } from '../options.ts';
import { aptfix } from './aptfix.ts';
import { cgroups } from './cgroups.ts';
import { mellanox, migConfig, nvidia } from './device-hooks.ts';
import { devices } from './devices.ts';
import { home } from './home.ts';
import type { Additions, BuiltInHook, HookContext } from './hook.ts';
import { localtime } from './localtime.ts';
import { lxcfs } from './lxcfs.ts';
import { shadow } from './shadow.ts';
import { sharp } from './sharp.ts';
import { slurmPmi } from './slurm-pmi.ts';
import { slurmPytorch } from './slurm-pytorch.ts';

/** Every built-in hook, in the order in which enroot's files of these names run. */
export const builtInHooks: readonly BuiltInHook[] = [
  aptfix,
  cgroups,
  devices,
  home,
  localtime,
  shadow,
  lxcfs,
  migConfig,
  sharp,
  slurmPmi,
  slurmPytorch,
  nvidia,
  mellanox,
];

/**
 * The names of the hooks to run: those that are on by default; then what the configuration's files say (settings.builtins); then
 * BUNDLER_HOOKS, in which names separated by commas or blanks (`50-slurm-pmi` or `slurm-pmi`) turn hooks on, `-NAME` turns one
 * off and `none` turns off all before it. Throws Failure on an unknown name.
 */
export function chooseHooks(text: Bytes, found: Readonly<Record<string, 'on' | 'off'>>): string[] {
  const chosen = new Set<string>();
  for (const { name, byDefault } of builtInHooks) {
    if (found[name] === 'on' || (byDefault && found[name] !== 'off')) chosen.add(name);
  }
  for (const word of text.split(/[\s,]+/).filter((part) => part !== '')) {
    if (word === 'none') {
      chosen.clear();
      continue;
    }
    const asked = word.replace(/^[-+]/, '');
    const name = builtInHooks.find((hook) => hook.name === asked || hook.name.slice(3) === asked)?.name;
    if (name === undefined) {
      const known = builtInHooks.map((hook) => hook.name).join(', ');
      throw new Failure(
        `BUNDLER_HOOKS: there is no built-in hook ${printable(asked)}`,
        `one of ${known}; -NAME turns one off, none all`,
      );
    }
    if (word.startsWith('-')) chosen.delete(name);
    else chosen.add(name);
  }
  return builtInHooks.map(({ name }) => name).filter((name) => chosen.has(name));
}

/** Runs the hooks that settings.hooks names. Each sees the environment that those before it made. */
export function runHooks(context: HookContext): Required<Additions> {
  const environ = new Map(context.environ);
  const all = { environ: [] as Bytes[], mounts: [], ops: [], shown: [] } as {
    [K in keyof Additions]-?: Required<Additions>[K][number][];
  };
  for (const hook of builtInHooks) {
    if (!context.input.settings.hooks.includes(hook.name)) continue;
    const added = hook.add?.({ ...context, environ }) ?? {};
    for (const item of added.environ ?? []) {
      const at = item.indexOf('=');
      environ.set(item.slice(0, at), item.slice(at + 1));
      all.environ.push(item);
    }
    all.mounts.push(...(added.mounts ?? []));
    all.ops.push(...(added.ops ?? []));
    all.shown.push(...(added.shown ?? []));
  }
  return all;
}
