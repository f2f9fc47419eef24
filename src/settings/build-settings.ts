// SPDX-License-Identifier: Apache-2.0
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { Failure } from '../failure.ts';
import { isOff } from '../format/enroot-conf.ts';
import { findHome } from './find-home.ts';
import { type Mirror, parseMirrors } from './parse-mirrors.ts';
import { readEnrootConf, type Setting, systemDirectory, type Variables } from './read-enroot-conf.ts';
import { readSourceDate } from './source-date.ts';
import { defaultSquashOptions, type ParsedSquashOptions, parseSquashOptions } from './squash-options.ts';

/** enroot's settings for importing and making images, with its names and defaults (enroot, doc/cmd/import.md and enroot.in) but where it says otherwise. */
export interface BuildSettings {
  /** The user's home directory; '' when there is none. */
  readonly home: string;
  /** Layers (ENROOT_CACHE_PATH, $XDG_CACHE_HOME/enroot). Throws Failure when there is no home directory to put it in, as the next two. */
  cacheDirectory(): string;
  /** Containers (ENROOT_DATA_PATH, $XDG_DATA_HOME/enroot). */
  dataDirectory(): string;
  /** The user's configuration (ENROOT_CONFIG_PATH, $XDG_CONFIG_HOME/enroot). */
  configDirectory(): string;
  /** ENROOT_TEMP_PATH, $TMPDIR, /tmp. */
  readonly temporaryDirectory: string;
  /** ENROOT_MAX_CONNECTIONS, 10; Infinity when it is 0. */
  readonly maxConnections: number;
  /** ENROOT_MAX_PROCESSORS, all that we may use; also when it is 0. */
  readonly maxProcessors: number;
  /** ENROOT_CONNECT_TIMEOUT, 30; 0: none. */
  readonly connectTimeoutSeconds: number;
  /** ENROOT_TRANSFER_TIMEOUT, 0: none. */
  readonly transferTimeoutSeconds: number;
  /** ENROOT_TRANSFER_RETRIES, 5 (enroot: 0). */
  readonly transferRetries: number;
  /** ENROOT_ALLOW_HTTP, off. */
  readonly allowHttp: boolean;
  /** ENROOT_FORCE_OVERRIDE, off: replace what exists. */
  readonly forceOverride: boolean;
  /** ENROOT_SQUASH_OPTIONS, zstd level 3 (enroot: -comp lzo -noD). */
  readonly squash: ParsedSquashOptions;
  /** SOURCE_DATE_EPOCH, seconds since 1970; null when it is not set. */
  readonly sourceDateSeconds: number | null;
  /** BUNDLER_MIRRORS. */
  readonly mirrors: readonly Mirror[];
  /** The environment, with the proxies and certificates that enroot.conf has where the environment has none. */
  readonly env: Variables;
}

const networkName = /^(SSL_CERT_(DIR|FILE)|(all|no|http|https)_proxy)$/;
const buildName =
  /^(ENROOT_((CACHE|DATA|CONFIG|TEMP)_PATH|MAX_(CONNECTIONS|PROCESSORS)|CONNECT_TIMEOUT|TRANSFER_(TIMEOUT|RETRIES)|ALLOW_HTTP|FORCE_OVERRIDE|SQUASH_OPTIONS)|BUNDLER_MIRRORS)$/;

/**
 * Reads the environment, then enroot.conf and enroot.conf.d/*.conf of ENROOT_SYSCONF_PATH, else of /etc/enroot; the first value that is not empty holds. Throws
 * Failure for a value that cannot be, by its name and the place it is from.
 */
export async function readBuildSettings(env: Variables, home = findHome(env)): Promise<BuildSettings> {
  const xdg = (name: string, below: string) => env[name] || (home === '' ? undefined : join(home, below));
  const directories = {
    XDG_CACHE_HOME: xdg('XDG_CACHE_HOME', '.cache'),
    XDG_DATA_HOME: xdg('XDG_DATA_HOME', '.local/share'),
    XDG_CONFIG_HOME: xdg('XDG_CONFIG_HOME', '.config'),
  };
  // What enroot.conf may refer to: it is evaluated by whoever has no HOME too.
  const shown = { ...env, ...directories, ...(home === '' ? {} : { HOME: home }) };
  const isSet = (name: string) => Boolean(env[name]) || (name.endsWith('_proxy') && Boolean(env[name.toUpperCase()]));
  const wants = (name: string) => buildName.test(name) || networkName.test(name);
  const conf = await readEnrootConf(systemDirectory(env), shown, wants, isSet);
  const find = (name: string): Setting | undefined => {
    if (env[name]) return { value: env[name], path: 'the environment' };
    const setting = conf.get(name);
    return setting?.value === '' ? undefined : setting;
  };
  const directory = (name: string, xdgName: keyof typeof directories) => () => {
    const place = find(name)?.value ?? (directories[xdgName] && join(directories[xdgName], 'enroot'));
    if (place !== undefined) return resolve(place);
    throw new Failure(`${name} is not set, and there is no home directory to take its default from`, {
      hint: `set HOME or ${name}`,
    });
  };
  const network = [...conf].filter(([name]) => networkName.test(name)).map(([name, { value }]) => [name, value]);
  const maxConnections = readNumber('ENROOT_MAX_CONNECTIONS', find, 10);
  return {
    home,
    cacheDirectory: directory('ENROOT_CACHE_PATH', 'XDG_CACHE_HOME'),
    dataDirectory: directory('ENROOT_DATA_PATH', 'XDG_DATA_HOME'),
    configDirectory: directory('ENROOT_CONFIG_PATH', 'XDG_CONFIG_HOME'),
    temporaryDirectory: resolve(find('ENROOT_TEMP_PATH')?.value ?? (env['TMPDIR'] || '/tmp')),
    maxConnections: maxConnections === 0 ? Number.POSITIVE_INFINITY : maxConnections,
    maxProcessors: readNumber('ENROOT_MAX_PROCESSORS', find, 0) || availableParallelism(),
    connectTimeoutSeconds: readNumber('ENROOT_CONNECT_TIMEOUT', find, 30),
    transferTimeoutSeconds: readNumber('ENROOT_TRANSFER_TIMEOUT', find, 0),
    transferRetries: readNumber('ENROOT_TRANSFER_RETRIES', find, 5),
    allowHttp: !isOff(find('ENROOT_ALLOW_HTTP')?.value ?? ''),
    forceOverride: !isOff(find('ENROOT_FORCE_OVERRIDE')?.value ?? ''),
    squash: readSquashOptions(find('ENROOT_SQUASH_OPTIONS')),
    sourceDateSeconds: readSourceDate(env['SOURCE_DATE_EPOCH']),
    mirrors: readMirrors(find('BUNDLER_MIRRORS')),
    env: { ...env, ...Object.fromEntries(network) },
  };
}

type Find = (name: string) => Setting | undefined;

/** Seconds may have a fraction, as curl's may; what is counted may not. */
function readNumber(name: string, find: Find, otherwise: number): number {
  const setting = find(name);
  if (setting === undefined) return otherwise;
  const isTime = name.endsWith('_TIMEOUT');
  const value = Number(setting.value);
  if (!(isTime ? /^\d+(\.\d+)?$/ : /^\d+$/).test(setting.value) || value > 0x7fffffff) {
    const what = isTime ? 'a number of seconds' : 'a whole number';
    throw refuse(name, setting, `${JSON.stringify(setting.value)} is not ${what}`);
  }
  return value;
}

function readSquashOptions(setting: Setting | undefined): ParsedSquashOptions {
  const name = 'ENROOT_SQUASH_OPTIONS';
  if (setting === undefined) return { options: defaultSquashOptions, ignored: [], lzo: false };
  const parsed = parseSquashOptions(setting.value);
  if (typeof parsed === 'string') throw refuse(name, setting, parsed);
  return parsed;
}

function readMirrors(setting: Setting | undefined): readonly Mirror[] {
  const mirrors = parseMirrors(setting?.value ?? '');
  if (typeof mirrors === 'string') throw refuse('BUNDLER_MIRRORS', setting, mirrors);
  return mirrors;
}

function refuse(name: string, setting: Setting | undefined, why: string): Failure {
  return new Failure(`cannot use ${name} of ${setting?.path ?? 'the environment'}: ${why}`);
}
