// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Observer } from '../../runtime/observer.ts';
import { type Bytes, fromText, toBuffer } from '../../src/format/bytes.ts';
import { sessionDir } from '../support/session.ts';

/** A file's content, a symlink (relative, as those of sysfs are: absolute ones lead out of the tree), a device node, or an empty directory. */
export type HostFile = Bytes | Uint8Array | { readonly link: Bytes } | { readonly node: true } | { readonly dir: true };

/** By absolute path of the host, as byte strings; directories above are made. */
export type HostFiles = Readonly<Record<Bytes, HostFile>>;

/**
 * An observer of a small tree that stands for a host, made in a new directory of the session. A device node is an empty plain file there,
 * which an ordinary user can make; the observer tells no difference.
 */
export function makeHost(files: HostFiles): Observer {
  return new Observer(makeHostTree(files));
}

/** The same as the directory itself, as a byte string: for a test that changes it, or that needs several observers. */
export function makeHostTree(files: HostFiles): Bytes {
  const root = fromText(realpathSync(mkdtempSync(path.join(sessionDir(), 'host-'))));
  for (const [place, file] of Object.entries(files)) {
    if (!place.startsWith('/')) throw new Error(`not an absolute path: ${place}`);
    const target = toBuffer(root + place);
    const made = typeof file === 'object' && 'dir' in file;
    mkdirSync(made ? target : toBuffer(path.posix.dirname(root + place)), { recursive: true });
    if (made) continue;
    if (typeof file === 'string') writeFileSync(target, toBuffer(file));
    else if (file instanceof Uint8Array) writeFileSync(target, file);
    else if ('link' in file) symlinkSync(toBuffer(file.link), target);
    else writeFileSync(target, '');
  }
  return root;
}
