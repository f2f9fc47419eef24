// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { isRoot } from '../setting.ts';
import { type Peer, withCommands } from './peer.ts';

/** The floor: the kernel's squashfs, mounted beforehand by root; an ordinary user's unshare and chroot. */
export const floorPeer: Peer = (setting) => {
  const name = 'floor: unshare + chroot, kernel squashfs';
  if (!isRoot) return [{ name, absent: 'needs root to mount' }];
  return withCommands(name, ['unshare', 'mount'], () => {
    const mountpoint = path.join(setting.work, 'floor');
    mkdirSync(mountpoint);
    execFileSync('mount', ['-t', 'squashfs', '-o', 'loop,ro', setting.image, mountpoint], { stdio: 'pipe' });
    return [
      {
        name,
        argv: ['unshare', '--user', '--map-root-user', '--mount', `--root=${mountpoint}`, '/bin/true'],
        tearDown: () => void execFileSync('umount', [mountpoint]),
      },
    ];
  });
};
