// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import type { Manifest } from '../src/format/manifest.ts';
import { Failure } from './failure.ts';
import type { LaunchInput } from './launch-input.ts';
import { printable } from './options.ts';

/** Who the command is inside the container. The caller is mapped to these ids; to the host it stays the caller. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
  /** The image's account that --user or the image's USER names; null when the caller comes as himself or as root. */
  readonly account: Account | null;
}

/** A line of the image's passwd(5), or what stands in for one: '' where nothing is known. */
export interface Account {
  readonly name: Bytes;
  readonly gecos: Bytes;
  readonly home: Bytes;
  readonly shell: Bytes;
  /** Name of the group, '' where the image has none with that number. */
  readonly group: Bytes;
}

/**
 * From strong to weak: --user; --root; the image's USER unless that is root, as which a container starts only when asked;
 * the caller's own ids. Throws Failure for a user or a group that the image does not have.
 */
export function planIdentity(input: LaunchInput): Identity {
  const { manifest, request, options, settings } = input;
  if (options.user !== null) return findIdentity(manifest, options.user, request.egid, '--user');
  if (settings.root) return { uid: 0, gid: 0, account: null };
  const own: Identity = { uid: request.euid, gid: request.egid, account: null };
  const wanted = manifest.config?.user ?? '';
  if (wanted === '') return own;
  const identity = findIdentity(manifest, wanted, request.egid, "the image's USER");
  return identity.uid === 0 ? own : identity;
}

/** `USER[:GROUP]`, each a name of the image or a number, as docker has it: a name wins over a number that looks the same. */
function findIdentity(manifest: Manifest, text: Bytes, ownGid: number, origin: string): Identity {
  const [userText = '', groupText, ...rest] = text.split(':');
  if (userText === '' || groupText === '' || rest.length > 0) {
    throw new Failure(`${origin} ${printable(text)}: not USER or USER:GROUP`);
  }
  const users = readLines(manifest.rootfs?.passwd ?? '');
  const groups = readLines(manifest.rootfs?.group ?? '');
  const refuse = (what: string, name: Bytes) =>
    new Failure(
      `${origin} ${printable(text)}: the image has no ${what} ${printable(name)}`,
      origin === '--user' ? 'give numbers: --user UID:GID' : 'choose one yourself: --user UID:GID, or --root',
    );
  const entry = users.find(([name]) => name === userText) ?? users.find(([, , id]) => id === userText);
  const uid = userText === 'root' ? 0 : readId(entry?.[2] ?? userText);
  if (uid === null) throw refuse('user', userText);
  let gid = uid === 0 ? 0 : (readId(entry?.[3] ?? '') ?? ownGid);
  if (groupText !== undefined) {
    const found = groups.find(([name]) => name === groupText)?.[2] ?? (groupText === 'root' ? '0' : groupText);
    const number = readId(found);
    if (number === null) throw refuse('group', groupText);
    gid = number;
  }
  if (uid === 0) return { uid, gid, account: null };
  const [name = '', , , , gecos = '', home = '', shell = ''] = entry ?? [];
  const group = groups.find(([, , id]) => id === String(gid))?.[0] ?? '';
  return { uid, gid, account: { name, gecos, home, shell, group } };
}

function readLines(text: Bytes): Bytes[][] {
  return text.split('\n').map((line) => line.split(':'));
}

/** A uid or gid; -1 (4294967295) means "none" to the kernel. */
function readId(text: Bytes): number | null {
  const id = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return id < 0xffffffff ? id : null;
}
