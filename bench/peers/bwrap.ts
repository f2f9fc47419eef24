// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { findCommand, type Peer, withCommands } from './peer.ts';
import { giveToUser } from '../setting.ts';

/** bubblewrap on an unpacked directory, and the usual pipeline around it: mount by squashfuse, run, unmount. */
export const bwrapPeer: Peer = (setting) => {
  const inside = '--dev /dev --proc /proc /bin/true';
  const onDirectory = withCommands('bwrap, directory', ['bwrap'], () => [
    { name: 'bwrap, directory', argv: ['bwrap', '--ro-bind', setting.root, '/', ...inside.split(' ')] },
  ]);
  const onImage = withCommands('squashfuse_ll + bwrap', ['bwrap', 'squashfuse_ll'], () => {
    const unmount = findCommand('fusermount3') ?? findCommand('fusermount');
    if (!unmount) throw new Error('not installed: fusermount');
    const mountpoint = path.join(setting.work, 'squashfuse');
    mkdirSync(mountpoint);
    giveToUser(mountpoint);
    const script = path.join(setting.work, 'squashfuse-bwrap');
    writeFileSync(script, `#!/bin/sh\nsquashfuse_ll ${setting.image} ${mountpoint} || exit\nbwrap --ro-bind ${mountpoint} / ${inside}\nstatus=$?\n${unmount} -u ${mountpoint}\nexit $status\n`, { mode: 0o755 });
    return [{ name: 'squashfuse_ll + bwrap', argv: [script] }];
  });
  return [...onDirectory, ...onImage];
};
