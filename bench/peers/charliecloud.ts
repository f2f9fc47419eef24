// SPDX-License-Identifier: Apache-2.0
import { type Peer, withCommands } from './peer.ts';

/** Charliecloud on an unpacked directory, and on the squashfs image through its own FUSE loop. */
export const charliecloudPeer: Peer = (setting) =>
  withCommands('ch-run', ['ch-run'], () => [
    { name: 'ch-run, directory', argv: ['ch-run', setting.root, '--', '/bin/true'] },
    { name: 'ch-run, squashfs', argv: ['ch-run', setting.image, '--', '/bin/true'] },
  ]);
