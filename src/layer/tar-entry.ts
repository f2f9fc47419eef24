// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../format/bytes.ts';

export type EntryKind = 'file' | 'dir' | 'symlink' | 'hardlink' | 'char' | 'block' | 'fifo';

/** One entry of a layer or of a root filesystem, as tar(5) describes it. Names are bytes: they need not be UTF-8. */
export interface TarEntry {
  /** As written in the archive (`./usr/bin/env`, `/etc`, `../x`); nothing is cleaned. */
  readonly path: Bytes;
  readonly kind: EntryKind;
  /** Permissions with setuid, setgid and sticky: 0 to 07777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Whole seconds since 1970, rounded down; may be negative. */
  readonly mtimeSeconds: number;
  /** Size of a file's content with its holes; 0 for every other kind. */
  readonly sizeBytes: number;
  /** Target of a symlink, or path of a hard link's target; '' otherwise. */
  readonly link: Bytes;
  /** Of a device; 0 otherwise. */
  readonly major: number;
  readonly minor: number;
  /** Extended attributes by full name (`security.capability`), values as bytes; empty when there are none. */
  readonly xattrs: ReadonlyMap<Bytes, Buffer>;
}

/** One for all entries without any. */
export const noXattrs: ReadonlyMap<Bytes, Buffer> = new Map();
