// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { Account } from '../environment.ts';
import { patienceMs, readEnded, runQuestion } from '../host-program.ts';
import { type Identity, planIdentity } from '../identity.ts';
import type { LaunchInput, Shown } from '../launch-input.ts';
import { planHome, planMailbox, readLoginDefs } from './home-directory.ts';
import type { BuiltInHook } from './hook.ts';

/** The account database a container sees, as enroot's shadow hook makes it, without pwck, grpck or awk. */
export interface Shadow {
  readonly account: Account;
  /** The caller is shown as root, whatever option says so; real root that stays itself is not. */
  readonly asRoot: boolean;
  /** The caller's home directory on the host. */
  readonly hostHome: Bytes;
  readonly shown: readonly Shown[];
  /** The home directory to make where it is missing, and what it then begins with. */
  readonly home: Shown | null;
  readonly skeleton: readonly Shown[];
  /** Lines for stderr. */
  readonly warnings: readonly Bytes[];
}

export const shadow: BuiltInHook = {
  name: '10-shadow',
  byDefault: true,
  text: "puts root, nobody and the caller into the image's passwd and group, and makes his home directory",
  add: ({ shadow: { shown } }) => ({ shown }),
};

interface User {
  readonly name: Bytes;
  readonly gecos: Bytes;
  readonly home: Bytes;
  readonly shell: Bytes;
}

/**
 * root, nobody and the caller first, then the image's own lines that clash with none of them; and the home directory. Asks for
 * the host's databases when its files do not know the caller.
 */
export function planShadow(input: LaunchInput): Shadow | { readonly ask: readonly string[] } {
  const { manifest, request, settings, host } = input;
  const identity = planIdentity(input);
  // Who comes as root still finds himself in the list, as with enroot.
  const isRoot = identity.uid === 0 && (settings.root || request.euid !== 0);
  const lines = findLines(input);
  if ('ask' in lines) return lines;
  const passwd = manifest.rootfs?.passwd ?? '';
  const caller = findUser(input, lines.passwd);
  const user = findAccount(passwd, identity, caller);
  const shell = pickShell(input, caller.shell);
  const ownShell = user === caller || user.shell === '' ? shell : user.shell;
  const [uid, gid] = isRoot ? [request.euid, request.egid] : [identity.uid, identity.gid];
  const group =
    identity.account?.group || (gid === request.egid ? findGroup(input, lines.group, caller.name) : `g${gid}`);
  const passwdText = mergeLines(
    [
      `root:x:0:0:root:/root:${shell}`,
      `nobody:x:${host.overflowUid}:${host.overflowGid}:nobody:/:/sbin/nologin`,
      `${user.name}:x:${uid}:${gid}:${user.gecos}:${user.home}:${ownShell}`,
    ],
    passwd,
  );
  const groupText = mergeLines(
    ['root:x:0:', `nogroup:x:${host.overflowGid}:`, `${group}:x:${gid}:`],
    manifest.rootfs?.group ?? '',
  );
  const shown: Shown[] = [
    { kind: 'file', path: '/etc/passwd', mode: 0o644, data: passwdText },
    { kind: 'file', path: '/etc/group', mode: 0o644, data: groupText },
  ];
  const home = isRoot ? '/root' : user.home;
  return {
    // An account that nobody can log in as gets a shell all the same: it is not asked to log in.
    account: {
      name: isRoot ? 'root' : user.name,
      home,
      shell: /(^|\/)(false|nologin)$/.test(ownShell) ? shell : ownShell,
      loginName: user.name,
    },
    asRoot: isRoot,
    hostHome: caller.home,
    shown: [...shown, ...planMailbox(manifest.rootfs, isRoot ? '' : user.name)],
    ...planHome(manifest.rootfs, home),
    warnings: lines.warnings,
  };
}

/** Our lines, then those of the image whose name and id are still free; malformed lines and _apt are left out. */
export function mergeLines(ourLines: readonly Bytes[], imageText: Bytes): Bytes {
  const names = new Set(['_apt']);
  const ids = new Set<string>();
  const kept = [...ourLines, ...imageText.split('\n')].filter((line) => {
    const [name = '', , id = ''] = line.split(':');
    if (name === '' || !/^\d+$/.test(id) || names.has(name) || ids.has(id)) return false;
    names.add(name);
    ids.add(id);
    return true;
  });
  return `${kept.join('\n')}\n`;
}

interface Lines {
  readonly passwd: Bytes;
  readonly group: Bytes;
  readonly warnings: readonly Bytes[];
}

/**
 * The caller's lines of passwd(5) and group(5): from the host's files, else, for users of LDAP, sssd and the like, from getent(1),
 * which the launcher runs. '' where nobody knows. A directory service that hangs is waited for once.
 */
function findLines({ request, host }: LaunchInput): Lines | { readonly ask: readonly string[] } {
  const warnings: Bytes[] = [];
  const found: Bytes[] = [];
  for (const [database, id, line] of [
    ['passwd', request.euid, host.passwdLine],
    ['group', request.egid, host.groupLine],
  ] as const) {
    found.push(line);
    if (line !== '' || id === 0 || warnings.length > 0) continue;
    const question = runQuestion(['getent', database, String(id)]);
    const answer = host.answers[question];
    if (answer === undefined) return { ask: [question] };
    const ended = readEnded(answer);
    if (ended.how === 'exit' && ended.code === 0) found[found.length - 1] = findLine(ended.stdout, id);
    if (ended.how !== 'late') continue;
    const seconds = patienceMs / 1000;
    warnings.push(
      `bundler: no answer within ${seconds} s from getent ${database} ${id}: USER and HOME tell who you are`,
    );
  }
  const [passwd = '', group = ''] = found;
  return { passwd, group, warnings };
}

/** The image's account that was chosen; a mere number keeps the caller's name and home, unless the name is somebody else's there. */
function findAccount(passwd: Bytes, { uid, account }: Identity, caller: User): User {
  if (account === null) return caller;
  if (account.name !== '') return { ...account, home: isField(account.home) ? account.home : '/' };
  const isTaken = passwd.split('\n').some((line) => line.startsWith(`${caller.name}:`));
  return { ...caller, name: isTaken || caller.name === 'root' ? `u${uid}` : caller.name, shell: '' };
}

/** The caller's entry in the host's databases; where there is none the environment speaks for him. */
function findUser({ request }: LaunchInput, line: Bytes): User {
  const [name = '', , , , gecos = '', home = '', shell = ''] = line.split(':');
  const given = request.env.USER ?? request.env.LOGNAME ?? '';
  const ownName = request.euid === 0 ? 'root' : `u${request.euid}`;
  const taken = ['root', 'nobody'];
  return {
    name: isName(name) ? name : isName(given) && !taken.includes(given) ? given : ownName,
    gecos: line === '' ? '' : gecos,
    home: isField(home) ? home : isField(request.env.HOME ?? '') ? (request.env.HOME as Bytes) : '/',
    shell,
  };
}

function findGroup({ request }: LaunchInput, line: Bytes, userName: Bytes): Bytes {
  const name = line.split(':')[0] ?? '';
  if (isName(name)) return name;
  return request.egid === 0 ? 'root' : userName === 'root' ? `g${request.egid}` : userName;
}

/** The first line of passwd(5) or group(5) with this id, as getpwuid(3) takes it. */
export function findLine(text: Bytes | null, id: number): Bytes {
  return text?.split('\n').find((line) => line.split(':')[2] === String(id)) ?? '';
}

/** The caller's shell where the image's accounts use it too, since the image may well lack it; else the image's default. */
function pickShell({ manifest }: LaunchInput, shell: Bytes): Bytes {
  const known = (manifest.rootfs?.passwd ?? '').split('\n').map((line) => line.split(':')[6]);
  if (shell.startsWith('/') && known.includes(shell)) return shell;
  return readLoginDefs(manifest.rootfs?.useradd ?? '').get('SHELL') || '/bin/sh';
}

function isName(name: Bytes): boolean {
  return /^[A-Za-z_][A-Za-z0-9_.@-]*\$?$/.test(name);
}

function isField(path: Bytes): boolean {
  return path.startsWith('/') && !/[:\n]/.test(path) && !path.split('/').includes('..');
}
