// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { type Bytes, fromBuffer, toBuffer } from '../src/format/bytes.ts';
import type { SourceKind } from './launch-input.ts';

/**
 * The planner's only eye on the host. It remembers every path and variable that was looked at, so that a launch can be
 * explained and, later, an identical one recognised without planning again. It never runs or loads anything of the host.
 */
export class Observer {
  readonly paths = new Set<Bytes>();
  readonly variables = new Set<string>();

  /** A file's content, or null when it cannot be read. */
  readFile(path: Bytes): Bytes | null {
    try {
      return this.readFileOrThrow(path);
    } catch {
      return null;
    }
  }

  readFileOrThrow(path: Bytes): Bytes {
    this.paths.add(path);
    return fromBuffer(readFileSync(toBuffer(path)));
  }

  /** A symlink's text; null when there is none. */
  readLink(path: Bytes): Bytes | null {
    this.paths.add(path);
    try {
      return fromBuffer(readlinkSync(toBuffer(path), { encoding: 'buffer' }));
    } catch {
      return null;
    }
  }

  /** The names in a directory, sorted by their bytes; none when it cannot be read. */
  list(path: Bytes): Bytes[] {
    this.paths.add(path);
    try {
      return readdirSync(toBuffer(path), { encoding: 'buffer' }).map(fromBuffer).sort();
    } catch {
      return [];
    }
  }

  /** The permissions of a regular file, symlinks followed; null for anything else. */
  modeOfFile(path: Bytes): number | null {
    this.paths.add(path);
    try {
      const facts = statSync(toBuffer(path));
      return facts.isFile() ? facts.mode & 0o7777 : null;
    } catch {
      return null;
    }
  }

  /** What a path is, symlinks followed. */
  lookAt(path: Bytes): SourceKind {
    this.paths.add(path);
    try {
      return statSync(toBuffer(path)).isDirectory() ? 'dir' : 'file';
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'EACCES' ? 'denied' : 'missing';
    }
  }

  /** The variables, each use of which is noted. */
  watchVariables(env: Readonly<Record<string, Bytes>>): Readonly<Record<string, Bytes>> {
    return new Proxy(env, {
      get: (target, name) => {
        if (typeof name === 'string') this.variables.add(name);
        return Reflect.get(target, name);
      },
    });
  }
}
