// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { filesOf } from './configuration.ts';
import { type Lookup, substitute } from './expand.ts';
import { Failure } from './failure.ts';
import { readLoginDefs } from './hooks/home-directory.ts';
import { planIdentity } from './identity.ts';
import type { LaunchInput } from './launch-input.ts';
import { fileVariables } from './mounts.ts';
import { isVariable, printable } from './options.ts';

/** What a login would set, for variables that nothing else sets. */
export interface Account {
  readonly name: Bytes;
  readonly home: Bytes;
  readonly shell: Bytes;
  /** The user who started it; differs from name under --root. */
  readonly loginName: Bytes;
}

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The container's environment before the hooks. */
export function collectEnvironment(input: LaunchInput): Map<string, Bytes> {
  const { base, asked } = givenEnvironment(input);
  return toMap([...base, ...asked]);
}

/**
 * What the container is given, `K=V` each, before and after what environ() of a --conf script prints. Clean as enroot's; from weak
 * to strong: the caller's with --keep-env, the image's, TERM, environ.d; `make --env`, --env-file, --env.
 */
export function givenEnvironment(input: LaunchInput): { base: Bytes[]; asked: Bytes[] } {
  const { manifest, request, options, host, settings, configuration } = input;
  const { env } = request;
  const lookUp = fileVariables(input);
  const full = (item: Bytes): Bytes[] => {
    if (item.startsWith('ENROOT_')) return [];
    if (item.includes('=')) return [item];
    return env[item] === undefined ? [] : [`${item}=${env[item]}`];
  };
  const kept = options.keepEnv ? Object.keys(env).filter((name) => !name.startsWith('BUNDLER_')) : [];
  const text = manifest.rootfs?.environment ?? '';
  // docker knows no such file, and many of its images have one all the same, of another system's login.
  const image = [...parseEnvironment(text, lookUp), ...(manifest.config?.env ?? []).filter(isVariable)];
  const terminal = settings.builtins['10-terminal'] === 'off' ? [] : ['TERM'];
  const site = filesOf(configuration, 'environ.d').flatMap(({ content }) => parseEnvironment(content, lookUp));
  const files = options.envFiles.flatMap((path) => parseEnvFile(host.files[path] ?? '', path));
  return {
    base: [...kept, ...image, ...terminal, ...site].flatMap(full),
    asked: [...manifest.options.env, ...files, ...options.env].flatMap(full),
  };
}

/**
 * The command's environment, `K=V` each: what was collected, then what built-in hooks add, or what hooks of the host made of both; HOME,
 * USER, LOGNAME, SHELL and PATH where they are still missing.
 */
export function planEnvironment(
  input: LaunchInput,
  account: Account,
  collected: ReadonlyMap<string, Bytes>,
  added: readonly Bytes[],
): Bytes[] {
  const vars = input.resumed === null ? new Map(collected) : toMap(afterHooks(input, added, input.resumed.environ));
  if (input.resumed === null) for (const [name, value] of toMap(added)) vars.set(name, value);
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

/** The container's environment as the hooks of the host have left it, without what only a login would set. */
export function environmentAfter(input: LaunchInput): Map<string, Bytes> {
  return input.resumed === null ? collectEnvironment(input) : toMap(afterHooks(input, [], input.resumed.environ));
}

/**
 * The variables of the file as the hooks of the host left it. A line of ours is taken as it was given, whatever quotes it has; what
 * does not fit on a line was never in the file, and holds.
 */
function afterHooks(input: LaunchInput, added: readonly Bytes[], text: Bytes): Bytes[] {
  const list = ({ base, asked }: { base: Bytes[]; asked: Bytes[] }) => [...base, ...asked, ...added];
  const given = list(givenEnvironment(input));
  // The file was written before the --conf script could export variables that lines of ours refer to.
  const written = list(givenEnvironment({ ...input, resumed: null }));
  const ours = new Map(written.map((line, index) => [line, given[index] ?? line]));
  const lines = text.split('\n').flatMap((line) => {
    const own = ours.get(line);
    return own === undefined ? parseEnvironment(line, () => undefined, false) : [own];
  });
  return [...given.filter((item) => item.includes('\n')), ...lines.filter((item) => !item.startsWith('ENROOT_'))];
}

/** `K=V` items by name; of two with one name the later wins, at the place of the first. */
export function toMap(items: readonly Bytes[]): Map<string, Bytes> {
  return new Map(items.map((item) => [item.slice(0, item.indexOf('=')), item.slice(item.indexOf('=') + 1)]));
}

/** The value of a variable in the list that planEnvironment makes. */
export function variable(vars: readonly Bytes[], name: string): Bytes {
  return vars.find((item) => item.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';
}

/** /etc/environment as enroot reads it: `${V}` filled in, comments and other lines left out, one pair of quotes removed. fill: substitute at all. */
export function parseEnvironment(text: Bytes, lookUp: Lookup, fill = true): Bytes[] {
  return (fill ? substitute(text, lookUp) : text)
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

/** ENV_PATH or ENV_SUPATH of the image's login.defs, as a login would set it; docker logs nobody in, and its images count on the directories of root. */
function loginPath(input: LaunchInput): Bytes {
  if (input.manifest.config !== undefined) return defaultPath;
  const defs = readLoginDefs(input.manifest.rootfs?.loginDefs ?? '');
  const isRoot = planIdentity(input).uid === 0;
  const path = defs.get(isRoot ? 'ENV_SUPATH' : 'ENV_PATH')?.replace(/^PATH=/, '');
  return path || defaultPath;
}
