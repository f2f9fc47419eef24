// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { Op } from '../../src/format/plan.ts';
import { parseFstab, toMountOp } from '../fstab.ts';
import type { BuiltInHook } from './hook.ts';

/** A /dev of its own. What a bare host may lack (a log socket, a terminal, message queues) is left out without a word. */
const minimal = `
none          /dev          none    x-detach,nofail,silent
tmpfs         /dev          tmpfs   x-create=dir,rw,nosuid,noexec,mode=755,slave
/dev/zero     /dev/zero     none    x-create=file,bind,rw,nosuid,noexec,private
/dev/null     /dev/null     none    x-create=file,bind,rw,nosuid,noexec,private
/dev/full     /dev/full     none    x-create=file,bind,rw,nosuid,noexec,private
/dev/urandom  /dev/urandom  none    x-create=file,bind,rw,nosuid,noexec,private
/dev/random   /dev/random   none    x-create=file,bind,rw,nosuid,noexec,private
devpts        /dev/pts      devpts  x-create=dir,rw,nosuid,noexec,newinstance,ptmxmode=0666,mode=620,slave
/dev/tty      /dev/tty      none    x-create=file,bind,rw,nosuid,noexec,private,nofail,silent
`;
const sharedMemory = `
/dev/shm      /dev/shm      none    x-create=dir,rbind,rw,nosuid,noexec,nodev,rslave,nofail,silent
/dev/mqueue   /dev/mqueue   none    x-create=dir,rbind,rw,nosuid,noexec,nodev,rslave,nofail,silent
`;
/** For an IPC namespace of its own (ENROOT_UNSHARE_IPC): shared memory and queues of the host would lead out of it. */
const ownSharedMemory = `
tmpfs         /dev/shm      tmpfs   x-create=dir,rw,nosuid,noexec,nodev,mode=1777,private
mqueue        /dev/mqueue   mqueue  x-create=dir,rw,nosuid,noexec,nodev,private,nofail,silent
`;
const others = `
/dev/hugepages  /dev/hugepages  none  x-create=dir,rbind,rw,nosuid,noexec,nodev,rslave,nofail,silent
/dev/log        /dev/log        none  x-create=file,bind,rw,nosuid,noexec,nodev,private,nofail,silent
`;
const links: readonly (readonly [Bytes, Bytes])[] = [
  ['/dev/fd', '/proc/self/fd'],
  ['/dev/ptmx', '/dev/pts/ptmx'],
  ['/dev/stdin', '/proc/self/fd/0'],
  ['/dev/stdout', '/proc/self/fd/1'],
  ['/dev/stderr', '/proc/self/fd/2'],
];

/** ENROOT_RESTRICT_DEV, and always with an IPC namespace: only harmless devices, and none of the host's. */
export const devices: BuiltInHook = {
  name: '10-devices',
  byDefault: true,
  text: 'with `ENROOT_RESTRICT_DEV` or an IPC namespace, restricts /dev to a minimal set of devices',
  add: ({ input: { settings, request, host } }) => {
    if (!settings.restrictDev && !settings.unshare.ipc) return {};
    const lines = [minimal, settings.unshare.ipc ? ownSharedMemory : sharedMemory, others];
    const ops: Op[] = parseFstab(lines.join(''), 'the hook devices').map((entry) => toMountOp(entry, request.cwd));
    if (host.terminal !== '') ops.push(toMountOp(consoleEntry(host.terminal), request.cwd));
    ops.push(...links.map(([path, target]): Op => ({ op: 'symlink', path, target })));
    return { ops };
  },
};

function consoleEntry(terminal: Bytes) {
  const options = ['x-create=file', 'bind', 'rw', 'nosuid', 'noexec', 'private', 'nofail', 'silent'];
  return { source: terminal, target: '/dev/console', type: '', options, pass: 0 };
}
