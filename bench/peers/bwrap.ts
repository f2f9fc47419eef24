// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { giveToUser } from '../setting.ts';
import { type Peer, withCommands } from './peer.ts';

/** bubblewrap on an unpacked directory, and the usual pipeline around it: mount by squashfuse, run, unmount. */
export const bwrapPeer: Peer = (setting) => {
  const inside = '--dev /dev --proc /proc /bin/true';
  const onDirectory = withCommands('bwrap, directory', ['bwrap'], () => [
    { name: 'bwrap, directory', argv: ['bwrap', '--ro-bind', setting.root, '/', ...inside.split(' ')] },
  ]);
  const onImage = withCommands('squashfuse_ll + bwrap', ['bwrap', 'squashfuse_ll', 'unshare'], () => {
    const mountpoint = path.join(setting.work, 'squashfuse');
    mkdirSync(mountpoint);
    giveToUser(mountpoint);
    const script = path.join(setting.work, 'squashfuse-bwrap');
    const lines = [
      '#!/bin/sh',
      `squashfuse_ll ${setting.image} ${mountpoint} || exit`,
      `bwrap --ro-bind ${mountpoint} / ${inside}`,
      'status=$?',
      `umount ${mountpoint}`,
      'exit $status',
      '',
    ];
    writeFileSync(script, lines.join('\n'), { mode: 0o755 });
    // In namespaces of its own, because fusermount wants an account with a name.
    return [{ name: 'squashfuse_ll + bwrap', argv: ['unshare', '--user', '--map-root-user', '--mount', script] }];
  });
  return [...onDirectory, ...onImage];
};
