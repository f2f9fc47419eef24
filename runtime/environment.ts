// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { substitute } from './expand.ts';
import { Failure } from './failure.ts';
import { readLoginDefs } from './hooks/shadow.ts';
import { planIdentity } from './identity.ts';
import type { LaunchInput } from './launch-input.ts';
import { isVariable, printable } from './options.ts';

type Variables = Readonly<Record<string, Bytes>>;

/** What a login would set, for variables that nothing else sets. */
export interface Account {
  readonly name: Bytes;
  readonly home: Bytes;
  readonly shell: Bytes;
  /** The user who started it; differs from name under --root. */
  readonly loginName: Bytes;
}

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * The container's environment before the hooks. Clean as enroot's; from weak to strong: the caller's with --keep-env, the image's,
 * TERM, `make --env`, --env-file, --env.
 */
export function collectEnvironment(input: LaunchInput): Map<string, Bytes> {
  const { manifest, request, options, host } = input;
  const { env } = request;
  const vars = new Map<string, Bytes>();
  const set = (item: Bytes) => {
    const at = item.indexOf('=');
    if (at < 0) setFromCaller(item);
    else if (!item.startsWith('ENROOT_')) vars.set(item.slice(0, at), item.slice(at + 1));
  };
  const setFromCaller = (name: Bytes) => {
    const value = env[name];
    if (value !== undefined) set(`${name}=${value}`);
  };
  if (options.keepEnv) for (const name of Object.keys(env)) if (!name.startsWith('BUNDLER_')) setFromCaller(name);
  const text = manifest.rootfs?.environment ?? '';
  const image = text === '' ? (manifest.config?.env ?? []).filter(isVariable) : parseEnvironment(text, env);
  for (const item of image) set(item);
  setFromCaller('TERM');
  for (const item of manifest.options.env) set(item);
  for (const path of options.envFiles) {
    for (const item of parseEnvFile(host.files[path] ?? '', path)) set(item);
  }
  for (const item of options.env) set(item);
  return vars;
}

/** The command's environment, `K=V` each: what was collected, then what hooks add; HOME, USER, LOGNAME, SHELL and PATH where they are still missing. */
export function planEnvironment(
  input: LaunchInput,
  account: Account,
  collected: ReadonlyMap<string, Bytes>,
  added: readonly Bytes[],
): Bytes[] {
  const vars = new Map(collected);
  for (const item of added) vars.set(item.slice(0, item.indexOf('=')), item.slice(item.indexOf('=') + 1));
  const fallback = (name: string, value: Bytes) => {
    if (!vars.has(name)) vars.set(name, value);
  };
  fallback('HOME', account.home);
  fallback('USER', account.name);
  fallback('LOGNAME', account.loginName);
  fallback('SHELL', account.shell);
  fallback('PATH', loginPath(input));
  return [...vars].map(([name, value]) => `${name}=${value}`);
}

/** The value of a variable in the list that planEnvironment makes. */
export function variable(vars: readonly Bytes[], name: string): Bytes {
  return vars.find((item) => item.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';
}

/** /etc/environment as enroot reads it: `${V}` from the caller, comments and other lines left out, one pair of quotes removed. */
export function parseEnvironment(text: Bytes, env: Variables): Bytes[] {
  return substitute(text, env)
    .split('\n')
    .map((line) => line.replace(/^[ \t\r\f\v]+/, ''))
    .filter((line) => /^[A-Za-z_][A-Za-z0-9_]*=/.test(line))
    .map((line) => line.replace(/^([A-Za-z_][A-Za-z0-9_]*)=["'](.*)["'][ \t\r\f\v]*$/, '$1=$2'));
}

/** An --env-file, in docker's format: `K=V` literally, `K` from the caller, `#` starts a comment line. */
export function parseEnvFile(text: Bytes, path: Bytes): Bytes[] {
  const items: Bytes[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.replace(/^[ \t]+/, '').replace(/\r$/, '');
    if (line === '' || line.startsWith('#')) continue;
    // The line may hold a secret, so it is not shown.
    if (!isVariable(line))
      throw new Failure(`--env-file ${printable(path)}: line ${index + 1} is not KEY=VALUE or KEY`);
    items.push(line);
  }
  return items;
}

/** ENV_PATH or ENV_SUPATH of the image's login.defs, as a login would set it. */
function loginPath(input: LaunchInput): Bytes {
  const defs = readLoginDefs(input.manifest.rootfs?.loginDefs ?? '');
  const isRoot = planIdentity(input).uid === 0;
  const path = defs.get(isRoot ? 'ENV_SUPATH' : 'ENV_PATH')?.replace(/^PATH=/, '');
  return path || defaultPath;
}
