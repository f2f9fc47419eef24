// SPDX-License-Identifier: Apache-2.0
import { type Bytes, fromBuffer } from '../src/format/bytes.ts';
import type { Manifest } from '../src/format/manifest.ts';
import { builtinReplacedBy } from '../src/format/stock-files.ts';
import type { LaunchInput } from './launch-input.ts';
import type { Settings } from './settings.ts';

/** enroot's configuration as it holds for one launch. Byte strings throughout. */
export interface Configuration {
  /** ENROOT_*, NVIDIA_* and MELLANOX_*, evaluated. */
  readonly settings: Readonly<Record<string, Bytes>>;
  /** What no built-in serves, in the order in which it counts: the system's before the user's, each by name. */
  readonly files: readonly ConfigFile[];
  readonly builtins: Settings['builtins'];
}

export interface ConfigFile {
  readonly from: 'system' | 'user';
  /** Below /etc/enroot or the user's directory: `hooks.d/50-site.sh`. */
  readonly path: Bytes;
  readonly mode: number;
  readonly content: Bytes;
  /** Where it lies on this host; '' for one that is embedded. */
  readonly hostPath: Bytes;
}

/** A file before it is known who serves it. */
export interface FoundFile extends ConfigFile {
  /** See EmbeddedFile.builtin. */
  readonly builtin: string;
}

export const noConfiguration: Configuration = { settings: {}, files: [], builtins: {} };

/** What `make` put into the bundle. */
export function embeddedConfiguration({ configuration }: Manifest): Configuration {
  if (configuration === undefined) return noConfiguration;
  const files = configuration.files.map((file) => ({
    ...file,
    content: file.encoding === 'base64' ? fromBuffer(Buffer.from(file.content, 'base64')) : file.content,
    hostPath: '',
  }));
  return combine(configuration.settings, files);
}

/** Sorts files into those that built-ins serve and those that count themselves. Of two with one place the later holds. */
export function combine(settings: Configuration['settings'], found: readonly FoundFile[]): Configuration {
  const places = new Map(found.map((file) => [`${file.from}/${file.path}`, file] as const));
  const builtins: Record<string, 'on' | 'off'> = {};
  const files: ConfigFile[] = [];
  for (const { builtin, ...file } of [...places.values()].sort(byPlace)) {
    if (builtin !== '') {
      builtins[builtin] = 'on';
      continue;
    }
    // A user's file of the same name does not unmake the system's.
    const replaced = file.from === 'system' ? builtinReplacedBy(file.path) : null;
    if (replaced !== null) builtins[replaced] = 'off';
    files.push(file);
  }
  return { settings, files, builtins };
}

/** The embedded configuration with the host's, whose files take the place of embedded ones of the same name. */
export function merge(
  embedded: Configuration,
  host: { readonly settings: Configuration['settings']; readonly files: readonly FoundFile[] },
): Configuration {
  const served = Object.entries(embedded.builtins).flatMap(([builtin, state]): FoundFile[] =>
    state === 'on' ? [{ from: 'system', path: builtin, mode: 0, content: '', hostPath: '', builtin }] : [],
  );
  const files = embedded.files.map((file) => ({ ...file, builtin: '' }));
  return combine({ ...embedded.settings, ...host.settings }, [...served, ...files, ...host.files]);
}

/** Does this launch run programs of the host? Then the root must be one that they can write to, and the plan comes in two parts. */
export function hasHostHooks({ options, configuration }: Pick<LaunchInput, 'options' | 'configuration'>): boolean {
  return options.conf !== null || filesOf(configuration, 'hooks.d').length > 0;
}

/** Those of one directory that enroot would take: `environ.d` *.env, `mounts.d` *.fstab, `hooks.d` *.sh that may be executed. */
export function filesOf({ files }: Configuration, directory: 'environ.d' | 'mounts.d' | 'hooks.d'): ConfigFile[] {
  const ending = { 'environ.d': '.env', 'mounts.d': '.fstab', 'hooks.d': '.sh' }[directory];
  return files.filter(({ path, mode }) => {
    const name = path.slice(directory.length + 1);
    if (!path.startsWith(`${directory}/`) || name.includes('/') || !name.endsWith(ending)) return false;
    return !name.startsWith('.') && (directory !== 'hooks.d' || (mode & 0o111) !== 0);
  });
}

function byPlace(a: ConfigFile, b: ConfigFile): number {
  if (a.from !== b.from) return a.from === 'system' ? -1 : 1;
  return a.path < b.path ? -1 : 1;
}
