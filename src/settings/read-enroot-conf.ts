// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describeSystemError, Failure } from '../failure.ts';
import { fromText, toText } from '../format/bytes.ts';
import { type Asked, evaluateValue, parseConf } from '../format/enroot-conf.ts';

export type Variables = Readonly<Record<string, string | undefined>>;

/** A setting of enroot.conf. */
export interface Setting {
  /** As a shell evaluates it. */
  readonly value: string;
  /** The file that has it. */
  readonly path: string;
}

/** The directory of the system's configuration: ENROOT_SYSCONF_PATH, else /etc/enroot. */
export function systemDirectory(env: Variables): string {
  return env['ENROOT_SYSCONF_PATH'] || '/etc/enroot';
}

/**
 * The wanted settings of a directory's enroot.conf and enroot.conf.d/*.conf. The first value that is not empty holds (enroot, config::export). Only what is
 * wanted, and what it refers to, is evaluated: a value may start commands. `before` are variables that are set already, over which the files have no power;
 * they are not evaluated, and not in the result. Throws Failure for a value that cannot be evaluated, and for a file that cannot be read.
 */
export async function readEnrootConf(
  directory: string,
  env: Variables,
  wants: (name: string) => boolean,
  before: (name: string) => boolean = () => false,
): Promise<Map<string, Setting>> {
  const lines = listFiles(directory).flatMap((path) =>
    parseConf(fromText(readTextIfThere(path))).map(([name, text]) => ({ name, text, path })),
  );
  const mayBeAsked = lines.filter(({ name }) => isSettable(name) && !before(name));
  const needed = new Set(mayBeAsked.map(({ name }) => name).filter(wants));
  // Backwards, since a value can only refer to those before it.
  for (const { name, text } of mayBeAsked.toReversed()) {
    if (!needed.has(name)) continue;
    for (const [, other = ''] of text.matchAll(/\$\{?([A-Za-z_]\w*)/g)) needed.add(other);
  }
  const settings = new Map<string, Setting>();
  const values: Record<string, string> = {};
  for (const { name, text, path } of mayBeAsked) {
    if (!needed.has(name) || values[name]) continue;
    const value = await evaluate(name, text, { ...env, ...values }, path);
    values[name] = value;
    if (wants(name)) settings.set(name, { value, path });
  }
  return settings;
}

/** What enroot.conf may set (enroot, config::load), and our own. */
function isSettable(name: string): boolean {
  return /^(ENROOT_[A-Z_]+|BUNDLER_[A-Z_]+|MELLANOX_\w+|NVIDIA_\w+|SSL_CERT_(DIR|FILE)|(all|no|http|https)_proxy)$/.test(
    name,
  );
}

async function evaluate(name: string, text: string, env: Variables, path: string): Promise<string> {
  const known: Record<string, () => string> = {
    'id -u': () => String(process.getuid?.()),
    'id -g': () => String(process.getgid?.()),
    nproc: () => String(availableParallelism()),
  };
  let needsShell = false;
  const asked: Asked = {
    variable: (variable) => (env[variable] === undefined ? undefined : fromText(env[variable])),
    command: (command) => {
      needsShell ||= known[command] === undefined;
      return known[command]?.() ?? '';
    },
  };
  const value = evaluateValue(text, asked);
  if (value !== null && !needsShell) return toText(value);
  try {
    // Not in its arguments, which everybody can read: a proxy may have a password.
    const script = '_bundler_text=$BUNDLER_TEXT; unset BUNDLER_TEXT; eval "echo $_bundler_text"';
    const { stdout } = await promisify(execFile)('sh', ['-c', script], { env: { ...env, BUNDLER_TEXT: toText(text) } });
    return stdout.replace(/\n+$/, '').replaceAll('\n', ' ');
  } catch (error) {
    throw new Failure(`cannot evaluate ${name} of ${path}: the shell says no`, { cause: error });
  }
}

function listFiles(directory: string): string[] {
  const dropIns = join(directory, 'enroot.conf.d');
  try {
    const names = readdirSync(dropIns).filter((name) => name.endsWith('.conf'));
    const inOrder = names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    return [join(directory, 'enroot.conf'), ...inOrder.map((name) => join(dropIns, name))];
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? ''))
      return [join(directory, 'enroot.conf')];
    throw new Failure(`cannot read ${dropIns}: ${describeSystemError(error)}`, { cause: error });
  }
}

function readTextIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw new Failure(`cannot read ${path}: ${describeSystemError(error)}`, { cause: error });
  }
}
