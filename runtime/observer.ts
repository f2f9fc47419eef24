// SPDX-License-Identifier: Apache-2.0
import {
  accessSync,
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { type Bytes, fromBuffer, toBuffer } from '../src/format/bytes.ts';
import type { SourceKind } from './launch-input.ts';

/** A name in a directory; `node` is everything that is neither a directory nor a symlink. */
export interface Entry {
  readonly name: Bytes;
  readonly kind: 'dir' | 'link' | 'node';
}

/** May the caller read and write it? `denied` by its permissions, `refused` by something else, as the device control group does. */
export type Access = 'ok' | 'denied' | 'refused' | 'missing';

/**
 * The planner's only eye on the host. It remembers every path and variable that was looked at, so that a launch can be
 * explained and, later, an identical one recognised without planning again. It never runs or loads anything of the host.
 */
export class Observer {
  readonly paths = new Set<Bytes>();
  readonly variables = new Set<string>();
  readonly #root: Bytes;

  /** root: a directory that stands for the host's root, without a slash at its end; absolute symlinks in it lead out of it. */
  constructor(root: Bytes = '') {
    this.#root = root;
  }

  /** A file's content, or null when it cannot be read. */
  readFile(path: Bytes): Bytes | null {
    try {
      return this.readFileOrThrow(path);
    } catch {
      return null;
    }
  }

  readFileOrThrow(path: Bytes): Bytes {
    return fromBuffer(readFileSync(this.#open(path)));
  }

  /** Calls look with a function that reads parts of a file, short at its end; null when it cannot be read. */
  lookInside<T>(path: Bytes, look: (readAt: (offset: number, sizeBytes: number) => Buffer) => T): T | null {
    let fd: number;
    try {
      fd = openSync(this.#open(path), 'r');
    } catch {
      return null;
    }
    try {
      return look((offset, sizeBytes) => {
        const part = Buffer.allocUnsafe(sizeBytes);
        return part.subarray(0, readSync(fd, part, 0, sizeBytes, offset));
      });
    } catch {
      return null;
    } finally {
      closeSync(fd);
    }
  }

  /** A symlink's text; null when there is none. */
  readLink(path: Bytes): Bytes | null {
    try {
      return fromBuffer(readlinkSync(this.#open(path), { encoding: 'buffer' }));
    } catch {
      return null;
    }
  }

  /** The path with all symlinks followed; null when it leads nowhere. */
  realPath(path: Bytes): Bytes | null {
    try {
      const found = fromBuffer(realpathSync.native(this.#open(path), { encoding: 'buffer' }));
      return found.startsWith(`${this.#root}/`) ? found.slice(this.#root.length) : null;
    } catch {
      return null;
    }
  }

  /** The names in a directory, sorted by their bytes; none when it cannot be read. */
  list(path: Bytes): Bytes[] {
    return this.listUnsorted(path).sort();
  }

  /** The same in no order: a directory of libraries has thousands. */
  listUnsorted(path: Bytes): Bytes[] {
    try {
      // latin1 is a byte string at once.
      return readdirSync(this.#open(path), { encoding: 'latin1' });
    } catch {
      return [];
    }
  }

  /** The same with what each is, symlinks not followed. */
  listKinds(path: Bytes): Entry[] {
    try {
      return readdirSync(this.#open(path), { encoding: 'latin1', withFileTypes: true })
        .map((entry): Entry => {
          const kind = entry.isDirectory() ? 'dir' : entry.isSymbolicLink() ? 'link' : 'node';
          return { name: entry.name, kind };
        })
        .sort((one, other) => (one.name < other.name ? -1 : 1));
    } catch {
      return [];
    }
  }

  /**
   * May the caller read and write a device node? It is not opened, which would initialise some: access(2) asks the device control group,
   * too (inode_permission in the kernel's fs/namei.c), which answers EPERM where permissions answer EACCES.
   */
  access(path: Bytes): Access {
    try {
      accessSync(this.#open(path), constants.R_OK | constants.W_OK);
      return 'ok';
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return code === 'ENOENT' || code === 'ENOTDIR' ? 'missing' : code === 'EACCES' ? 'denied' : 'refused';
    }
  }

  /** May the caller open a node for reading or for writing? */
  mayOpen(path: Bytes): boolean {
    return [constants.R_OK, constants.W_OK].some((mode) => {
      try {
        accessSync(this.#open(path), mode);
        return true;
      } catch {
        return false;
      }
    });
  }

  /** The permissions of a regular file, symlinks followed; null for anything else. */
  modeOfFile(path: Bytes): number | null {
    try {
      const facts = statSync(this.#open(path), { throwIfNoEntry: false });
      return facts?.isFile() ? facts.mode & 0o7777 : null;
    } catch {
      return null;
    }
  }

  /** What a path is, symlinks followed. */
  lookAt(path: Bytes): SourceKind {
    try {
      // An exception for each path that is not there would take longer than the look.
      const facts = statSync(this.#open(path), { throwIfNoEntry: false });
      return facts === undefined ? 'missing' : facts.isDirectory() ? 'dir' : 'file';
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

  #open(path: Bytes): Buffer {
    this.paths.add(path);
    return toBuffer(this.#root + path);
  }
}
