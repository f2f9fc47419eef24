// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { type Dirent, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../failure.ts';
import { isLaunchSetting, isOff } from '../format/enroot-conf.ts';
import type { EmbeddedConfiguration, EmbeddedFile } from '../format/manifest.ts';
import { builtinName, findStock } from '../format/stock-files.ts';
import { readEnrootConf, systemDirectory, type Variables } from '../settings/read-enroot-conf.ts';

const parts = ['environ.d', 'mounts.d', 'hooks.d'] as const;
/** The manifest is read at every start. */
const maxBytes = 4 << 20;

/**
 * enroot's configuration as it is here, to be put into a bundle: that of the system (ENROOT_SYSCONF_PATH, else /etc/enroot), and with
 * `asksAll` or ENROOT_BUNDLE_ALL also the user's (ENROOT_CONFIG_PATH, else ~/.config/enroot) and the ENROOT_* variables of the caller. undefined when there is
 * none. Throws Failure.
 */
export async function readConfiguration(asksAll: boolean, env: Variables): Promise<EmbeddedConfiguration | undefined> {
  const all = asksAll || !isOff(env['ENROOT_BUNDLE_ALL'] ?? '');
  const system = systemDirectory(env);
  const home = env['XDG_CONFIG_HOME'] || (env['HOME'] ? join(env['HOME'], '.config') : '');
  const user = env['ENROOT_CONFIG_PATH'] || (home === '' ? '' : join(home, 'enroot'));
  const settings = { ...(await readSettings(system, env)), ...(all ? ownSettings(env) : {}) };
  const files = [...readFiles('system', system), ...(all && user !== '' ? readFiles('user', user) : [])];
  const sizeBytes = files.reduce((sum, { content }) => sum + content.length, 0);
  if (sizeBytes > maxBytes) {
    throw new Failure(`cannot embed the configuration of ${system}: it has ${sizeBytes} bytes, more than ${maxBytes}`, {
      hint: 'keep large files elsewhere, or name another directory: ENROOT_SYSCONF_PATH=DIR',
    });
  }
  if (files.length === 0 && Object.keys(settings).length === 0) return undefined;
  return { settings, files };
}

/** As enroot does, except for variables that only importing and building look at. */
function ownSettings(env: Variables): Record<string, string> {
  const own = Object.entries(env).filter(([name]) => name.startsWith('ENROOT_') && isLaunchSetting(name));
  return Object.fromEntries(own.map(([name, value]) => [name, value ?? '']));
}

async function readSettings(system: string, env: Variables): Promise<Record<string, string>> {
  const settings = await readEnrootConf(system, env, isLaunchSetting);
  return Object.fromEntries([...settings].map(([name, { value }]) => [name, value]));
}

function readFiles(from: EmbeddedFile['from'], directory: string): EmbeddedFile[] {
  return parts.flatMap((part) => findFiles(directory, part).map((path) => readFile(from, directory, path)));
}

/** All regular files below a directory, symlinks followed, by name: hooks may read others that lie beside them. */
function findFiles(directory: string, below: string): string[] {
  return listDirectory(join(directory, below)).flatMap(({ name }) => {
    const path = `${below}/${name}`;
    const facts = statSync(join(directory, path), { throwIfNoEntry: false });
    if (facts?.isDirectory()) {
      if (path.split('/').length > 16) throw new Failure(`cannot embed ${join(directory, path)}: it is too deep`);
      return findFiles(directory, path);
    }
    return facts?.isFile() ? [path] : [];
  });
}

function readFile(from: EmbeddedFile['from'], directory: string, path: string): EmbeddedFile {
  const place = join(directory, path);
  let bytes: Buffer;
  try {
    bytes = readFileSync(place);
  } catch (error) {
    throw new Failure(`cannot embed ${place}: it cannot be read`, {
      hint: 'make the bundle as somebody who may read it, or name another directory: ENROOT_SYSCONF_PATH=DIR',
      cause: error,
    });
  }
  const mode = statSync(place).mode & 0o777;
  const stock = findStock(createHash('sha256').update(bytes).digest('hex'));
  if (stock !== undefined) return { from, path, mode, builtin: builtinName(stock.path), encoding: 'utf8', content: '' };
  const text = bytes.toString('utf8');
  const isText = Buffer.from(text, 'utf8').equals(bytes);
  return isText
    ? { from, path, mode, builtin: '', encoding: 'utf8', content: text }
    : { from, path, mode, builtin: '', encoding: 'base64', content: bytes.toString('base64') };
}

function listDirectory(path: string): Dirent[] {
  try {
    const list = readdirSync(path, { withFileTypes: true });
    return list.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw new Failure(`cannot embed ${path}: it cannot be read`, { cause: error });
  }
}
