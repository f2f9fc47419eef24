// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import type { Bytes } from '../../src/format/bytes.ts';
import type { Bind, Edits, Link } from './edits.ts';

/** In a root to which nothing may be added: a tmpfs of ours, over a directory that NVIDIA's images name in their paths and leave empty. */
export const privateDir = '/usr/local/nvidia';

export function isPrivate(path: Bytes): boolean {
  return path.startsWith(`${privateDir}/`);
}

/** A directory of 64-bit libraries that drivers are in: others hold what is named by its path. */
function isLibraryDir(path: Bytes): boolean {
  return /^(\/usr)?\/lib(64)?(\/\w+-linux-gnu)?(\/(nvidia|tegra))?(\/current)?$/.test(path) && !path.includes('i386');
}

/** Libraries and programs, and links to them, in that directory, so that no empty files of their names stay behind in the root. */
export function moveToPrivate(edits: Edits): Edits {
  const moves = new Map<Bytes, Bytes>();
  const note = (path: Bytes) => {
    const name = posix.basename(path);
    const from = posix.dirname(path);
    const dir = /^lib.*\.so(\.|$)/.test(name) && isLibraryDir(from) ? 'lib64' : from === '/usr/bin' ? 'bin' : '';
    if (dir !== '') moves.set(path, `${privateDir}/${dir}/${name}`);
  };
  for (const { target, kind } of edits.binds) if (kind === 'file' || kind === 'program') note(target);
  for (const { path } of edits.links) note(path);
  const moved = (path: Bytes) => moves.get(path) ?? path;
  const taken = new Set(edits.binds.map(({ target }) => moved(target)));
  return {
    ...edits,
    binds: edits.binds.map((bind) => ({ ...bind, target: moved(bind.target) })),
    links: edits.links.flatMap(({ path, target }): Link[] => {
      const leads = moved(posix.resolve(posix.dirname(path), target));
      const place = moved(path);
      // Two directories become one: what is a file there needs no link of its name.
      if (leads === place || taken.has(place)) return [];
      taken.add(place);
      return [{ path: place, target: posix.dirname(leads) === posix.dirname(place) ? posix.basename(leads) : leads }];
    }),
    libraryDirs: edits.libraryDirs.filter((dir) => !isLibraryDir(dir)),
    named: edits.named.map((library) => ({ ...library, path: moved(library.path) })),
  };
}

/** Links as further binds of what they lead to, where no link can be made that would not stay. */
export function bindLinks(binds: readonly Bind[], links: readonly Link[]): Bind[] {
  const targets = new Map(binds.map((bind) => [bind.target, bind]));
  return links.flatMap(({ path, target }): Bind[] => {
    const bind = targets.get(posix.resolve(posix.dirname(path), target));
    return bind === undefined ? [] : [{ ...bind, target: path }];
  });
}
