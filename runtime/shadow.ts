// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import type { Account } from './environment.ts';
import type { LaunchInput, Shown } from './launch-input.ts';

/** The account database a container sees, as enroot's shadow hook makes it, without pwck, grpck, getent or awk. */
export interface Shadow {
  readonly account: Account;
  readonly shown: readonly Shown[];
  /** The home directory to make where it is missing. */
  readonly home: Shown | null;
}

interface User {
  readonly name: Bytes;
  readonly gecos: Bytes;
  readonly home: Bytes;
  readonly shell: Bytes;
}

/** root, nobody and the caller first, then the image's own lines that clash with none of them; and the home directory. */
export function planShadow(input: LaunchInput): Shadow {
  const { manifest, request, settings, host } = input;
  const { euid, egid } = request;
  const passwd = manifest.rootfs?.passwd ?? '';
  const user = findUser(input);
  const shell = pickShell(input, user.shell);
  const group = findGroup(input, user.name);
  const passwdText = mergeLines(
    [
      `root:x:0:0:root:/root:${shell}`,
      `nobody:x:${host.overflowUid}:${host.overflowGid}:nobody:/:/sbin/nologin`,
      `${user.name}:x:${euid}:${egid}:${user.gecos}:${user.home}:${shell}`,
    ],
    passwd,
  );
  const groupText = mergeLines(
    ['root:x:0:', `nogroup:x:${host.overflowGid}:`, `${group}:x:${egid}:`],
    manifest.rootfs?.group ?? '',
  );
  const shown: Shown[] = [
    { kind: 'file', path: '/etc/passwd', mode: 0o644, data: passwdText },
    { kind: 'file', path: '/etc/group', mode: 0o644, data: groupText },
  ];
  const home = settings.root ? '/root' : user.home;
  const makesHome = readLoginDefs(manifest.rootfs?.loginDefs ?? '').get('CREATE_HOME') !== 'no' && canBeHome(home);
  if (settings.root && manifest.rootfs?.debian) {
    // apt drops to the user _apt, which a single mapped id cannot do.
    const data = 'APT::Sandbox::User "root";\n';
    shown.push({ kind: 'file', path: '/etc/apt/apt.conf.d/enroot', mode: 0o644, data });
  }
  return {
    account: { name: settings.root ? 'root' : user.name, home, shell, loginName: user.name },
    shown,
    home: makesHome ? { kind: 'dir', path: home, mode: 0o700, data: '' } : null,
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

/** `NAME VALUE` lines of login.defs, and `NAME=VALUE` lines of /etc/default/useradd. */
export function readLoginDefs(text: Bytes): Map<string, Bytes> {
  const defs = new Map<string, Bytes>();
  for (const line of text.split('\n')) {
    const [, name, value] = /^\s*([A-Za-z_][A-Za-z0-9_]*)[ \t=]+"?([^\s"]*)/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) defs.set(name, value);
  }
  return defs;
}

/** The caller's entry in the host's /etc/passwd; users of LDAP and the like have none, so the environment speaks for them. */
function findUser({ request, host }: LaunchInput): User {
  const [name = '', , , , gecos = '', home = '', shell = ''] = host.passwdLine.split(':');
  const given = request.env.USER ?? request.env.LOGNAME ?? '';
  const ownName = request.euid === 0 ? 'root' : `u${request.euid}`;
  const taken = ['root', 'nobody'];
  return {
    name: isName(name) ? name : isName(given) && !taken.includes(given) ? given : ownName,
    gecos: host.passwdLine === '' ? '' : gecos,
    home: isField(home) ? home : isField(request.env.HOME ?? '') ? (request.env.HOME as Bytes) : '/',
    shell,
  };
}

function findGroup({ request, host }: LaunchInput, userName: Bytes): Bytes {
  const name = host.groupLine.split(':')[0] ?? '';
  if (isName(name)) return name;
  return request.egid === 0 ? 'root' : userName === 'root' ? `g${request.egid}` : userName;
}

/** The caller's shell where the image's accounts use it too, since the image may well lack it; else the image's default. */
function pickShell({ manifest }: LaunchInput, shell: Bytes): Bytes {
  const known = (manifest.rootfs?.passwd ?? '').split('\n').map((line) => line.split(':')[6]);
  if (shell.startsWith('/') && known.includes(shell)) return shell;
  return readLoginDefs(manifest.rootfs?.useradd ?? '').get('SHELL') || '/bin/sh';
}

/** Accounts of daemons have homes such as /dev/null, `/` and /nonexistent: what the host's file systems hold is not made. */
function canBeHome(home: Bytes): boolean {
  return home !== '/' && home !== '/nonexistent' && !/^\/(dev|proc|sys)(\/|$)/.test(home);
}

function isName(name: Bytes): boolean {
  return /^[A-Za-z_][A-Za-z0-9_.@-]*\$?$/.test(name);
}

function isField(path: Bytes): boolean {
  return path.startsWith('/') && !/[:\n]/.test(path) && !path.split('/').includes('..');
}
