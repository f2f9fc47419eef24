// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { RootfsFacts } from '../../src/format/manifest.ts';
import type { Shown } from '../launch-input.ts';

/** The home directory to make where it is missing, as useradd(8) would by the image's settings; null where none is to be made. */
export function planHome(
  rootfs: RootfsFacts | undefined,
  home: Bytes,
): { readonly home: Shown | null; readonly skeleton: readonly Shown[] } {
  const defs = readDefaults(rootfs);
  if (defs.get('CREATE_HOME') === 'no' || !canBeHome(home)) return { home: null, skeleton: [] };
  const umask = /^0?[0-7]{1,3}$/.test(defs.get('UMASK') ?? '') ? Number.parseInt(defs.get('UMASK') ?? '', 8) : 0o077;
  const skeleton = isNew(home, rootfs?.homes ?? []) ? (rootfs?.skeleton ?? []) : [];
  return {
    home: { kind: 'dir', path: home, mode: 0o777 & ~umask, data: '' },
    skeleton: skeleton.map(
      ({ path, mode, content }): Shown => ({
        kind: content === null ? 'dir' : 'default',
        path: `${home}/${path}`,
        mode,
        data: content ?? '',
      }),
    ),
  };
}

/** The mailbox, where the image's settings ask for one. user '': none. */
export function planMailbox(rootfs: RootfsFacts | undefined, user: Bytes): Shown[] {
  const defs = readDefaults(rootfs);
  if (defs.get('CREATE_MAIL_SPOOL') !== 'yes' || user === '') return [];
  const dir = defs.get('MAIL_DIR') ?? '/var/mail';
  return dir.startsWith('/') ? [{ kind: 'default', path: `${dir}/${user}`, mode: 0o660, data: '' }] : [];
}

/** login.defs(5) and, above it, /etc/default/useradd. */
function readDefaults(rootfs: RootfsFacts | undefined): Map<string, Bytes> {
  return new Map([...readLoginDefs(rootfs?.loginDefs ?? ''), ...readLoginDefs(rootfs?.useradd ?? '')]);
}

/** `NAME VALUE` lines of login.defs, and `NAME=VALUE` lines of /etc/default/useradd. */
export function readLoginDefs(text: Bytes): Map<string, Bytes> {
  const defs = new Map<string, Bytes>();
  for (const line of text.split('\n')) {
    const [, name, value] = /^\s*([A-Za-z_][A-Za-z0-9_]*)[ \t=]+"?([^\s"]*)/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) defs.set(name, value);
  }
  return defs;
}

/** Accounts of daemons have homes such as /dev/null, `/` and /nonexistent: what the host's file systems hold is not made. */
function canBeHome(home: Bytes): boolean {
  return home !== '/' && home !== '/nonexistent' && !/^\/(dev|proc|sys)(\/|$)/.test(home);
}

/** Does the image lack this home for certain? A home that is there already begins with nothing of ours. */
function isNew(home: Bytes, homes: readonly Bytes[]): boolean {
  const [, top = '', name = ''] = home.split('/');
  if (top === 'home') return name !== '' && !homes.includes(name);
  return !ofImages.has(top) || (top === 'var' && name === 'home');
}

/** Directories that images come with (hier(7)), less those that are empty at every start. */
const ofImages = new Set('bin boot dev etc lib lib32 lib64 media mnt opt proc root sbin srv sys usr var'.split(' '));
