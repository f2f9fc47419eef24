// SPDX-License-Identifier: Apache-2.0
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { giveToUser } from '../setting.ts';
import { type Peer, withCommands } from './peer.ts';

/** enroot on the image itself. Debian has no package of it: it is measured where somebody installed it. */
export const enrootPeer: Peer = (setting) =>
  withCommands('enroot start', ['enroot'], () => {
    const store = path.join(setting.work, 'enroot');
    mkdirSync(store);
    giveToUser(store);
    const env = Object.fromEntries(
      ['DATA', 'CACHE', 'RUNTIME', 'TEMP'].map((what) => [`ENROOT_${what}_PATH`, path.join(store, what)]),
    );
    return [{ name: 'enroot start, squashfs', argv: ['enroot', 'start', setting.image, 'true'], env }];
  });
